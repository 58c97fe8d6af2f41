/* Making error records. The types are public and live in core/vqc.h. No I/O here. */
#ifndef VQC_CORE_ERROR_H
#define VQC_CORE_ERROR_H

#include <stddef.h>

#include "core/vqc.h"

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

/* Appends one formatted line; returns VQC_OK or VQC_ERR_INTERNAL when out of memory. */
vqc_status vqc_messages_add(vqc_messages *list, const char *format, ...) VQC_PRINTF(2, 3);

#endif
