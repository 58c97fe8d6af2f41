#include <float.h>
#include <string.h>

#include "core/codec/sparse_choose.h"
#include "core/codec/vq_form.h"
#include "core/tensor.h"
#include "core/vq/calibrated_internal.h"
#include "core/vq/moments.h"
#include "core/vq/sequence.h"
#include "core/vq/vq_fit.h"
#include "core/vq/vq_zero.h"

/* See shrink_moments. */
static const double SHRINKAGE = 0.2;
static const double MOST_SHRINKAGE = 0.9;
static const double LEAST_SHRINKAGE = 0.001;

enum {
    MAX_SAMPLES = 1024,      /* unless the recipe says otherwise; the memory limit comes first */
    PROBE_VECTORS = 4096,    /* that a layer is probed with */
    PROBE_KMEANS_PASSES = 10 /* over its sub-vectors */
};

/* One layer in work. */
typedef struct fitting {
    const vqc_layer *layer;
    const vqc_vq_layout *layout;
    vqc_moments moments; /* in the order of the layout's columns */
    float *matrix;       /* [rows, cols] the original weights */
    float *target;       /* [rows, cols] what is to be coded */
    float *decoded;      /* [rows, cols] */
    double loss;         /* tr(E H E^T), when probing */
    vqc_arena *scratch;
} fitting;

/* ---- one layer ---- */

static vqc_status fit_codebook(vqc_parts *r, const vqc_part *p, fitting *f, vqc_code *out)
{
    const vqc_decision *d = &p->item->decision;
    vqc_vq_effort effort = d->vq_effort;
    vqc_status status;

    effort.threads = r->threads;
    if (r->probing) {
        effort.sweeps = 0;
        effort.kmeans_iterations = effort.kmeans_iterations < PROBE_KMEANS_PASSES
                                       ? effort.kmeans_iterations
                                       : PROBE_KMEANS_PASSES;
    }
    out->decision = d;
    out->elements = p->item->layer->elements;
    out->vq = vqc_arena_calloc(r->codes, 1, sizeof *out->vq);
    if (out->vq == NULL) {
        return vqc_fail_memory(r->error, sizeof *out->vq);
    }
    status = vqc_vq_fit_zeros(&d->vq, f->target, f->moments.second, f->moments.groups, &effort,
                              r->codes, out->vq, r->probing ? &f->loss : NULL, r->error);
    return status == VQC_OK ? vqc_vq_set_scales(out, r->codes, r->error) : status;
}

/* What the layer's codec makes of f->target, decoded into f->decoded; the code is left in *out. */
static vqc_status code_target(vqc_parts *r, const vqc_part *p, fitting *f, vqc_code *out)
{
    const vqc_decision *d = &p->item->decision;
    size_t elements = p->item->layer->elements;
    float *tensor = vqc_arena_calloc(f->scratch, elements, sizeof *tensor);
    vqc_status status;

    memset(out, 0, sizeof *out);
    if (tensor == NULL) {
        return vqc_fail_memory(r->error, elements * sizeof *tensor);
    }
    if (d->codec == &vqc_codec_vq) {
        status = fit_codebook(r, p, f, out);
    } else {
        vqc_vq_layout_put(f->layout, f->layer, f->target, tensor);
        status = d->codec->fit(d, tensor, r->codes, r->codes, out, r->error);
    }
    if (status == VQC_OK) {
        status = d->codec->decode(out, f->scratch, tensor, r->error);
    }
    if (status == VQC_OK) {
        vqc_vq_layout_take(f->layout, f->layer, tensor, f->decoded);
    }
    return status;
}

/* The bias that keeps the mean of every output: b + W E[x] - W' E[y]. */
static vqc_status correct_bias(vqc_parts *r, vqc_part *p, const fitting *f)
{
    size_t rows = f->layout->rows;
    double *gain = vqc_arena_calloc(f->scratch, rows, sizeof *gain);

    if (gain == NULL) {
        return vqc_fail_memory(r->error, rows * sizeof *gain);
    }
    vqc_moments_gain(&f->moments, f->matrix, f->decoded, rows, gain);
    return vqc_bias_site_values(&p->bias, gain, rows, r->codes, &p->bias_values, r->error);
}

/* By SHRINKAGE * inputs / vectors; the factor is the best of five on fully connected layers seen 96
 * times (17.0 -> 20.8 dB at 2 bits). */
