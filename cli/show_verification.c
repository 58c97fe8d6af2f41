/* What running both models showed, and the activations that were quantized, for people. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/show.h"
#include "cli/table.h"
#include "cli/text.h"

enum {
    SHORT_VALUES = 5,      /* values inside the model, of those with most noise */
    SHORT_ACTIVATIONS = 5, /* quantized activations */
    SHORT_SLACK = 2        /* so many more are shown rather than announced */
};

static size_t short_length(size_t count, size_t wanted, bool all)
{
    return all || count <= wanted + SHORT_SLACK ? count : wanted;
}

/* "99.35%" of a percentage, "-" for NaN. */
static char *text_points(vqc_arena *arena, double percent)
{
    return isnan(percent) ? vqc_text_printf(arena, "-") : vqc_text_printf(arena, "%.2f%%", percent);
}

/* "94.1%" of a share. */
static char *text_share(vqc_arena *arena, double share)
{
    return isnan(share) ? vqc_text_printf(arena, "-")
                        : vqc_text_printf(arena, "%.1f%%", 100 * share);
}

static char *text_cosine(vqc_arena *arena, double cosine)
{
    return isnan(cosine) ? vqc_text_printf(arena, "-") : vqc_text_printf(arena, "%.6f", cosine);
}

/* Whether an output of integers was compared: it is only the same or not. */
static bool is_integer(const vqc_value_error *output)
{
    return isnan(output->sqnr_db) && isnan(output->max_abs_error) && !isnan(output->agreement);
}

/* ---- head ---- */

/* "SQNR 24.1 dB, cosine 0.998000, largest error 0.12, same top-1 in 94.0%" */
static char *describe_output(vqc_arena *arena, const vqc_value_error *output)
{
    if (is_integer(output))
        return vqc_text_printf(arena, "%s of the values are the same",
                               text_share(arena, output->agreement));
    char *text = vqc_text_printf(
        arena, "SQNR %s%s, cosine %s, largest error %s", vqc_text_db(arena, output->sqnr_db),
        isfinite(output->sqnr_db) ? " dB" : "", text_cosine(arena, output->cosine),
        vqc_text_real(arena, output->max_abs_error));
    if (!isnan(output->agreement))
        text = vqc_text_printf(arena, "%s, same top-1 in %s", text,
                               text_share(arena, output->agreement));
    return text;
}

/* "the worst of 3: SQNR 24.1 dB" */
static char *describe_outputs(vqc_arena *arena, const vqc_verification *v)
{
    if (v->output_count == 1)
        return describe_output(arena, &v->outputs[0]);
    bool measured = false;
    for (size_t i = 0; i < v->output_count; i++)
        measured = measured || !is_integer(&v->outputs[i]);
    if (!measured)
        return vqc_text_printf(arena, "%zu, all of integers", v->output_count);
    return vqc_text_printf(arena, "SQNR %s%s in the worst of %zu",
                           vqc_text_db(arena, v->min_sqnr_db),
                           isfinite(v->min_sqnr_db) ? " dB" : "", v->output_count);
}

static void show_change(FILE *stream, vqc_arena *arena, const char *label, double before,
                        double after, double from, double to)
{
    char *text = vqc_text_printf(arena, "top-1 %s -> %s", text_points(arena, before),
                                 text_points(arena, after));
    double lost = before - after;
    const char *word = lost > 0 ? "lost" : "gained";
    if (fabs(lost) < 0.005)
        text = vqc_text_printf(arena, "%s, nothing lost", text);
    else
        text = vqc_text_printf(arena, "%s, %.2f points %s", text, fabs(lost), word);
    if (!isnan(from) && !isnan(to))
        text = vqc_text_printf(arena, "%s; top-5 %s -> %s", text, text_points(arena, from),
                               text_points(arena, to));
    vqc_show_field(stream, label, text);
}

static void show_accuracy(FILE *stream, vqc_arena *arena, const vqc_verification *v)
{
    if (!isnan(v->top1_before) && !isnan(v->top1_after))
        show_change(stream, arena, "accuracy", v->top1_before, v->top1_after, v->top5_before,
                    v->top5_after);
    if (!isnan(v->mse_before) || !isnan(v->mse_after))
        vqc_show_field(stream, "MSE",
                       vqc_text_printf(arena, "%s -> %s against the targets",
                                       vqc_text_real(arena, v->mse_before),
                                       vqc_text_real(arena, v->mse_after)));
    if (!isnan(v->perplexity_before) || !isnan(v->perplexity_after))
        vqc_show_field(
            stream, "perplexity",
            vqc_text_printf(arena, "%.4g -> %.4g", v->perplexity_before, v->perplexity_after));
}

