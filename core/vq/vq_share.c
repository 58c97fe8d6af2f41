#include "core/vq/vq_share.h"

#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/codec/int_fit.h"
#include "core/tensor.h"
#include "core/vq/vq_zero.h"

/* Sub-vectors of all layers of one name, one behind the other. */
typedef struct stack {
    vqc_plan_layer **items; /* [count] */
    size_t count;
    size_t vectors;
    float *points; /* [vectors, dim], 0 behind the end of a line */
    uint8_t *mask; /* [vectors, dim], 0 there */
} stack;

static bool is_shared(const vqc_plan_layer *item)
{
    return item->may_code && item->code == NULL && !item->is_static &&
           item->decision.codec == &vqc_codec_vq && item->decision.is_shared;
}

static bool agree(const vqc_vq_shape *a, const vqc_vq_shape *b)
{
    return a->dim == b->dim && a->codebook_size == b->codebook_size && a->stages == b->stages &&
           a->storage == b->storage;
}

/* The root of the mean square of every row, as float16 has it; 1 for rows of zeros. */
static void find_row_scales(const vqc_vq_shape *s, const float *matrix, float *scales)
{
    const vqc_kernels *k = vqc_kernels_get();

    for (size_t r = 0; r < s->rows; r++) {
        double power = 0.0;
        uint16_t half;
        for (size_t c = 0; c < s->cols; c++) {
            double w = (double)matrix[r * s->cols + c];
            power += w * w;
        }
        scales[r] = (float)sqrt(power / (double)s->cols);
        k->f32_f16_convert(&scales[r], 1, &half);
        k->f16_f32_convert(&half, 1, &scales[r]);
        if (!(scales[r] > 0.0f && isfinite(scales[r]))) {
            scales[r] = 1.0f;
        }
    }
}

/* Cuts the matrix of one layer into its sub-vectors. */
static void cut(const vqc_vq_code *vq, const float *matrix, float *points, uint8_t *mask)
{
    const vqc_vq_shape *s = &vq->shape;
    size_t blocks = vqc_vq_blocks(s);
    size_t length = s->down_rows ? s->rows : s->cols;

    for (size_t v = 0; v < vq->vectors; v++) {
        size_t line = v / blocks;
        for (size_t i = 0; i < s->dim; i++) {
            size_t at = v % blocks * s->dim + i;
            size_t row = s->down_rows ? at : line;
            size_t col = s->down_rows ? line : at;
            if (at < length) {
                float w = matrix[row * s->cols + col];
                points[v * s->dim + i] = vq->row_scales == NULL ? w : w / vq->row_scales[row];
                mask[v * s->dim + i] = s->is_masked && w == 0.0f ? 0 : 1;
            }
        }
    }
}

/* Reads one layer's weights and puts its sub-vectors at `at` of the stack. */
static vqc_status load_layer(const stack *all, vqc_plan_layer *item, size_t at, vqc_arena *arena,
                             vqc_error *error)
{
    const vqc_decision *d = &item->decision;
    vqc_arena *scratch = vqc_arena_create();
    float *matrix =
        scratch == NULL ? NULL : vqc_arena_calloc(scratch, item->layer->elements, sizeof *matrix);
    vqc_vq_code *vq = vqc_arena_calloc(arena, 1, sizeof *vq);
    vqc_code *code = vqc_arena_calloc(arena, 1, sizeof *code);
    const float *weights;
    size_t elements;
    vqc_status status = VQC_OK;

    if (matrix == NULL || vq == NULL || code == NULL) {
        vqc_arena_destroy(&scratch);
        return vqc_fail_memory(error, item->layer->elements * sizeof *matrix);
    }
    *vq = (vqc_vq_code){.shape = d->vq, .books = 1, .vectors = vqc_vq_vectors(&d->vq)};
    *code = (vqc_code){.decision = d, .elements = item->layer->elements, .vq = vq};
    status = vqc_tensor_borrow_f32(item->layer->tensor, scratch, &weights, &elements, error);
    if (status == VQC_OK) {
        status = vqc_int_check_finite(weights, elements, error);
    }
    if (status == VQC_OK) {
        vqc_vq_layout_take(&d->vq_layout, item->layer, weights, matrix);
        if (d->vq.row_scales) {
            vq->row_scales = vqc_arena_calloc(arena, d->vq.rows, sizeof *vq->row_scales);
            if (vq->row_scales == NULL) {
                status = vqc_fail_memory(error, d->vq.rows * sizeof *vq->row_scales);
            } else {
                find_row_scales(&d->vq, matrix, vq->row_scales);
            }
        }
        if (status == VQC_OK && d->vq.is_masked) {
            vq->mask = vqc_vq_mask_of(matrix, elements, arena);
            status = vq->mask == NULL ? vqc_fail_memory(error, elements) : VQC_OK;
        }
    }
    if (status == VQC_OK) {
        cut(vq, matrix, all->points + at * d->vq.dim, all->mask + at * d->vq.dim);
        item->code = code;
    }
    vqc_arena_destroy(&scratch);
    return status;
}