static vqc_status shrink_moments(fitting *f, vqc_error *error)
{
    double share = SHRINKAGE * (double)f->moments.cols / (double)(f->moments.count + 1);

    return share < LEAST_SHRINKAGE
               ? VQC_OK
               : vqc_moments_shrink(
                     &f->moments, (float)(1.0 - (share < MOST_SHRINKAGE ? share : MOST_SHRINKAGE)),
                     f->scratch, error);
}

/* What the recipe lets the fit know of the second moment. */
static vqc_status limit_moments(const vqc_parts *r, fitting *f)
{
    vqc_vq_feedback feedback = r->job->recipe->vq.error_feedback;
    size_t n = f->moments.cols;
    float *diagonal;

    if (f->moments.second == NULL || feedback == VQC_VQ_FEEDBACK_OFF) {
        f->moments.second = NULL;
        return VQC_OK;
    }
    if (feedback != VQC_VQ_FEEDBACK_DIAGONAL) {
        return VQC_OK;
    }
    diagonal = vqc_arena_calloc(f->scratch, f->moments.groups * n * n, sizeof *diagonal);
    if (diagonal == NULL) {
        return vqc_fail_memory(r->error, n * n);
    }
    for (size_t i = 0; i < f->moments.groups * n; i++) {
        diagonal[i * n + i % n] = f->moments.second[i * n + i % n];
    }
    f->moments.second = diagonal;
    return VQC_OK;
}

/* Codes one layer for its moments; VQC_ERR_MODEL when its values cannot be coded. */
static vqc_status fit_part(vqc_parts *r, vqc_part *p, const vqc_moments *moments, fitting *f,
                           vqc_code *code)
{
    size_t size;
    vqc_status status;

    if (!vqc_size_mul(f->layout->rows, f->layout->cols, &size) ||
        (f->matrix = vqc_arena_calloc(f->scratch, size, sizeof(float))) == NULL ||
        (f->target = vqc_arena_calloc(f->scratch, size, sizeof(float))) == NULL ||
        (f->decoded = vqc_arena_calloc(f->scratch, size, sizeof(float))) == NULL) {
        return vqc_fail_memory(r->error, f->layer->elements);
    }
    vqc_vq_layout_take(f->layout, f->layer, p->weights, f->matrix);
    memcpy(f->target, f->matrix, size * sizeof(float));
    status = vqc_moments_order(moments, f->layout, f->layer, f->scratch, &f->moments, r->error);
    if (status == VQC_OK) {
        status = shrink_moments(f, r->error);
    }
    if (status == VQC_OK && f->moments.second != NULL && f->moments.cross != NULL) {
        status = vqc_vq_adjust(f->matrix, f->layout->rows, f->layout->cols, f->moments.groups,
                               f->moments.second, f->moments.cross, r->job->recipe->vq.damping,
                               r->threads, f->target, r->error);
    }
    if (status == VQC_OK && (p->item->mask != NULL || p->item->decision.vq.is_masked)) {
        for (size_t i = 0; i < size; i++) { /* adjusting must not bring pruned weights back */
            f->target[i] = f->matrix[i] == 0.0f ? 0.0f : f->target[i];
        }
    }
    if (status == VQC_OK && vqc_vq_is_packed(&p->item->decision.vq)) {
        for (size_t i = 0; i < size; i++) { /* as many as there are */
            f->target[i] = f->matrix[i] == 0.0f   ? 0.0f
                           : f->target[i] == 0.0f ? FLT_MIN
                                                  : f->target[i];
        }
    }
    if (status == VQC_OK) {
        status = limit_moments(r, f);
    }
    if (status == VQC_OK) {
        status = code_target(r, p, f, code);
    }
    return status == VQC_OK ? correct_bias(r, p, f) : status;
}