static void show_warning(FILE *stream, const vqc_term *term, vqc_arena *arena, const char *text)
{
    vqc_show_field(stream, "",
                   vqc_text_printf(arena, "%s%s%s", vqc_term_begin(term, VQC_STYLE_BAD), text,
                                   vqc_term_end(term, VQC_STYLE_BAD)));
}

void vqc_show_verification_head(FILE *stream, vqc_arena *arena, const vqc_report *report,
                                const vqc_term *term)
{
    const vqc_verification *v = &report->verification;
    if (report->possible_layers > 0)
        vqc_show_field(stream, "integers",
                       vqc_text_printf(arena, "%zu of %zu layers compute with integers",
                                       report->integer_layers, report->possible_layers));
    if (v->data == NULL)
        return;
    vqc_show_field(stream, v->output_count == 1 ? "output" : "outputs", describe_outputs(arena, v));
    vqc_show_field(
        stream, "",
        vqc_text_printf(arena, "on %s sample%s%s of %s", vqc_text_count(arena, v->samples),
                        v->samples == 1 ? "" : "s", v->held_out ? " kept apart" : "",
                        v->is_synthetic ? "random numbers" : vqc_text_clean(arena, v->data)));
    if (v->is_synthetic)
        show_warning(stream, term, arena,
                     "random inputs: real ones may give quite different figures");
    if (v->nonfinite > 0)
        show_warning(stream, term, arena,
                     vqc_text_printf(arena,
                                     "%s NaN or infinite values in outputs of the written model",
                                     vqc_text_count(arena, v->nonfinite)));
    show_accuracy(stream, arena, v);
}

/* ---- outputs ---- */

static void show_outputs(FILE *stream, vqc_arena *arena, const vqc_verification *v,
                         const vqc_term *term)
{
    static const vqc_column columns[] = {{"output", false, 24, 0},  {"operator", false, 8, 3},
                                         {"SQNR dB", true, 0, 0},   {"cosine", true, 0, 2},
                                         {"max error", true, 0, 1}, {"same top-1", true, 0, 0},
                                         {"same value", true, 0, 0}};
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < v->output_count; i++) {
        const vqc_value_error *row = &v->outputs[i];
        bool integer = is_integer(row);
        const char *cells[] = {
            vqc_text_clean(arena, row->name),
            vqc_text_clean(arena, row->op),
            integer ? NULL : vqc_text_db(arena, row->sqnr_db),
            integer ? NULL : text_cosine(arena, row->cosine),
            integer ? NULL : vqc_text_real(arena, row->max_abs_error),
            integer || isnan(row->agreement) ? NULL : text_share(arena, row->agreement),
            integer ? text_share(arena, row->agreement) : NULL,
        };
        vqc_table_add(table, VQC_STYLE_NONE, cells);
    }
    fputs("\n", stream);
    vqc_table_print(table, stream, term);
}

/* ---- values inside the model ---- */

static double noise_key(const vqc_value_error *value)
{
    return isnan(value->added_db) ? -INFINITY : value->added_db;
}

/* Most added noise first, then model order (they lie in one array). */
static int compare_values(const void *a, const void *b)
{
    const vqc_value_error *x = *(const vqc_value_error *const *)a;
    const vqc_value_error *y = *(const vqc_value_error *const *)b;
    if (noise_key(x) != noise_key(y))
        return noise_key(x) < noise_key(y) ? -1 : 1;
    return x < y ? -1 : 1;
}

