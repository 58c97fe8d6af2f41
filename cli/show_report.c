/* The result of `vqc compress` for people. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/show.h"
#include "cli/table.h"
#include "cli/text.h"

enum {
    SHORT_TABLE = 10, /* layers in a table that nobody asked a length for */
    SHORT_SLACK = 2,  /* so many more are shown rather than announced */
    SHORT_REASONS = 5
};

typedef struct place {
    const vqc_layer_report *layer;
    size_t index;
} place;

/* Negative when a comes first: more bytes, then model order. */
static int compare_bytes(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->layer->after_bytes != y->layer->after_bytes)
        return x->layer->after_bytes > y->layer->after_bytes ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static int compare_index(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->index < y->index ? -1 : 1;
}

/* What to order by: SQNR, and behind every number when there is none. */
static double error_key(const vqc_layer_report *layer)
{
    return layer->metrics.count == 0 || isnan(layer->metrics.sqnr_db) ? INFINITY
                                                                      : layer->metrics.sqnr_db;
}

static int compare_error(const void *a, const void *b)
{
    const place *x = a, *y = b;
    double x_key = error_key(x->layer), y_key = error_key(y->layer);
    if (x_key < y_key || x_key > y_key)
        return x_key < y_key ? -1 : 1;
    bool x_none = x->layer->metrics.count == 0, y_none = y->layer->metrics.count == 0;
    if (x_none != y_none)
        return x_none ? 1 : -1;
    return compare_index(a, b);
}

const vqc_layer_report **vqc_show_order(vqc_arena *arena, const vqc_layer_report *layers,
                                        size_t layer_count, vqc_report_sort sort, size_t count)
{
    place *places = vqc_cli_check(vqc_arena_calloc(arena, layer_count, sizeof *places));
    for (size_t i = 0; i < layer_count; i++)
        places[i] = (place){&layers[i], i};
    if (layer_count > 1) {
        qsort(places, layer_count, sizeof *places,
              sort == VQC_SORT_ERROR ? compare_error : compare_bytes);
        if (sort == VQC_SORT_MODEL)
            qsort(places, count < layer_count ? count : layer_count, sizeof *places, compare_index);
    }
    const vqc_layer_report **order =
        vqc_cli_check(vqc_arena_calloc(arena, layer_count, sizeof *order));
    for (size_t i = 0; i < layer_count; i++)
        order[i] = places[i].layer;
    return order;
}

char *vqc_show_layer_name(vqc_arena *arena, const vqc_layer_report *layer)
{
    char *name = vqc_text_clean(arena, layer->name);
    if (*name == '\0')
        name = vqc_text_printf(arena, "(%s)", vqc_text_clean(arena, layer->node));
    if (layer->scope != NULL && *layer->scope != '\0')
        name = vqc_text_printf(arena, "%s: %s", vqc_text_clean(arena, layer->scope), name);
    if (layer->use_count > 1)
        name = vqc_text_printf(arena, "%s (%zu uses)", name, layer->use_count);
    return name;
}

void vqc_show_field(FILE *stream, const char *label, const char *text)
{
    fprintf(stream, "  %-13s %s\n", label, text);
}

char *vqc_show_metrics(vqc_arena *arena, const vqc_metrics *metrics)
{
    char *text = vqc_text_printf(
        arena, "SQNR %s%s, MSE %s, largest error %s", vqc_text_db(arena, metrics->sqnr_db),
        isfinite(metrics->sqnr_db) ? " dB" : "", vqc_text_real(arena, metrics->mse),
        vqc_text_real(arena, metrics->max_abs_error));
    if (isfinite(metrics->cosine))
        text = vqc_text_printf(arena, "%s, cosine %.6f", text, metrics->cosine);
    return text;
}

/* ---- head ---- */

/* "40 as int8 channel (DequantizeLinear), 4 kept" */
static char *describe_codecs(vqc_arena *arena, const vqc_report *report)
{
    enum { KINDS_MAX = 4 };
    struct {
        const vqc_layer_report *sample;
        size_t count;
    } kinds[KINDS_MAX] = {0};
    size_t kind_count = 0, other = 0, kept = 0;
    for (size_t i = 0; i < report->layer_count; i++) {
        const vqc_layer_report *layer = &report->layers[i];
        if (layer->status != VQC_LAYER_CODED) {
            kept++;
            continue;
        }
        size_t k = 0;
        while (k < kind_count && (strcmp(kinds[k].sample->codec, layer->codec) != 0 ||
                                  strcmp(kinds[k].sample->pattern, layer->pattern) != 0))
            k++;
        if (k == KINDS_MAX) {
            other++;
            continue;
        }
        kinds[k].sample = layer;
        kinds[k].count++;
        kind_count += k == kind_count;
    }
    char *text = vqc_text_printf(arena, "%s", "");
    const char *separator = "";
    for (size_t k = 0; k < kind_count; k++, separator = ", ") {
        const vqc_layer_report *sample = kinds[k].sample;
        text = vqc_text_printf(arena, "%s%s%zu as %s%s%s%s", text, separator, kinds[k].count,
                               sample->codec, *sample->pattern != '\0' ? " (" : "", sample->pattern,
                               *sample->pattern != '\0' ? ")" : "");
    }
    if (other > 0)
        text = vqc_text_printf(arena, "%s, %zu in other ways", text, other);
    if (kept > 0)
        text = vqc_text_printf(arena, "%s%s%zu kept", text, kind_count > 0 ? ", " : "", kept);
    return vqc_text_clean(arena, text);
}

