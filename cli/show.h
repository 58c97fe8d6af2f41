/* Reports as text for people and as CSV. */
#ifndef VQC_CLI_SHOW_H
#define VQC_CLI_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include "cli/term.h"
#include "core/memory.h"
#include "core/recipe.h"
#include "core/vqc.h"

typedef struct vqc_show_options {
    vqc_term term;
    vqc_report_sort sort; /* order of the layer table */
    size_t top;           /* layers shown; 0: a short table of the largest */
    bool all;             /* every layer and every reason, whatever top says */
    size_t set_count;     /* changes to the recipe by --set */
} vqc_show_options;

/* The layers in the order asked for; `count` of them stand first.
 * VQC_SORT_MODEL: the `count` largest, in model order. BYTES: largest first. ERROR: lowest SQNR
 * first, layers without a measured error last. Ties keep model order. Returns [layer_count]
 * pointers in `arena`. */
const vqc_layer_report **vqc_show_order(vqc_arena *arena, const vqc_layer_report *layers,
                                        size_t layer_count, vqc_report_sort sort, size_t count);

/* Cleaned name of a layer with its scope and, for tied weights, how often it is used. */
char *vqc_show_layer_name(vqc_arena *arena, const vqc_layer_report *layer);

/* "SQNR 41.2 dB, MSE 1e-06, largest error 0.00123, cosine 0.999960" of all weights together; what
 * is not known is left out. */
char *vqc_show_metrics(vqc_arena *arena, const vqc_metrics *metrics);

/* "  label       text": one line of a report's head. */
void vqc_show_field(FILE *stream, const char *label, const char *text);

/* The result of one compression. gate_count: how many limits the recipe sets. */
void vqc_show_report(FILE *stream, const vqc_report *report, size_t gate_count,
                     const vqc_show_options *options);

/* Lines of the head: how many layers compute with integers, and what running both models showed.
 * Nothing where the report has nothing of it. */
void vqc_show_verification_head(FILE *stream, vqc_arena *arena, const vqc_report *report,
                                const vqc_term *term);

/* Tables behind the layers: the outputs when there are several, the values inside the model in
 * which most noise arises, and the quantized activations. */
void vqc_show_verification(FILE *stream, vqc_arena *arena, const vqc_report *report,
                           const vqc_show_options *options);

/* What `vqc report` prints. */
void vqc_show_inspection(FILE *stream, const vqc_inspection *inspection,
                         const vqc_show_options *options);

/* The layers as CSV (RFC 4180 with plain newlines, a header line first) and a last row with the
 * bytes of all that is no layer, so that the column "bytes" adds up to the file size. */
void vqc_show_inspection_csv(FILE *stream, const vqc_inspection *inspection,
                             const vqc_show_options *options);

#endif