/* Codes the layer by one trial's settings, and weighs the code. */
static vqc_status try_one(vqc_parts *r, const vqc_part *p, const vqc_moments *moments,
                          vqc_trial *trial)
{
    vqc_plan_layer item = *p->item;
    vqc_part part = *p;
    vqc_arena *codes = r->codes;
    fitting f = {.layer = item.layer, .layout = &part.layout, .scratch = vqc_arena_create()};
    vqc_code code;
    vqc_sparse sparse;
    vqc_sparse_cost cost = {0};
    float *decoded = NULL;
    vqc_status status = f.scratch == NULL ? vqc_fail_memory(r->error, 0) : VQC_OK;

    part.item = &item;
    r->codes = f.scratch;
    if (status == VQC_OK) {
        decoded = vqc_arena_calloc(f.scratch, item.layer->elements, sizeof *decoded);
        status = decoded == NULL ? vqc_fail_memory(r->error, item.layer->elements)
                                 : vqc_part_resize(r, &part, trial->dim, trial->codebook_size,
                                                   trial->kept_share);
    }
    if (status == VQC_OK) {
        status = fit_part(r, &part, moments, &f, &code);
    }
    if (status == VQC_OK) {
        vqc_vq_layout_put(f.layout, f.layer, f.decoded, decoded);
        trial->loss = f.loss;
        status = vqc_sparse_choose(r->job->graph, &item.decision,
                                   vqc_vq_is_packed(&item.decision.vq) ? p->weights : decoded,
                                   &sparse, &cost, r->error);
        trial->size_bytes = cost.bytes;
    }
    r->codes = codes;
    vqc_arena_destroy(&f.scratch);
    return status;
}

static vqc_status code_part(vqc_parts *r, vqc_sequence *sequence, const vqc_sequence_item *turn)
{
    vqc_part *p = &r->parts[turn->layer];
    fitting f = {.layer = p->item->layer, .layout = &p->layout, .scratch = vqc_arena_create()};
    vqc_code *code = vqc_arena_calloc(r->codes, 1, sizeof *code);
    bool follows = !r->probing && r->job->recipe->vq.sequential != VQC_SWITCH_OFF;
    vqc_status status;

    if (f.scratch == NULL || code == NULL) {
        status = vqc_fail_memory(r->error, sizeof *code);
        goto done;
    }
    status = fit_part(r, p, turn->moments, &f, code);
    if (status == VQC_ERR_MODEL) { /* coding it by itself will say why it stays */
        status = VQC_OK;
        goto done;
    }
    if (status == VQC_OK) {
        p->decoded = vqc_arena_calloc(r->codes, f.layer->elements, sizeof *p->decoded);
        status = p->decoded == NULL ? vqc_fail_memory(r->error, f.layer->elements)
                                    : vqc_code_measure(code, p->weights, f.scratch, r->error);
    }
    if (status == VQC_OK) {
        vqc_vq_layout_put(f.layout, f.layer, f.decoded, p->decoded);
        p->item->code = code;
        p->loss = f.loss;
        r->coded++;
    }
    for (size_t i = 0; r->probing && i < p->trial_count && status == VQC_OK; i++) {
        status = p->trials[i].is_tried ? try_one(r, p, turn->moments, &p->trials[i]) : VQC_OK;
    }
    if (status == VQC_OK && follows) {
        status = vqc_sequence_commit(sequence, turn->layer, p->decoded, p->bias_values, r->error);
    }
done:
    vqc_arena_destroy(&f.scratch);
    return status;
}

vqc_status vqc_parts_walk(vqc_parts *r)
{
    vqc_calibrated_job *job = r->job;
    vqc_sequence_options options = {
        .max_samples = job->recipe->vq.samples > 0 ? (size_t)job->recipe->vq.samples : MAX_SAMPLES,
        .max_vectors = r->probing ? PROBE_VECTORS : 0,
        .threads = job->threads,
    };
    vqc_sequence *sequence = NULL;
    vqc_sequence_batch batch;
    size_t done = 0;
    vqc_status status = vqc_sequence_create(job->graph, r->layers, r->count, r->seen, &options,
                                            &sequence, r->error);

    r->coded = 0;
    for (size_t i = 0; i < r->count; i++) {
        r->parts[i].item->code = NULL;
        r->parts[i].decoded = r->parts[i].bias_values = NULL;
    }
    for (bool more = true; status == VQC_OK && more;) {
        status = vqc_sequence_next(sequence, &batch, r->error);
        more = status == VQC_OK && batch.count > 0;
        for (size_t i = 0; status == VQC_OK && i < batch.count; i++) {
            if (batch.items[i].moments != NULL) {
                status = code_part(r, sequence, &batch.items[i]);
            }
            if (job->progress != NULL) {
                job->progress(job->progress_context, r->probing ? "probe" : "fit", ++done,
                              r->count);
            }
        }
    }
    r->samples = sequence == NULL ? 0 : vqc_sequence_samples(sequence);
    vqc_sequence_destroy(&sequence);
    return status;
}
