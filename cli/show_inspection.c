/* What `vqc report` prints. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/show.h"
#include "cli/table.h"
#include "cli/text.h"

enum { SHORT_TABLE = 20, SHORT_SLACK = 2, SHORT_GROUPS = 12 };

static void show_head(FILE *stream, vqc_arena *arena, const vqc_inspection *model,
                      const vqc_term *term)
{
    fprintf(stream, "%s%s%s\n", vqc_term_begin(term, VQC_STYLE_BOLD),
            vqc_text_clean(arena, model->path), vqc_term_end(term, VQC_STYLE_BOLD));
    vqc_show_field(stream, "size", vqc_text_size(arena, model->size.total_bytes));
    if (model->size.external_bytes > 0)
        vqc_show_field(stream, "",
                       vqc_text_printf(arena, "of these %s as external data",
                                       vqc_text_count(arena, model->size.external_bytes)));
    vqc_show_field(stream, "format",
                   vqc_text_printf(arena, "IR %" PRId64 ", operator sets: %s", model->ir_version,
                                   vqc_text_clean(arena, model->opsets)));
    if (*model->producer != '\0')
        vqc_show_field(stream, "made by", vqc_text_clean(arena, model->producer));
    if (model->weight_elements > 0)
        vqc_show_field(stream, "weights",
                       vqc_text_printf(arena, "%zu tensor%s, %s values, %s bits per weight",
                                       model->layer_count, model->layer_count == 1 ? "" : "s",
                                       vqc_text_count(arena, model->weight_elements),
                                       vqc_text_bits(arena, model->bits_per_weight)));
    if (*model->ref_path == '\0')
        return;
    vqc_show_field(stream, "reference",
                   vqc_text_printf(arena, "%s, %s", vqc_text_clean(arena, model->ref_path),
                                   vqc_text_size(arena, model->ref_size.total_bytes)));
    vqc_show_field(stream, "",
                   vqc_text_printf(arena, "this model has %s of its size",
                                   vqc_text_percent(arena, model->size.total_bytes,
                                                    model->ref_size.total_bytes)));
    if (model->metrics.count > 0)
        vqc_show_field(stream, "weight error", vqc_show_metrics(arena, &model->metrics));
}

static void add_group(vqc_table *table, vqc_arena *arena, vqc_style style, const char *key,
                      size_t bytes, size_t total, size_t rows)
{
    const char *cells[] = {key, vqc_text_count(arena, bytes), vqc_text_percent(arena, bytes, total),
                           rows > 0 ? vqc_text_count(arena, rows) : ""};
    vqc_table_add(table, style, cells);
}

/* The file split by one property. Rows that have none (a node has no data type) stand as `rest`, so
 * that every table adds up to the file. */
static void show_groups(FILE *stream, vqc_arena *arena, const vqc_inspection *model,
                        const vqc_size_group *groups, size_t count, const char *title,
                        const char *rest, const vqc_show_options *options)
{
    const vqc_column columns[] = {
        {title, false, 16, 0}, {"bytes", true, 0, 0}, {"share", true, 0, 0}, {"items", true, 0, 1}};
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    size_t total = model->size.total_bytes;
    size_t sum = 0, items = 0, rest_bytes = 0, rest_items = 0, more_bytes = 0, more_items = 0;
    size_t shown = options->all || count <= SHORT_GROUPS + SHORT_SLACK ? count : SHORT_GROUPS;
    for (size_t i = 0; i < count; i++) {
        sum += groups[i].bytes;
        items += groups[i].rows;
        if (*groups[i].key == '\0') {
            rest_bytes += groups[i].bytes;
            rest_items += groups[i].rows;
        } else if (i < shown) {
            add_group(table, arena, VQC_STYLE_NONE, vqc_text_clean(arena, groups[i].key),
                      groups[i].bytes, total, groups[i].rows);
        } else {
            more_bytes += groups[i].bytes;
            more_items += groups[i].rows;
        }
    }
    if (more_items > 0)
        add_group(table, arena, VQC_STYLE_DIM, "others", more_bytes, total, more_items);
    if (sum < total)
        rest_bytes += total - sum;
    if (rest_bytes > 0)
        add_group(table, arena, VQC_STYLE_NONE, rest, rest_bytes, total, rest_items);
    vqc_table_add_line(table);
    add_group(table, arena, VQC_STYLE_BOLD, "total", total, total, items);
    fputc('\n', stream);
    vqc_table_print(table, stream, &options->term);
}

static const vqc_column plain_columns[] = {
    {"weight", false, 36, 0},    {"operator", false, 8, 3}, {"shape", false, 0, 2},
    {"stored as", false, 12, 0}, {"pattern", false, 0, 4},  {"bytes", true, 0, 0},
    {"share", true, 0, 1},       {"bits/w", true, 0, 0},    {"zeros", true, 0, 3},
};
static const vqc_column ref_columns[] = {
    {"weight", false, 36, 0},    {"operator", false, 8, 6}, {"shape", false, 0, 7},
    {"stored as", false, 12, 3}, {"before", true, 0, 4},    {"bytes", true, 0, 0},
    {"bits/w", true, 0, 2},      {"SQNR dB", true, 0, 0},   {"MSE", true, 0, 5},
    {"max error", true, 0, 0},   {"cosine", true, 0, 1},    {"zeros", true, 0, 2},
};
enum {
    PLAIN_COLUMNS = sizeof plain_columns / sizeof *plain_columns,
    REF_COLUMNS = sizeof ref_columns / sizeof *ref_columns
};

