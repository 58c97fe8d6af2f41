/* Status codes and error records shared by every room of vqc. No I/O here. */
#ifndef VQC_CORE_ERROR_H
#define VQC_CORE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

/* Result of every fallible function. The values are the process exit codes and never change. */
typedef enum vqc_status {
    VQC_OK = 0,
    VQC_ERR_INTERNAL = 1, /* a broken invariant, or out of memory */
    VQC_ERR_USAGE = 2,    /* command line or recipe */
    VQC_ERR_MODEL = 3,    /* bad or unsupported model or data */
    VQC_ERR_IO = 4,       /* a file could not be read or written */
    VQC_ERR_GATE = 5      /* a quality or size gate of the recipe was missed */
} vqc_status;

/* One error: what, where, got, wanted, in one line of UTF-8 without a trailing newline. */
typedef struct vqc_error {
    vqc_status code;
    char message[1024];
} vqc_error;

#if defined(__GNUC__)
#define VQC_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#else
#define VQC_PRINTF(fmt_index, first_arg)
#endif

/* Fills `error` (may be NULL) and returns `code`, so that callers can `return vqc_fail(...)`. */
vqc_status vqc_fail(vqc_error *error, vqc_status code, const char *format, ...) VQC_PRINTF(3, 4);

/* Fills `error` with the one out-of-memory message; returns VQC_ERR_INTERNAL. */
vqc_status vqc_fail_memory(vqc_error *error, size_t size_bytes);

/* Puts "prefix: " before the message in `error` (may be NULL); returns error->code. */
vqc_status vqc_error_prefix(vqc_error *error, const char *format, ...) VQC_PRINTF(2, 3);

/* A growing list of one-line messages (for checks that report all problems at once). */
typedef struct vqc_messages {
    char **items; /* [count], each malloc'ed */
    size_t count;
    size_t capacity;
} vqc_messages;

/* Appends one formatted line; returns VQC_OK or VQC_ERR_INTERNAL when out of memory. */
vqc_status vqc_messages_add(vqc_messages *list, const char *format, ...) VQC_PRINTF(2, 3);

/* Frees the lines; the list is empty afterwards. */
void vqc_messages_clear(vqc_messages *list);

#endif
