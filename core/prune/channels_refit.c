#include "core/prune/channels_refit.h"

#include <stdlib.h>
#include <string.h>

#include "core/exec/gemm.h"
#include "core/layer.h"
#include "core/tensor.h"
#include "core/vq/bias_site.h"
#include "core/vq/cholesky.h"
#include "core/vq/sequence.h"
#include "core/vq/vq_layout.h"

/* Ridge in means of the variances: a floor, and what few samples for many inputs need. */
#define FIT_DAMPING 1e-3
#define FIT_DAMPING_PER_RATIO 0.1

typedef struct fitting {
    vqc_trace *trace;
    vqc_graph *graph;
    const bool *removed;
    int threads;
    vqc_arena *arena; /* of the result */
    const vqc_layer **layers;
    size_t layer_count;
    vqc_sequence *sequence;
    vqc_channels_fit *out;
    vqc_error *error;
} fitting;

/* One layer as a matrix [rows, cols] with columns in the order of vqc_moments. */
typedef struct matrix {
    size_t rows, cols, groups;
    size_t kernel; /* columns per input channel */
    vqc_vq_layout layout;
    float *w;        /* [rows, cols] */
    bool *gone;      /* [cols] */
    size_t kept;     /* columns */
    size_t *kept_at; /* [kept] */
} matrix;

static const vqc_trace_labels *axis_labels(const fitting *f, const vqc_layer *layer, int axis)
{
    return f->trace->values[vqc_trace_index(f->trace, layer->value)].labels[axis];
}

static bool is_gone(const fitting *f, const vqc_trace_labels *labels, size_t i)
{
    return labels != NULL && f->removed[vqc_trace_find(f->trace, labels->atoms[i])];
}

/* Convolutions and products with matrices: what can be fitted. */
static bool is_linear(const fitting *f, const vqc_layer *layer)
{
    size_t index = vqc_trace_index(f->trace, layer->value);

    return index != SIZE_MAX && f->trace->values[index].is_constant && layer->direct &&
           layer->role == VQC_ROLE_WEIGHT && layer->dtype == VQC_DTYPE_FLOAT && layer->rank >= 2 &&
           layer->elements > 0 &&
           (vqc_node_is(layer->node, "Conv") ||
            (layer->rank == 2 &&
             (vqc_node_is(layer->node, "Gemm") || vqc_node_is(layer->node, "MatMul")) &&
             layer->input == 1));
}

static vqc_status take_matrix(const fitting *f, const vqc_layer *layer, vqc_arena *arena, matrix *m)
{
    const float *source;
    size_t elements;
    const vqc_trace_labels *labels;
    vqc_status status = vqc_tensor_borrow_f32(layer->tensor, arena, &source, &elements, f->error);

    if (status != VQC_OK) {
        return status;
    }
    *m = (matrix){.kernel = 1};
    vqc_vq_layout_make(layer, VQC_VQ_ALONG_KERNEL, &m->layout);
    m->rows = m->layout.rows;
    m->cols = m->layout.cols;
    m->groups = m->layout.groups;
    if (vqc_node_is(layer->node, "Conv")) {
        m->kernel = m->cols / (size_t)layer->dims[1];
    }
    m->w = vqc_arena_alloc(arena, elements * sizeof *m->w);
    m->gone = vqc_arena_calloc(arena, m->cols, sizeof *m->gone);
    m->kept_at = vqc_arena_calloc(arena, m->cols, sizeof *m->kept_at);
    if (m->w == NULL || m->gone == NULL || m->kept_at == NULL) {
        return vqc_fail_memory(f->error, elements * sizeof *m->w);
    }
    vqc_vq_layout_take(&m->layout, layer, source, m->w);
    labels = axis_labels(f, layer, (int)m->layout.axes[m->layout.row_axes]);
    for (size_t c = 0; c < m->cols; c++) {
        m->gone[c] = is_gone(f, labels, c / m->kernel);
        if (!m->gone[c]) {
            m->kept_at[m->kept++] = c;
        }
    }
    return VQC_OK;
}