static void show_sizes(FILE *stream, vqc_arena *arena, const vqc_report *report)
{
    const vqc_file_size *before = &report->before, *after = &report->after;
    char *ratio = vqc_text_percent(arena, after->total_bytes, before->total_bytes);
    if (after->total_bytes > 0 && after->total_bytes < before->total_bytes)
        ratio = vqc_text_printf(arena, "%s, %.2f times smaller", ratio,
                                (double)before->total_bytes / (double)after->total_bytes);
    vqc_show_field(stream, "before", vqc_text_size(arena, before->total_bytes));
    vqc_show_field(
        stream, "after",
        vqc_text_printf(arena, "%s, %s", vqc_text_size(arena, after->total_bytes), ratio));
    if (after->external_bytes > 0)
        vqc_show_field(stream, "",
                       vqc_text_printf(arena, "of these %s as external data",
                                       vqc_text_count(arena, after->external_bytes)));
}

/* Bytes that layers would take more if their zeros were stored. */
static size_t saved_by_zeros(const vqc_report *report)
{
    size_t saved = 0;
    for (size_t i = 0; i < report->layer_count; i++) {
        const vqc_layer_report *layer = &report->layers[i];
        if (layer->dense_bytes > layer->after_bytes)
            saved += layer->dense_bytes - layer->after_bytes;
    }
    return saved;
}

static void show_weights(FILE *stream, vqc_arena *arena, const vqc_report *report)
{
    if (report->layer_count == 0) {
        vqc_show_field(stream, "weights", "none found");
        return;
    }
    double bits = report->weight_elements > 0
                      ? 8.0 * (double)report->weight_after_bytes / (double)report->weight_elements
                      : NAN;
    vqc_show_field(stream, "weights",
                   vqc_text_printf(arena, "%zu tensor%s, %s values, %s bits per weight",
                                   report->layer_count, report->layer_count == 1 ? "" : "s",
                                   vqc_text_count(arena, report->weight_elements),
                                   vqc_text_bits(arena, bits)));
    vqc_show_field(stream, "", describe_codecs(arena, report));
    if (report->weight_zeros > 0)
        vqc_show_field(
            stream, "",
            vqc_text_printf(arena, "%s of them zero (%.1f%%), which saves %s bytes",
                            vqc_text_count(arena, report->weight_zeros),
                            100.0 * (double)report->weight_zeros / (double)report->weight_elements,
                            vqc_text_count(arena, saved_by_zeros(report))));
}

/* "0.84 s (read 10 ms, encode 0.80 s)" */
static char *describe_time(vqc_arena *arena, const vqc_report *report, bool stages)
{
    char *text = vqc_text_time(arena, report->time_ns);
    for (size_t i = 0; stages && i < report->stage_count; i++)
        text = vqc_text_printf(arena, "%s%s%s %s%s", text, i == 0 ? " (" : ", ",
                               report->stages[i].stage,
                               vqc_text_time(arena, report->stages[i].time_ns),
                               i + 1 == report->stage_count ? ")" : "");
    return text;
}