/* Gives the layer its part of the indices, and measures. */
static vqc_status unload_layer(vqc_plan_layer *item, const vqc_vq_code *whole, size_t at,
                               vqc_arena *arena, vqc_error *error)
{
    vqc_vq_code *vq = item->code->vq;
    vqc_arena *scratch = vqc_arena_create();
    const float *weights;
    size_t elements;
    vqc_status status;

    vq->codebooks = whole->codebooks;
    vq->codebooks_f16 = whole->codebooks_f16;
    vq->codebooks_int8 = whole->codebooks_int8;
    vq->book_scales = whole->book_scales;
    vq->indices = vqc_arena_calloc(arena, vq->shape.stages * vq->vectors, sizeof *vq->indices);
    if (vq->indices == NULL || scratch == NULL) {
        vqc_arena_destroy(&scratch);
        return vqc_fail_memory(error, vq->vectors * sizeof *vq->indices);
    }
    for (size_t t = 0; t < vq->shape.stages; t++) {
        memcpy(vq->indices + t * vq->vectors, whole->indices + t * whole->vectors + at,
               vq->vectors * sizeof *vq->indices);
    }
    status = vqc_tensor_borrow_f32(item->layer->tensor, scratch, &weights, &elements, error);
    if (status == VQC_OK) {
        status = vqc_code_measure(item->code, weights, scratch, error);
    }
    vqc_arena_destroy(&scratch);
    return status;
}

/* Trains over the stack, whose layers are loaded. */
static vqc_status train(const stack *all, const vqc_decision *d, vqc_arena *arena,
                        vqc_vq_code *whole, vqc_error *error)
{
    vqc_vq_effort effort = d->vq_effort;
    vqc_vq_shape shape = d->vq;

    shape.rows = all->vectors;
    shape.cols = shape.dim;
    shape.down_rows = false;
    shape.row_scales = false;
    shape.is_masked = false; /* each layer has its own mask */
#ifdef _OPENMP
    effort.threads = omp_get_max_threads();
#endif
    return vqc_vq_fit(&shape, all->points, NULL, 1, all->mask, &effort, arena, whole, NULL, error);
}

static vqc_status code_stack(stack *all, vqc_arena *arena, vqc_error *error)
{
    const vqc_decision *d = &all->items[0]->decision;
    vqc_arena *scratch = vqc_arena_create();
    vqc_vq_code whole;
    size_t at = 0;
    size_t entries;
    vqc_status status = VQC_OK;

    if (scratch == NULL || !vqc_size_mul(all->vectors, d->vq.dim, &entries)) {
        vqc_arena_destroy(&scratch);
        return vqc_fail_memory(error, all->vectors);
    }
    all->points = vqc_arena_calloc(scratch, entries, sizeof *all->points);
    all->mask = vqc_arena_calloc(scratch, entries, sizeof *all->mask);
    if (all->points == NULL || all->mask == NULL) {
        status = vqc_fail_memory(error, entries * sizeof *all->points);
    }
    for (size_t i = 0; i < all->count && status == VQC_OK; i++) {
        size_t vectors = vqc_vq_vectors(&all->items[i]->decision.vq);
        status = load_layer(all, all->items[i], at, arena, error);
        if (status == VQC_ERR_MODEL) { /* NaN, infinite: this one is not coded */
            all->items[i]->may_code = false;
            all->items[i]->reason = "has NaN or infinite weights";
            status = VQC_OK;
        }
        at += vectors;
    }
    if (status == VQC_OK) {
        status = train(all, d, arena, &whole, error);
    }
    at = 0;
    for (size_t i = 0; i < all->count && status == VQC_OK; i++) {
        if (all->items[i]->code != NULL) {
            status = unload_layer(all->items[i], &whole, at, arena, error);
        }
        at += vqc_vq_vectors(&all->items[i]->decision.vq);
    }
    vqc_arena_destroy(&scratch);
    return status;
}

vqc_status vqc_vq_share(vqc_plan *plan, const char *recipe_path, vqc_arena *arena, vqc_error *error)
{
    stack all = {.items = vqc_arena_calloc(arena, plan->count + 1, sizeof(vqc_plan_layer *))};
    vqc_status status = VQC_OK;

    if (all.items == NULL) {
        return vqc_fail_memory(error, plan->count * sizeof *all.items);
    }
    for (size_t i = 0; i < plan->count && status == VQC_OK; i++) {
        const vqc_plan_layer *first = &plan->layers[i];
        all.count = all.vectors = 0;
        for (size_t k = i; k < plan->count && is_shared(first) && status == VQC_OK; k++) {
            vqc_plan_layer *item = &plan->layers[k];
            if (!is_shared(item) ||
                strcmp(item->spec.shared_codebook, first->spec.shared_codebook) != 0) {
                continue;
            }
            if (!agree(&item->decision.vq, &first->decision.vq)) {
                status = vqc_fail(
                    error, VQC_ERR_USAGE,
                    "%s: shared_codebook: %s: \"%s\" has %zu codewords of %zu weights, \"%s\" %zu "
                    "of %zu: set dim, codebook_size, stages and codebook_type alike",
                    recipe_path, first->spec.shared_codebook, first->layer->value->name,
                    first->decision.vq.codebook_size, first->decision.vq.dim,
                    item->layer->value->name, item->decision.vq.codebook_size,
                    item->decision.vq.dim);
            }
            all.items[all.count++] = item;
            all.vectors += vqc_vq_vectors(&item->decision.vq);
        }
        if (status == VQC_OK && all.count > 1) {
            status = code_stack(&all, arena, error);
        }
    }
    return status;
}