/* Y [rows, k] = A [rows, n] B [n, k], all dense. */
static vqc_status multiply(const fitting *f, const float *a, const float *b, float *y, size_t rows,
                           size_t n, size_t k)
{
    vqc_gemm g = {.m = rows,
                  .n = k,
                  .k = n,
                  .c_stride = k,
                  .threads = f->threads,
                  .left = vqc_gemm_left_rows(rows, n),
                  .right = vqc_gemm_right_rows(k)};
    vqc_gemm_item item = {.a = a, .b = b, .c = y};
    float *scratch;

    g.items = &item;
    g.item_count = 1;
    scratch = malloc(vqc_gemm_scratch_bytes(&g) + 64);
    if (scratch == NULL) {
        return vqc_fail_memory(f->error, vqc_gemm_scratch_bytes(&g));
    }
    vqc_gemm_run(&g, scratch);
    free(scratch);
    return VQC_OK;
}

/* The weights of one group; w: [rows, cols] of the original, out: [rows, cols] with zeros where
 * columns are gone, the rest as it was. */
static vqc_status fit_group(const fitting *f, const vqc_moments *moments, size_t group,
                            const matrix *m, size_t rows, const float *w, float *out,
                            vqc_arena *arena)
{
    size_t n = m->cols;
    size_t k = m->kept;
    const float *second = moments->second + group * n * n;
    const float *cross = moments->cross == NULL ? NULL : moments->cross + group * n * n;
    float *target = vqc_arena_alloc(arena, n * k * sizeof *target + 1);
    float *factor = vqc_arena_alloc(arena, k * k * sizeof *factor + 1);
    float *delta = vqc_arena_alloc(arena, rows * k * sizeof *delta + 1);
    double damping = FIT_DAMPING + FIT_DAMPING_PER_RATIO * (double)k / (double)moments->count;
    vqc_status status;

    if (target == NULL || factor == NULL || delta == NULL) {
        return vqc_fail_memory(f->error, n * k * sizeof *target);
    }
    /* W Cov(x, y_k) - W_k Cov(y_k, y_k) = W times (cross + second of the rows that are gone) */
    for (size_t c = 0; c < n; c++) {
        for (size_t j = 0; j < k; j++) {
            size_t at = c * n + m->kept_at[j];
            target[c * k + j] =
                (m->gone[c] ? second[at] : 0.0f) + (cross != NULL ? cross[at] : 0.0f);
        }
    }
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < k; j++) {
            factor[i * k + j] = second[m->kept_at[i] * n + m->kept_at[j]];
        }
    }
    status = multiply(f, w, target, delta, rows, n, k);
    if (status == VQC_OK) {
        status = vqc_cholesky_upper(factor, k, damping, f->threads, factor, NULL, f->error);
    }
    if (status == VQC_OK) {
        status = vqc_cholesky_solve(factor, k, delta, rows, f->threads, f->error);
    }
    for (size_t r = 0; r < rows && status == VQC_OK; r++) {
        for (size_t j = 0; j < k; j++) {
            out[r * n + m->kept_at[j]] += delta[r * k + j];
        }
    }
    return status;
}

/* Keeps the new bias of the outputs that stay; *full gets that of all, for the walk. */
static vqc_status keep_bias(fitting *f, const vqc_layer *layer, const matrix *m, const double *gain,
                            vqc_arena *arena, float **full)
{
    const vqc_trace_labels *labels = axis_labels(f, layer, (int)m->layout.axes[0]);
    vqc_channels_bias *bias = &f->out->biases[f->out->bias_count];
    const float *old = NULL;
    size_t count = 0;
    vqc_bias_site site;
    vqc_status status = VQC_OK;

    *full = NULL;
    if (!vqc_bias_site_find(f->graph, layer, &site) &&
        (!site.can_add || (site.node->n_input > 2 && site.node->input[2][0] != '\0'))) {
        return VQC_OK; /* none can be, or another layer has the same one */
    }
    if (site.tensor != NULL) {
        status = vqc_tensor_borrow_f32(site.tensor, arena, &old, &count, f->error);
    }
    if (status != VQC_OK || site.channels != m->rows || (old != NULL && count != m->rows)) {
        return status;
    }
    *full = vqc_arena_calloc(arena, m->rows, sizeof **full);
    bias->values = vqc_arena_calloc(f->arena, m->rows, sizeof *bias->values);
    if (*full == NULL || bias->values == NULL) {
        return vqc_fail_memory(f->error, m->rows * sizeof **full);
    }
    bias->value = vqc_trace_index(f->trace, layer->value);
    bias->count = 0;
    for (size_t r = 0; r < m->rows; r++) {
        float b = 0.0f;
        if (old != NULL) {
            memcpy(&b, (const char *)old + r * sizeof b, sizeof b);
        }
        (*full)[r] = (float)((double)b + site.ratio * gain[r]);
        if (!is_gone(f, labels, r)) {
            bias->values[bias->count++] = (*full)[r];
        }
    }
    f->out->bias_count++;
    return VQC_OK;
}

