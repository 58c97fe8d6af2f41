/* vqc: command dispatch, version, help, streams and signals. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/term.h"
#include "cli/text.h"
#include "core/cpu.h"
#include "core/vqc.h"

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
    bool computes; /* runs models or codes weights: with several threads */
} command;

static int cmd_help(int argc, char **argv);

static const command commands[] = {
    {"compress", vqc_cmd_compress, "write smaller models and print what it cost", true},
    {"report", vqc_cmd_report, "show where the bytes of a model are, and what was lost", false},
    {"run", vqc_cmd_run, "compute a model's outputs", true},
    {"eval", vqc_cmd_eval, "measure accuracy, and the distance to another model", true},
    {"stats", vqc_cmd_stats, "show and join calibration caches", false},
    {"bench", vqc_cmd_bench, "measure the speed of the inner loops on this machine", false},
    {"help", cmd_help, "explain a command: vqc help compress", false},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static const char usage_text[] = "Usage: vqc COMMAND [arguments]\n";

static const char help_text[] =
    "\n"
    "Makes ONNX models smaller: reads a model and a recipe, stores the weights in fewer bits,\n"
    "writes a model that ONNX Runtime loads, and says what it cost.\n"
    "\n"
    "  vqc compress model.onnx -c int8.yaml           writes model.int8.onnx\n"
    "  vqc report model.onnx                          where the bytes are\n"
    "  vqc report model.int8.onnx --ref model.onnx    what was lost, layer by layer\n"
    "  vqc eval model.int8.onnx -d test.npz           what it is worth on data\n"
    "\n"
    "Commands:\n";

static const char help_end[] =
    "\n"
    "  -h, --help       this text; vqc COMMAND --help explains a command\n"
    "  -V, --version    version, ONNX versions and processor kernels\n"
    "\n"
    "Exit codes: 0 ok, 1 internal error or out of memory, 2 usage or recipe, 3 bad or unsupported\n"
    "model or data, 4 input or output, 5 a gate of the recipe was missed.\n";

static int print_help(void)
{
    fputs(usage_text, stdout);
    fputs(help_text, stdout);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs(help_end, stdout);
    return VQC_OK;
}

static int print_version(void)
{
    printf("vqc %s\n", vqc_version());
    printf("reads and writes: ONNX IR 3 to 14, operator sets 7 to 28\n");
    printf("kernels: %s (this machine:", vqc_cpu_name());
    const char *name;
    for (size_t i = 0; (name = vqc_cpu_available(i)) != NULL; i++)
        printf("%s %s", i > 0 ? "," : "", name);
    printf(")\n");
    return VQC_OK;
}

static const command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* The error for a first argument that is no command. */
static int unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    static const char *const options[] = {"--help", "--version"};
    const char *nearest = name[0] == '-' ? vqc_text_nearest(name, options, 2)
                                         : vqc_text_nearest(name, names, COMMAND_COUNT);
    const char *kind = name[0] == '-' ? "option" : "command";
    size_t length = strlen(name);
    if (nearest != NULL)
        vqc_cli_error("unknown %s \"%s\"; did you mean \"%s\"?", kind, name, nearest);
    else if (length > 5 && strcmp(name + length - 5, ".onnx") == 0)
        vqc_cli_error("unknown command \"%s\"; did you mean \"vqc compress %s\"?", name, name);
    else
        vqc_cli_error("unknown %s \"%s\"; see 'vqc --help'", kind, name);
    return VQC_ERR_USAGE;
}

static int cmd_help(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return print_help();
    if (argc > 2) {
        vqc_cli_error("help: explains one command at a time; see 'vqc --help'");
        return VQC_ERR_USAGE;
    }
    const command *found = find_command(argv[1]);
    if (found == NULL)
        return unknown_command(argv[1]);
    char name[16], option[] = "--help";
    snprintf(name, sizeof name, "%s", found->name);
    char *arguments[] = {name, option, NULL};
    return found->run(2, arguments);
}

/*
 * The threads of libgomp spin for milliseconds when they wait, which on a busy machine takes the
 * cores from threads that have work (calibrated vector quantization of squeezenet on two cores at a
 * load of 8: 96 s and 43 s of CPU with, 59 s and 20 s without). How long is read from the
 * environment before main begins: it is set here, and the program begins anew. Who has set one of
 * the variables gets what they say; where that is not possible, threads spin. Not for commands that
 * run next to nothing in threads, nor for bench, which measures threads that spin.
 */
static void limit_spinning(int argc, char **argv)
{
    const command *found = argc > 1 ? find_command(argv[1]) : NULL;

    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return;
    if (found == NULL || !found->computes || getenv("GOMP_SPINCOUNT") != NULL ||
        getenv("OMP_WAIT_POLICY") != NULL || setenv("GOMP_SPINCOUNT", "2000", 0) != 0)
        return;
    (void)execv("/proc/self/exe", argv);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "%s%s", usage_text,
                "Commands: compress, report, run, eval, stats, bench, help; see 'vqc --help'\n");
        return VQC_ERR_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return print_help();
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return print_version();
    const command *found = find_command(argv[1]);
    return found != NULL ? found->run(argc - 1, argv + 1) : unknown_command(argv[1]);
}

int main(int argc, char **argv)
{
    limit_spinning(argc, argv);
    vqc_cli_guard_streams();
    vqc_cli_guard_signals();
    int code = run(argc, argv);
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (failed && write(STDOUT_FILENO, "\n", 1) == 1) /* its errno is long gone: ask again */
        errno = 0;
    int problem = errno;
    if (fclose(stdout) != 0 || failed) { /* a full disk or a closed stream shows here */
        if (problem == 0)
            problem = errno;
        vqc_cli_error("standard output: %s", problem != 0 ? strerror(problem) : "write error");
        if (code == VQC_OK || code == VQC_ERR_GATE)
            code = VQC_ERR_IO;
    }
    return code;
}
