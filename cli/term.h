/* What the terminal can do, messages on stderr, progress, interrupts. */
#ifndef VQC_CLI_TERM_H
#define VQC_CLI_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vqc_term {
    size_t width; /* columns: $COLUMNS, else those of the terminal, else 100; 40..400 */
    bool colour;  /* a terminal, and neither NO_COLOR nor TERM=dumb says otherwise */
} vqc_term;

typedef enum vqc_style { VQC_STYLE_NONE, VQC_STYLE_BOLD, VQC_STYLE_DIM, VQC_STYLE_BAD } vqc_style;

/* What standard output can do. */
vqc_term vqc_term_stdout(void);

/* The escape sequences that begin and end a style: "" when the terminal has no colours. */
const char *vqc_term_begin(const vqc_term *term, vqc_style style);
const char *vqc_term_end(const vqc_term *term, vqc_style style);

/* Prints "vqc: <message>" as one line on stderr; unsafe characters are escaped. */
void vqc_cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Opens /dev/null in place of a closed stdin, stdout or stderr, so that no model gets their number.
 * Writes to a closed stdout still fail. */
void vqc_cli_guard_streams(void);

/* On SIGINT, SIGTERM and SIGHUP: removes temporary files, wipes the progress line, dies by the
 * signal. */
void vqc_cli_guard_signals(void);

/* One line on stderr that shows how far a run is: on a terminal only, from half a second on, at
 * most six times a second. */
typedef struct vqc_progress {
    bool enabled;
    const char *label; /* cleaned; borrowed */
    uint64_t start_ns;
    uint64_t shown_ns; /* 0: not shown yet */
} vqc_progress;

/* Begins a run; nothing is ever shown when `quiet`. */
void vqc_progress_start(vqc_progress *progress, const char *label, bool quiet);

/* A vqc_run_options.progress callback; context is the vqc_progress. total 0: unknown. */
void vqc_progress_update(void *context, const char *stage, size_t done, size_t total);

/* Wipes the line. */
void vqc_progress_finish(vqc_progress *progress);

/* Monotonic clock. */
uint64_t vqc_cli_now_ns(void);

#endif