static void show_head(FILE *stream, vqc_arena *arena, const vqc_report *report, size_t gate_count,
                      const vqc_show_options *options)
{
    const vqc_term *term = &options->term;
    const char *target = report->dry_run        ? "(dry run: nothing is written)"
                         : report->file_removed ? "(not written: a gate was missed)"
                                                : report->output;
    fprintf(stream, "%s%s -> %s%s\n", vqc_term_begin(term, VQC_STYLE_BOLD),
            vqc_text_clean(arena, report->input), vqc_text_clean(arena, target),
            vqc_term_end(term, VQC_STYLE_BOLD));
    show_sizes(stream, arena, report);
    char *recipe = vqc_text_clean(arena, report->recipe);
    if (options->set_count > 0)
        recipe = vqc_text_printf(arena, "%s with %zu change%s by --set", recipe, options->set_count,
                                 options->set_count == 1 ? "" : "s");
    vqc_show_field(stream, "recipe", recipe);
    show_weights(stream, arena, report);
    if (report->metrics.count > 0)
        vqc_show_field(stream, "weight error", vqc_show_metrics(arena, &report->metrics));
    if (report->coding_metrics.count > 0)
        vqc_show_field(
            stream, "",
            vqc_text_printf(arena, "coding alone, of the pruned weights: SQNR %s",
                            isfinite(report->coding_metrics.sqnr_db)
                                ? vqc_text_printf(arena, "%.1f dB", report->coding_metrics.sqnr_db)
                                : vqc_text_db(arena, report->coding_metrics.sqnr_db)));
    vqc_show_verification_head(stream, arena, report, term);
    char *ir = report->ir_before == report->ir_after
                   ? vqc_text_printf(arena, "IR %" PRId64, report->ir_after)
                   : vqc_text_printf(arena, "IR %" PRId64 " -> %" PRId64, report->ir_before,
                                     report->ir_after);
    vqc_show_field(stream, "operator set",
                   report->opset_before == report->opset_after
                       ? vqc_text_printf(arena, "%" PRId64 " (%s)", report->opset_after, ir)
                       : vqc_text_printf(arena, "%" PRId64 " -> %" PRId64 " (%s)",
                                         report->opset_before, report->opset_after, ir));
    if (gate_count > 0 && report->miss_count == 0)
        vqc_show_field(stream, "gates",
                       vqc_text_printf(arena, "%zu of %zu passed", gate_count, gate_count));
    else if (report->miss_count > 0)
        vqc_show_field(stream, "gates",
                       vqc_text_printf(arena, "%smissed, %zu time%s%s",
                                       vqc_term_begin(term, VQC_STYLE_BAD), report->miss_count,
                                       report->miss_count == 1 ? "" : "s",
                                       vqc_term_end(term, VQC_STYLE_BAD)));
    vqc_show_field(stream, "time", describe_time(arena, report, options->all));
    if (report->peak_memory_bytes > 0)
        vqc_show_field(
            stream, "memory",
            vqc_text_printf(arena, "%s at most", vqc_text_size(arena, report->peak_memory_bytes)));
}

/* ---- layers ---- */

static const vqc_column layer_columns[] = {
    {"weight", false, 36, 0},  {"operator", false, 8, 3}, {"shape", false, 0, 4},
    {"codec", false, 16, 0},   {"pattern", false, 0, 6},  {"before", true, 0, 0},
    {"after", true, 0, 0},     {"bits/w", true, 0, 1},    {"SQNR dB", true, 0, 0},
    {"max error", true, 0, 5}, {"zeros", true, 0, 0},
};
enum { LAYER_COLUMNS = sizeof layer_columns / sizeof *layer_columns };

static void add_layer(vqc_table *table, vqc_arena *arena, const vqc_layer_report *layer)
{
    bool kept = layer->status != VQC_LAYER_CODED;
    bool measured = layer->metrics.count > 0;
    const char *cells[LAYER_COLUMNS] = {
        vqc_show_layer_name(arena, layer),
        vqc_text_clean(arena, layer->op),
        vqc_text_shape(arena, layer->dims, layer->rank),
        kept ? vqc_text_printf(arena, "kept %s", vqc_text_clean(arena, layer->dtype))
             : vqc_text_clean(arena, layer->codec),
        vqc_text_clean(arena, layer->pattern),
        vqc_text_count(arena, layer->before_bytes),
        vqc_text_count(arena, layer->after_bytes),
        vqc_text_bits(arena, layer->bits_per_weight),
        measured ? vqc_text_db(arena, layer->metrics.sqnr_db) : "",
        measured ? vqc_text_real(arena, layer->metrics.max_abs_error) : "",
        layer->zeros > 0 ? vqc_text_printf(arena, "%.1f%%",
                                           100.0 * (double)layer->zeros / (double)layer->elements)
                         : "",
    };
    vqc_table_add(table, kept ? VQC_STYLE_DIM : VQC_STYLE_NONE, cells);
}

static void add_sum(vqc_table *table, vqc_arena *arena, vqc_style style, const char *label,
                    size_t before, size_t after)
{
    const char *cells[LAYER_COLUMNS] = {
        [0] = label, [5] = vqc_text_count(arena, before), [6] = vqc_text_count(arena, after)};
    vqc_table_add(table, style, cells);
}