static vqc_status fit_layer(fitting *f, const vqc_sequence_item *item)
{
    const vqc_layer *layer = f->layers[item->layer];
    const vqc_moments *moments = item->moments;
    vqc_channels_refit *refit = &f->out->weights[f->out->weight_count];
    vqc_arena *arena = vqc_arena_create();
    matrix m = {0};
    float *fitted = NULL;
    float *stored = NULL;
    float *bias = NULL;
    double *gain;
    vqc_status status =
        arena == NULL ? vqc_fail_memory(f->error, 0) : take_matrix(f, layer, arena, &m);

    if (status != VQC_OK || (m.kept == m.cols && (moments == NULL || moments->cross == NULL))) {
        vqc_arena_destroy(&arena); /* sees what it saw */
        return status;
    }
    fitted = vqc_arena_calloc(arena, m.rows * m.cols, sizeof *fitted);
    stored = vqc_arena_calloc(f->arena, m.rows * m.cols, sizeof *stored);
    gain = vqc_arena_calloc(arena, m.rows, sizeof *gain);
    if (fitted == NULL || stored == NULL || gain == NULL) {
        vqc_arena_destroy(&arena);
        return vqc_fail_memory(f->error, m.rows * m.cols * sizeof *fitted);
    }
    for (size_t i = 0; i < m.rows * m.cols; i++) {
        fitted[i] = m.gone[i % m.cols] ? 0.0f : m.w[i];
    }
    if (moments != NULL && moments->second != NULL && moments->count > 0 &&
        moments->groups == m.groups && moments->cols == m.cols) {
        size_t each = m.rows / m.groups;
        for (size_t g = 0; g < m.groups && status == VQC_OK; g++) {
            status = fit_group(f, moments, g, &m, each, m.w + g * each * m.cols,
                               fitted + g * each * m.cols, arena);
        }
    }
    if (status == VQC_ERR_MODEL) { /* moments that are of no use: means are */
        status = VQC_OK;
    }
    if (status == VQC_OK && moments != NULL && moments->count > 0 && moments->groups == m.groups &&
        moments->cols == m.cols) {
        vqc_moments_gain(moments, m.w, fitted, m.rows, gain);
        status = keep_bias(f, layer, &m, gain, arena, &bias);
    }
    vqc_vq_layout_put(&m.layout, layer, fitted, stored);
    if (status == VQC_OK) {
        *refit = (vqc_channels_refit){.value = vqc_trace_index(f->trace, layer->value),
                                      .weights = stored};
        f->out->weight_count++;
        status = vqc_sequence_commit(f->sequence, item->layer, stored, bias, f->error);
    }
    vqc_arena_destroy(&arena);
    return status;
}

static vqc_status walk(fitting *f, vqc_samples *samples, size_t max_samples)
{
    vqc_sequence_options options = {.max_samples = max_samples, .threads = f->threads};
    vqc_sequence_batch batch;
    vqc_status status = vqc_sequence_create(f->graph, f->layers, f->layer_count, samples, &options,
                                            &f->sequence, f->error);

    while (status == VQC_OK) {
        status = vqc_sequence_next(f->sequence, &batch, f->error);
        if (status != VQC_OK || batch.count == 0) {
            break;
        }
        for (size_t i = 0; i < batch.count && status == VQC_OK; i++) {
            status = fit_layer(f, &batch.items[i]);
        }
    }
    vqc_sequence_destroy(&f->sequence);
    return status;
}