static const double NOTABLE_ZEROS = 0.1;

/* "int8 channel", or the data type of a weight that is stored plainly. */
static char *stored_as(vqc_arena *arena, const vqc_layer_report *layer)
{
    if (layer->status == VQC_LAYER_CODED && *layer->codec != '\0')
        return vqc_text_clean(arena, layer->codec);
    return vqc_text_clean(arena, layer->dtype);
}

/* The share of exact zeros where it is worth a word: every code of few bits has some. */
static const char *show_zeros(vqc_arena *arena, const vqc_layer_report *layer)
{
    double share = layer->elements == 0 ? 0.0 : (double)layer->zeros / (double)layer->elements;
    return share < NOTABLE_ZEROS ? "" : vqc_text_printf(arena, "%.1f%%", 100.0 * share);
}

static void add_plain(vqc_table *table, vqc_arena *arena, const vqc_inspection *model,
                      const vqc_layer_report *layer)
{
    const char *cells[PLAIN_COLUMNS] = {
        vqc_show_layer_name(arena, layer),
        vqc_text_clean(arena, layer->op),
        vqc_text_shape(arena, layer->dims, layer->rank),
        stored_as(arena, layer),
        vqc_text_clean(arena, layer->pattern),
        vqc_text_count(arena, layer->after_bytes),
        vqc_text_percent(arena, layer->after_bytes, model->size.total_bytes),
        vqc_text_bits(arena, layer->bits_per_weight),
        show_zeros(arena, layer),
    };
    vqc_table_add(table, VQC_STYLE_NONE, cells);
}

static void add_ref(vqc_table *table, vqc_arena *arena, const vqc_layer_report *layer)
{
    bool missing = layer->status == VQC_LAYER_MISSING;
    bool measured = layer->metrics.count > 0;
    const char *cells[REF_COLUMNS] = {
        vqc_show_layer_name(arena, layer),
        vqc_text_clean(arena, layer->op),
        vqc_text_shape(arena, layer->dims, layer->rank),
        missing ? "not found" : stored_as(arena, layer),
        layer->before_bytes > 0 ? vqc_text_count(arena, layer->before_bytes) : "-",
        missing ? "-" : vqc_text_count(arena, layer->after_bytes),
        missing ? "-" : vqc_text_bits(arena, layer->bits_per_weight),
        vqc_text_db(arena, measured ? layer->metrics.sqnr_db : NAN),
        vqc_text_real(arena, measured ? layer->metrics.mse : NAN),
        vqc_text_real(arena, measured ? layer->metrics.max_abs_error : NAN),
        measured && isfinite(layer->metrics.cosine)
            ? vqc_text_printf(arena, "%.6f", layer->metrics.cosine)
            : "-",
        show_zeros(arena, layer),
    };
    vqc_table_add(table, missing ? VQC_STYLE_BAD : VQC_STYLE_NONE, cells);
}

/* Rows under the layers: what is not shown, what is no layer, and the sum. */
static void add_sums(vqc_table *table, vqc_arena *arena, const vqc_inspection *model, size_t more,
                     size_t more_bytes, size_t layer_bytes)
{
    size_t total = model->size.total_bytes;
    enum { BYTES_COLUMN = 5 }; /* in both tables */
    const char *cells[REF_COLUMNS] = {NULL};
    if (more > 0) {
        cells[0] = vqc_text_printf(arena, "%zu more (--top 0 shows all)", more);
        cells[BYTES_COLUMN] = vqc_text_count(arena, more_bytes);
        vqc_table_add(table, VQC_STYLE_DIM, cells);
    }
    if (layer_bytes > total)
        return;
    cells[0] = "all that is no weight";
    cells[BYTES_COLUMN] = vqc_text_count(arena, total - layer_bytes);
    vqc_table_add(table, VQC_STYLE_DIM, cells);
    vqc_table_add_line(table);
    cells[0] = "total";
    cells[BYTES_COLUMN] = vqc_text_count(arena, total);
    vqc_table_add(table, VQC_STYLE_BOLD, cells);
}

/* How many of the layers to show. */
static size_t shown_layers(const vqc_inspection *model, const vqc_show_options *options)
{
    size_t count = model->layer_count;
    if (options->all)
        return count;
    if (options->top > 0)
        return options->top < count ? options->top : count;
    return count <= SHORT_TABLE + SHORT_SLACK ? count : SHORT_TABLE;
}