static void show_values(FILE *stream, vqc_arena *arena, const vqc_verification *v,
                        const vqc_show_options *options)
{
    static const vqc_column columns[] = {{"most noise arises in", false, 24, 0},
                                         {"operator", false, 8, 2},
                                         {"value", false, 16, 1},
                                         {"adds dB", true, 0, 0},
                                         {"SQNR dB", true, 0, 0}};
    const vqc_value_error **order =
        vqc_cli_check(vqc_arena_calloc(arena, v->value_count + 1, sizeof *order));
    size_t count = 0;
    for (size_t i = 0; i < v->value_count; i++)
        if (noise_key(&v->values[i]) < INFINITY)
            order[count++] = &v->values[i];
    if (count == 0)
        return;
    qsort(order, count, sizeof *order, compare_values);
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    size_t shown = short_length(count, SHORT_VALUES, options->all);
    for (size_t i = 0; i < shown; i++) {
        const char *cells[] = {
            vqc_text_clean(arena, order[i]->node), vqc_text_clean(arena, order[i]->op),
            vqc_text_clean(arena, order[i]->name), vqc_text_db(arena, order[i]->added_db),
            vqc_text_db(arena, order[i]->sqnr_db)};
        vqc_table_add(table, VQC_STYLE_NONE, cells);
    }
    if (shown < count) {
        const char *cells[] = {vqc_text_printf(arena, "%zu more (-v shows all)", count - shown),
                               NULL, NULL, NULL, NULL};
        vqc_table_add(table, VQC_STYLE_DIM, cells);
    }
    fputs("\n", stream);
    vqc_table_print(table, stream, &options->term);
}

/* ---- activations ---- */

typedef struct place {
    const vqc_activation_report *activation;
    double cut; /* share of the seen range that lies outside of the codes */
} place;

static int compare_cuts(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->cut != y->cut)
        return x->cut > y->cut ? -1 : 1;
    return x->activation < y->activation ? -1 : 1;
}

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->activation < y->activation ? -1 : 1;
}

static double cut_share(const vqc_activation_report *a)
{
    double width = a->seen_max - a->seen_min;
    double lost = fmax(a->min - a->seen_min, 0.0) + fmax(a->seen_max - a->max, 0.0);
    return width > 0.0 && isfinite(width) ? fmin(lost / width, 1.0) : 0.0;
}

static char *text_range(vqc_arena *arena, double low, double high)
{
    return low > high ? vqc_text_printf(arena, "-") /* nothing was seen */
                      : vqc_text_printf(arena, "%.3g .. %.3g", low, high);
}

/* The short form has the activations of which most was cut off, in model order. */
static void show_activations(FILE *stream, vqc_arena *arena, const vqc_report *report,
                             const vqc_show_options *options)
{
    static const vqc_column columns[] = {
        {"activation", false, 20, 0}, {"from", false, 8, 4},
        {"type", false, 0, 0},        {"range of the codes", true, 0, 0},
        {"range seen", true, 0, 1},   {"observer", false, 0, 5},
        {"scale", true, 0, 2},        {"zero", true, 0, 3}};
    size_t count = report->activation_count;
    size_t shown = short_length(count, SHORT_ACTIVATIONS, options->all);
    place *places = vqc_cli_check(vqc_arena_calloc(arena, count + 1, sizeof *places));
    for (size_t i = 0; i < count; i++)
        places[i] = (place){&report->activations[i], cut_share(&report->activations[i])};
    qsort(places, count, sizeof *places, compare_cuts);
    qsort(places, shown, sizeof *places, compare_places);
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < shown; i++) {
        const vqc_activation_report *a = places[i].activation;
        const char *cells[] = {
            vqc_text_clean(arena, a->name),
            *a->op != '\0' ? vqc_text_clean(arena, a->op) : "input",
            a->type,
            text_range(arena, a->min, a->max),
            text_range(arena, a->seen_min, a->seen_max),
            a->observer,
            vqc_text_printf(arena, "%.4g", a->scale),
            vqc_text_printf(arena, "%lld", (long long)a->zero_point),
        };
        vqc_table_add(table, VQC_STYLE_NONE, cells);
    }
    if (shown < count) {
        const char *cells[sizeof columns / sizeof *columns] = {
            vqc_text_printf(arena, "%zu more (-v shows all)", count - shown)};
        vqc_table_add(table, VQC_STYLE_DIM, cells);
    }
    fputs("\n", stream);
    vqc_table_print(table, stream, &options->term);
}

void vqc_show_verification(FILE *stream, vqc_arena *arena, const vqc_report *report,
                           const vqc_show_options *options)
{
    const vqc_verification *v = &report->verification;
    if (v->data != NULL && v->output_count > 1)
        show_outputs(stream, arena, v, &options->term);
    if (v->data != NULL)
        show_values(stream, arena, v, options);
    if (report->activation_count > 0)
        show_activations(stream, arena, report, options);
}