vqc_status vqc_channels_fit_create(vqc_trace *trace, vqc_graph *graph, const bool *removed,
                                   vqc_samples *samples, size_t max_samples, int threads,
                                   vqc_arena *arena, vqc_channels_fit *out, vqc_error *error)
{
    fitting f = {.trace = trace,
                 .graph = graph,
                 .removed = removed,
                 .threads = threads > 0 ? threads : 1,
                 .arena = arena,
                 .out = out,
                 .error = error};
    vqc_layer *layers;
    size_t count;
    vqc_status status = vqc_layers_find(graph, arena, &layers, &count, error);

    memset(out, 0, sizeof *out);
    if (status != VQC_OK) {
        return status;
    }
    f.layers = vqc_arena_calloc(arena, count + 1, sizeof *f.layers);
    out->weights = vqc_arena_calloc(arena, count + 1, sizeof *out->weights);
    out->biases = vqc_arena_calloc(arena, count + 1, sizeof *out->biases);
    if (f.layers == NULL || out->weights == NULL || out->biases == NULL) {
        return vqc_fail_memory(error, count * sizeof *out->biases);
    }
    for (size_t i = 0; i < count; i++) {
        if (layers[i].scope == graph->scopes[0] && is_linear(&f, &layers[i])) {
            f.layers[f.layer_count++] = &layers[i];
        }
    }
    return f.layer_count == 0 ? VQC_OK : walk(&f, samples, max_samples);
}

/* ---- biases ---- */

static vqc_status set_bias(vqc_graph *graph, const vqc_layer *layer, const vqc_channels_bias *bias,
                           vqc_error *error)
{
    Onnx__GraphProto *proto = graph->model->proto->graph;
    vqc_arena *arena = graph->model->arena;
    vqc_bias_site site;

    if (!vqc_bias_site_find(graph, layer, &site)) {
        return site.can_add && site.channels == bias->count
                   ? vqc_bias_site_add(graph, layer, bias->values, &site, error)
                   : VQC_OK;
    }
    for (size_t i = 0; i < proto->n_initializer; i++) {
        if (proto->initializer[i] == site.tensor) {
            size_t bytes = bias->count * sizeof *bias->values;
            float *raw = vqc_arena_alloc(arena, bytes + 1);
            if (raw == NULL) {
                return vqc_fail_memory(error, bytes);
            }
            memcpy(raw, bias->values, bytes);
            proto->initializer[i] =
                vqc_tensor_create(arena, site.tensor->name, VQC_DTYPE_FLOAT, site.tensor->dims,
                                  site.tensor->n_dims, raw, bytes);
            return proto->initializer[i] == NULL ? vqc_fail_memory(error, bytes) : VQC_OK;
        }
    }
    return VQC_OK;
}

vqc_status vqc_channels_set_biases(const vqc_trace *trace, const vqc_channels_fit *fit,
                                   vqc_model *copy, vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t b = 0; b < fit->bias_count && status == VQC_OK; b++) {
        const char *name = trace->values[fit->biases[b].value].value->name;
        vqc_arena *scratch = vqc_arena_create();
        vqc_graph *graph = NULL;
        vqc_layer *layers = NULL;
        size_t count = 0;

        status = scratch == NULL ? vqc_fail_memory(error, 0) : VQC_OK;
        if (status == VQC_OK) { /* made anew: the one before may have added a node */
            status = vqc_graph_create(copy, &graph, error);
        }
        if (status == VQC_OK) {
            status = vqc_layers_find(graph, scratch, &layers, &count, error);
        }
        for (size_t i = 0; i < count && status == VQC_OK; i++) {
            if (layers[i].scope == graph->scopes[0] && strcmp(layers[i].value->name, name) == 0) {
                status = set_bias(graph, &layers[i], &fit->biases[b], error);
                break;
            }
        }
        vqc_graph_destroy(&graph);
        vqc_arena_destroy(&scratch);
    }
    return status;
}