static void show_layers(FILE *stream, vqc_arena *arena, const vqc_inspection *model,
                        const vqc_show_options *options)
{
    bool has_ref = *model->ref_path != '\0';
    size_t shown = shown_layers(model, options);
    const vqc_layer_report **order =
        vqc_show_order(arena, model->layers, model->layer_count, options->sort, shown);
    vqc_table *table = has_ref ? vqc_table_create(arena, ref_columns, REF_COLUMNS)
                               : vqc_table_create(arena, plain_columns, PLAIN_COLUMNS);
    size_t bytes = 0, more_bytes = 0;
    for (size_t i = 0; i < model->layer_count; i++) {
        size_t layer_bytes = order[i]->status == VQC_LAYER_MISSING ? 0 : order[i]->after_bytes;
        bytes += layer_bytes;
        if (i >= shown)
            more_bytes += layer_bytes;
        else if (has_ref)
            add_ref(table, arena, order[i]);
        else
            add_plain(table, arena, model, order[i]);
    }
    add_sums(table, arena, model, model->layer_count - shown, more_bytes, bytes);
    fputc('\n', stream);
    vqc_table_print(table, stream, &options->term);
}

void vqc_show_inspection(FILE *stream, const vqc_inspection *model, const vqc_show_options *options)
{
    vqc_arena *arena = vqc_cli_arena();
    show_head(stream, arena, model, &options->term);
    show_groups(stream, arena, model, model->by_kind, model->kind_count, "by kind", "other",
                options);
    show_groups(stream, arena, model, model->by_op, model->op_count, "by operator", "no operator",
                options);
    show_groups(stream, arena, model, model->by_dtype, model->dtype_count, "by data type",
                "no tensor", options);
    if (model->layer_count > 0)
        show_layers(stream, arena, model, options);
    if (model->note_count > 0)
        fputs("\n  Notes\n", stream);
    for (size_t i = 0; i < model->note_count; i++)
        fprintf(stream, "    %s\n", vqc_text_clean(arena, model->notes[i]));
    vqc_arena_destroy(&arena);
}

/* A CSV field of cleaned text: in quotes where it has to be. */
static char *csv_field(vqc_arena *arena, const char *text)
{
    const char *clean = vqc_text_clean(arena, text);
    if (strpbrk(clean, ",\" ") == NULL)
        return vqc_text_printf(arena, "%s", clean);
    char *quoted = vqc_cli_check(vqc_arena_alloc(arena, 2 * strlen(clean) + 3));
    char *to = quoted;
    *to++ = '"';
    for (const char *from = clean; *from != '\0'; from++) {
        if (*from == '"')
            *to++ = '"';
        *to++ = *from;
    }
    *to++ = '"';
    *to = '\0';
    return quoted;
}

/* A measured number with all its digits; empty when there is none. */
static char *csv_real(vqc_arena *arena, bool present, double value)
{
    return present && !isnan(value) ? vqc_text_printf(arena, "%.9g", value)
                                    : vqc_text_printf(arena, "%s", "");
}

static void csv_layer(FILE *stream, vqc_arena *arena, const vqc_layer_report *layer)
{
    const vqc_metrics *metrics = &layer->metrics;
    bool missing = layer->status == VQC_LAYER_MISSING;
    bool measured = metrics->count > 0;
    fprintf(stream, "%s,%s,%s,%s,%s,%s,%s,%" PRIu64 ",%s,", missing ? "missing" : "weight",
            csv_field(arena, layer->name), csv_field(arena, layer->scope),
            csv_field(arena, layer->op), csv_field(arena, layer->dtype),
            csv_field(arena, stored_as(arena, layer)),
            vqc_text_shape(arena, layer->dims, layer->rank), layer->elements,
            csv_field(arena, layer->pattern));
    fprintf(stream, "%zu,%zu,%s,%s,%s,%s,%s\n", layer->before_bytes,
            missing ? 0 : layer->after_bytes, csv_real(arena, !missing, layer->bits_per_weight),
            csv_real(arena, measured, metrics->mse), csv_real(arena, measured, metrics->sqnr_db),
            csv_real(arena, measured, metrics->max_abs_error),
            csv_real(arena, measured, metrics->cosine));
}

void vqc_show_inspection_csv(FILE *stream, const vqc_inspection *model,
                             const vqc_show_options *options)
{
    vqc_arena *arena = vqc_cli_arena();
    size_t shown =
        options->top > 0 && options->top < model->layer_count ? options->top : model->layer_count;
    const vqc_layer_report **order =
        vqc_show_order(arena, model->layers, model->layer_count, options->sort, shown);
    fputs("kind,name,scope,operator,dtype,stored_as,shape,elements,pattern,"
          "before_bytes,bytes,bits_per_weight,mse,sqnr_db,max_abs_error,cosine\n",
          stream);
    size_t bytes = 0;
    for (size_t i = 0; i < shown; i++) {
        csv_layer(stream, arena, order[i]);
        if (order[i]->status != VQC_LAYER_MISSING)
            bytes += order[i]->after_bytes;
    }
    if (bytes <= model->size.total_bytes)
        fprintf(stream, "rest,,,,,,,,,,%zu,,,,,\n", model->size.total_bytes - bytes);
    vqc_arena_destroy(&arena);
}
