#include "cli/args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/term.h"
#include "cli/text.h"
#include "core/vqc.h"

enum { OPTIONS_MAX = 64 };

int vqc_args_error(const char *command, const char *format, ...)
{
    char message[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    vqc_cli_error("%s: %s; see 'vqc %s --help'", command, message, command);
    return VQC_ERR_USAGE;
}

/* "--config or --cpu" when --NAME is the beginning of more than one option, else NULL. */
static char *list_meanings(vqc_arena *arena, const struct option *options, const char *name)
{
    char *text = NULL;
    size_t matches = 0;
    for (const struct option *o = options; o->name != NULL && *name != '\0'; o++) {
        if (strncmp(o->name, name, strlen(name)) != 0)
            continue;
        text = matches++ == 0 ? vqc_text_printf(arena, "--%s", o->name)
                              : vqc_text_printf(arena, "%s or --%s", text, o->name);
    }
    return matches > 1 ? text : NULL;
}

/* The error for an unknown --NAME. */
static int unknown_long(const char *command, const struct option *options, const char *argument)
{
    const char *names[OPTIONS_MAX];
    size_t count = 0;
    for (const struct option *o = options; o->name != NULL && count < OPTIONS_MAX; o++)
        names[count++] = o->name;
    vqc_arena *arena = vqc_cli_arena();
    const char *equals = strchr(argument, '=');
    size_t length = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    const char *name = vqc_text_printf(arena, "%.*s", (int)length - 2, argument + 2);
    const char *nearest = vqc_text_nearest(name, names, count);
    const char *meanings = list_meanings(arena, options, name);
    if (meanings != NULL)
        vqc_args_error(command, "\"--%s\" could mean %s", name, meanings);
    else if (nearest != NULL)
        vqc_cli_error("%s: unknown option \"--%s\"; did you mean \"--%s\"?", command, name,
                      nearest);
    else
        vqc_args_error(command, "unknown option \"--%s\"", name);
    vqc_arena_destroy(&arena);
    return VQC_ERR_USAGE;
}

int vqc_args_bad_option(const char *command, const struct option *options, char **argv, int result)
{
    const char *argument = argv[optind - 1];
    const char *long_name = NULL;
    for (const struct option *o = options; o->name != NULL; o++)
        if (optopt != 0 && o->val == optopt && (long_name == NULL || strlen(o->name) > 1))
            long_name = o->name;
    bool is_long = strncmp(argument, "--", 2) == 0;
    if (result == ':' && (is_long || optopt > 127))
        return vqc_args_error(command, "option \"--%s\" needs a value", long_name);
    if (result == ':')
        return vqc_args_error(command, "option \"-%c\" needs a value", optopt);
    if (optopt == 0)
        return unknown_long(command, options, argument);
    if (is_long && long_name != NULL)
        return vqc_args_error(command, "option \"--%s\" takes no value", long_name);
    return vqc_args_error(command, "unknown option \"-%c\"", optopt);
}

bool vqc_args_integer(const char *command, const char *option, const char *text, long min, long max,
                      long *value)
{
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    bool digits = *text != '\0' && strspn(text, "0123456789") == strlen(text);
    if (!digits || errno != 0 || *end != '\0' || number < min || number > max) {
        vqc_args_error(command, "%s: got \"%s\", expected a whole number from %ld to %ld", option,
                       text, min, max);
        return false;
    }
    *value = number;
    return true;
}

bool vqc_args_once(const char *command, const char *option, const char **slot, const char *value)
{
    if (*slot != NULL) {
        vqc_args_error(command, "%s is given twice", option);
        return false;
    }
    *slot = value;
    return true;
}