static void show_layers(FILE *stream, vqc_arena *arena, const vqc_report *report,
                        const vqc_show_options *options)
{
    size_t shown = report->layer_count;
    size_t wanted = options->top > 0 ? options->top : SHORT_TABLE;
    if (!options->all && shown > wanted + (options->top > 0 ? 0 : SHORT_SLACK))
        shown = wanted;
    const vqc_layer_report **order =
        vqc_show_order(arena, report->layers, report->layer_count, options->sort, shown);
    vqc_table *table = vqc_table_create(arena, layer_columns, LAYER_COLUMNS);
    size_t before = 0, after = 0, more_before = 0, more_after = 0;
    for (size_t i = 0; i < report->layer_count; i++) {
        before += order[i]->before_bytes;
        after += order[i]->after_bytes;
        if (i < shown) {
            add_layer(table, arena, order[i]);
        } else {
            more_before += order[i]->before_bytes;
            more_after += order[i]->after_bytes;
        }
    }
    if (shown < report->layer_count)
        add_sum(table, arena, VQC_STYLE_DIM,
                vqc_text_printf(arena, "%zu more (-v shows all)", report->layer_count - shown),
                more_before, more_after);
    if (before <= report->before.total_bytes && after <= report->after.total_bytes)
        add_sum(table, arena, VQC_STYLE_DIM, "all that is no weight",
                report->before.total_bytes - before, report->after.total_bytes - after);
    vqc_table_add_line(table);
    add_sum(table, arena, VQC_STYLE_BOLD, "total", report->before.total_bytes,
            report->after.total_bytes);
    fputc('\n', stream);
    vqc_table_print(table, stream, &options->term);
}

/* ---- reasons ---- */

typedef struct reason {
    const char *text;
    const vqc_layer_report *first;
    size_t count;
    size_t bytes;
} reason;

static int compare_reasons(const void *a, const void *b)
{
    const reason *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

static int compare_reason_texts(const void *a, const void *b)
{
    const reason *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : x->first < y->first ? -1 : 1;
}

/* Whether a text says this number already. */
static bool says_number(const char *text, const char *number)
{
    size_t length = strlen(number);
    for (const char *at = strstr(text, number); at != NULL; at = strstr(at + 1, number)) {
        char before = at == text ? ' ' : at[-1];
        const char *after = at + length;
        if (strchr("0123456789.,", before) == NULL && !isdigit((unsigned char)after[0]) &&
            !((after[0] == ',' || after[0] == '.') && isdigit((unsigned char)after[1])))
            return true;
    }
    return false;
}

/* Why weights of one status stand where they stand: a line per weight, or per reason in the short
 * form. */
static void show_reasons(FILE *stream, vqc_arena *arena, const vqc_report *report, bool kept,
                         const char *title, bool all)
{
    reason *reasons = vqc_cli_check(vqc_arena_calloc(arena, report->layer_count, sizeof *reasons));
    size_t count = 0;
    for (size_t i = 0; i < report->layer_count; i++) {
        const vqc_layer_report *layer = &report->layers[i];
        if ((layer->status != VQC_LAYER_CODED) == kept && *layer->reason != '\0')
            reasons[count++] = (reason){layer->reason, layer, 1, layer->after_bytes};
    }
    if (count == 0)
        return;
    if (!all) {
        qsort(reasons, count, sizeof *reasons, compare_reason_texts);
        size_t merged = 0;
        for (size_t i = 1; i < count; i++) {
            if (strcmp(reasons[merged].text, reasons[i].text) == 0) {
                reasons[merged].count++;
                reasons[merged].bytes += reasons[i].bytes;
            } else {
                reasons[++merged] = reasons[i];
            }
        }
        count = merged + 1;
        qsort(reasons, count, sizeof *reasons, compare_reasons);
    }
    fprintf(stream, "\n  %s\n", title);
    size_t shown = all || count <= SHORT_REASONS + SHORT_SLACK ? count : SHORT_REASONS;
    for (size_t i = 0; i < shown; i++) {
        const reason *now = &reasons[i];
        char *who = now->count == 1 ? vqc_show_layer_name(arena, now->first)
                                    : vqc_text_printf(arena, "%zu weights", now->count);
        char *bytes = vqc_text_count(arena, now->bytes);
        fprintf(stream, "    %s: %s", who, vqc_text_clean(arena, now->text));
        if (!says_number(now->text, bytes))
            fprintf(stream, " (%s bytes)", bytes);
        fputc('\n', stream);
    }
    if (shown < count)
        fprintf(stream, "    %zu more reasons (-v shows all)\n", count - shown);
}

void vqc_show_report(FILE *stream, const vqc_report *report, size_t gate_count,
                     const vqc_show_options *options)
{
    vqc_arena *arena = vqc_cli_arena();
    show_head(stream, arena, report, gate_count, options);
    if (report->layer_count > 0) {
        show_layers(stream, arena, report, options);
        show_reasons(stream, arena, report, true, "Kept as they were", options->all);
        show_reasons(stream, arena, report, false, "Remarks on coded weights", options->all);
    }
    vqc_show_verification(stream, arena, report, options);
    if (report->note_count > 0)
        fputs("\n  Notes\n", stream);
    for (size_t i = 0; i < report->note_count; i++)
        fprintf(stream, "    %s\n", vqc_text_clean(arena, report->notes[i]));
    vqc_arena_destroy(&arena);
}
