#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vqc_status vqc_fail(vqc_error *error, vqc_status code, const char *format, ...)
{
    if (error != NULL) {
        va_list args;
        error->code = code;
        va_start(args, format);
        (void)vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
    }
    return code;
}

vqc_status vqc_fail_memory(vqc_error *error, size_t size_bytes)
{
    return vqc_fail(error, VQC_ERR_INTERNAL, "out of memory (asked for %zu bytes)", size_bytes);
}

vqc_status vqc_error_prefix(vqc_error *error, const char *format, ...)
{
    char rest[sizeof error->message];
    int used;
    va_list args;

    if (error == NULL) {
        return VQC_ERR_INTERNAL;
    }
    memcpy(rest, error->message, sizeof rest);
    va_start(args, format);
    used = vsnprintf(error->message, sizeof error->message / 2, format, args);
    va_end(args);
    if (used < 0) {
        used = 0;
    }
    if ((size_t)used >= sizeof error->message / 2) {
        used = (int)(sizeof error->message / 2) - 1;
    }
    /* what does not fit is cut: the prefix is at most half of the message */
    (void)snprintf(error->message + used, sizeof error->message - (size_t)used, ": %.*s",
                   (int)(sizeof error->message / 2) - 8, rest);
    return error->code;
}

vqc_status vqc_messages_add(vqc_messages *list, const char *format, ...)
{
    char line[1024];
    size_t length;
    char *copy;
    va_list args;

    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 8 : 2 * list->capacity;
        char **grown = realloc(list->items, capacity * sizeof *grown);
        if (grown == NULL) {
            return VQC_ERR_INTERNAL;
        }
        list->items = grown;
        list->capacity = capacity;
    }
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    length = strlen(line) + 1;
    copy = malloc(length);
    if (copy == NULL) {
        return VQC_ERR_INTERNAL;
    }
    memcpy(copy, line, length);
    list->items[list->count++] = copy;
    return VQC_OK;
}

void vqc_messages_clear(vqc_messages *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    list->items = NULL;
    list->count = 0;
    list->capacity = 0;
}
