/* Making reports: the plain data of core/vqc.h. */
#ifndef VQC_CORE_REPORT_H
#define VQC_CORE_REPORT_H

#include "core/error.h"
#include "core/memory.h"
#include "core/recipe.h"

/* An empty report with its arena. */
vqc_status vqc_report_create(vqc_report **out, vqc_error *error);

/* Appends one note. */
vqc_status vqc_report_note(vqc_report *report, vqc_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds up the layers: weight_*, coded_count, kept_count and bits_per_weight. */
void vqc_report_total(vqc_report *report);

/* Marks the report as that of an unchanged file: every layer kept, `reason` as a note. */
vqc_status vqc_report_unchanged(vqc_report *report, const char *reason, vqc_error *error);

/* Compares with the gates and fills report->misses. Errors: out of memory. */
vqc_status vqc_report_check_gates(vqc_report *report, const vqc_gates *gates, vqc_error *error);

/* Monotonic clock in nanoseconds, to measure stages with. */
uint64_t vqc_report_clock(void);

/* Records how long a stage took; a stage that is there already becomes longer. */
vqc_status vqc_report_stage(vqc_report *report, const char *stage, uint64_t time_ns,
                            vqc_error *error);

#endif
