#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec/codec.h"
#include "core/vq/allocate.h"
#include "core/vq/calibrated_internal.h"

enum {
    MIN_VECTORS = 8,  /* sub-vectors per codeword, to be trained */
    NODE_BYTES = 450, /* nodes, names and shapes of a codebook pattern, about */
    INT8_NODE_BYTES = 200
};

/* Length of sub-vectors and number of codewords; 0 codewords: int8 with a scale per channel. */
typedef struct code_size {
    int dim;
    int codebook_size;
} code_size;

/* What layers may get. */
static const code_size SIZES[] = {{8, 16},   {8, 32},   {8, 64},   {8, 128},  {8, 256}, {4, 16},
                                  {4, 32},   {4, 64},   {4, 128},  {4, 256},  {4, 512}, {4, 1024},
                                  {4, 4096}, {2, 16},   {2, 32},   {2, 64},   {2, 128}, {2, 256},
                                  {2, 512},  {2, 1024}, {2, 2048}, {2, 4096}, {0, 0}};

/* The same where zeros are wanted, and the shares of the sub-vectors that are not to be 0 (1: no
 * such codeword). Of layers with zeros already only scalars get more. */
static const code_size ZERO_SIZES[] = {
    {8, 4},    {8, 8},    {8, 16},   {8, 32}, {8, 64}, {8, 128}, {8, 256},
    {4, 4},    {4, 8},    {4, 16},   {4, 32}, {4, 64}, {4, 128}, {4, 256},
    {4, 1024}, {2, 4},    {2, 8},    {2, 16}, {2, 32}, {2, 64},  {2, 128},
    {2, 256},  {2, 1024}, {2, 4096}, {1, 4},  {1, 8},  {1, 16},  {0, 0}};
static const double KEPT_SHARES[] = {1.0, 0.4, 0.2, 0.1, 0.05};

enum {
    SIZE_COUNT = sizeof SIZES / sizeof SIZES[0],
    ZERO_SIZE_COUNT = sizeof ZERO_SIZES / sizeof ZERO_SIZES[0],
    SHARE_COUNT = sizeof KEPT_SHARES / sizeof KEPT_SHARES[0],
    MAX_TRIED = 256 /* codewords of codes that are tried; larger ones are foretold */
};

/* int8 with a scale per channel reaches about as much on Gaussian weights. */
static const double INT8_SQNR_DB = 40.0;

/* Noise of a layer whose code does nothing to the output: keeps logarithms finite. */
static const double LEAST_NOISE = 1e-12;

typedef struct candidate {
    size_t part;         /* index in vqc_parts.parts */
    double noise;        /* that its probing code makes in the worst output */
    double reference_db; /* expected of that code */
    vqc_trial *trials;   /* [count] the ways to code it */
    vqc_choice *choices; /* [count] the same, as costs */
    size_t count;
    size_t now;  /* the choice in force */
    size_t kept; /* by vqc_budget_keep */
} candidate;

struct vqc_budget {
    candidate *items; /* [count] */
    size_t count;
    size_t budget_bytes; /* what the recipe's bits per weight come to */
    double other_noise;  /* of parts that keep their codec */
};

/* Serialized bytes of a layer coded like that, but for the names. */
static size_t code_bytes(const vqc_part *p, int dim, int codebook_size)
{
    size_t rows = p->layout.rows;
    size_t cols = p->layout.cols;
    vqc_vq_shape shape = p->item->decision.vq;
    size_t entry = shape.storage == VQC_VQ_STORAGE_FLOAT32   ? 4
                   : shape.storage == VQC_VQ_STORAGE_FLOAT16 ? 2
                                                             : 1;

    if (codebook_size == 0) {
        return rows * cols + rows * sizeof(float) + INT8_NODE_BYTES;
    }
    shape.dim = (size_t)dim;
    shape.codebook_size = (size_t)codebook_size;
    return (vqc_vq_vectors(&shape) * (size_t)vqc_vq_index_bits(&shape) + 7) / 8 +
           vqc_vq_books(&shape) * shape.codebook_size * shape.dim * entry +
           (shape.row_scales ? rows * sizeof(uint16_t) : 0) + NODE_BYTES;
}

static bool can_train(const vqc_part *p, int dim, int codebook_size)
{
    vqc_vq_shape shape = p->item->decision.vq;

    if (codebook_size == 0) {
        return true;
    }
    shape.dim = (size_t)dim;
    return vqc_vq_vectors(&shape) >=
           (size_t)MIN_VECTORS * (size_t)codebook_size * vqc_vq_books(&shape);
}

static double expected_db(int dim, int codebook_size)
{
    return codebook_size == 0 ? INT8_SQNR_DB
                              : vqc_codebook_sqnr_db((size_t)dim, (size_t)codebook_size);
}

/* What the recipe's sizes come to for a part, none of them tried. Errors: out of memory. */
static vqc_status list_trials(const vqc_parts *p, vqc_part *part)
{
    bool wants_zeros = p->job->recipe->vq.zeros == VQC_SWITCH_AUTO;
    const code_size *sizes = wants_zeros ? ZERO_SIZES : SIZES;
    size_t size_count = wants_zeros ? ZERO_SIZE_COUNT : SIZE_COUNT;
    size_t shares = wants_zeros ? SHARE_COUNT : 1;

    part->trials = vqc_arena_calloc(p->arena, size_count * shares, sizeof *part->trials);
    if (part->trials == NULL) {
        return vqc_fail_memory(p->error, size_count * shares * sizeof *part->trials);
    }
    for (size_t i = 0; i < size_count; i++) {
        code_size size = sizes[i];
        if (!can_train(part, size.dim, size.codebook_size)) {
            continue;
        }
        for (size_t k = 0; k < shares; k++) {
            bool has_zeros = KEPT_SHARES[k] < 1.0;
            if (has_zeros && (size.codebook_size == 0 || size.codebook_size > MAX_TRIED ||
                              (part->item->mask != NULL && size.dim > 1))) {
                continue;
            }
            part->trials[part->trial_count++] = (vqc_trial){
                .dim = size.dim,
                .codebook_size = size.codebook_size,
                .kept_share = has_zeros ? KEPT_SHARES[k] : 0.0,
                .is_tried =
                    wants_zeros && size.codebook_size > 0 && size.codebook_size <= MAX_TRIED,
            };
        }
    }
    return VQC_OK;
}

/* Costs of a part's trials: measured, or foretold from the code it was probed with. */
static vqc_status list_choices(vqc_parts *p, candidate *c)
{
    const vqc_part *part = &p->parts[c->part];

    c->trials = part->trials;
    c->count = part->trial_count;
    c->choices = vqc_arena_calloc(p->arena, c->count + 1, sizeof *c->choices);
    if (c->choices == NULL) {
        return vqc_fail_memory(p->error, c->count * sizeof *c->choices);
    }
    for (size_t i = 0; i < c->count; i++) {
        const vqc_trial *t = &c->trials[i];
        c->choices[i] = (vqc_choice){
            .size_bytes = t->is_tried ? t->size_bytes : code_bytes(part, t->dim, t->codebook_size),
            .noise = t->is_tried && part->loss > 0.0
                         ? c->noise * t->loss / part->loss
                         : c->noise *
                               pow(10.0, (c->reference_db - expected_db(t->dim, t->codebook_size)) /
                                             10.0)};
    }
    return VQC_OK;
}

static double noise_of(const vqc_score *score)
{
    double noise = pow(10.0, -score->sqnr_db / 10.0);
    return noise > LEAST_NOISE ? noise : LEAST_NOISE;
}

vqc_status vqc_part_resize(vqc_parts *p, vqc_part *part, int dim, int codebook_size,
                           double kept_share)
{
    vqc_plan_layer *item = part->item;
    vqc_status status;

    if (codebook_size == 0) {
        (void)strcpy(item->spec.codec, "int");
        item->spec.bits = 8;
        item->spec.granularity = VQC_GRANULARITY_CHANNEL;
    } else {
        (void)strcpy(item->spec.codec, "vq");
        item->spec.dim = dim;
        item->spec.codebook_size = codebook_size;
    }
    if (kept_share > 0.0) {
        item->spec.channel_scale = VQC_SWITCH_OFF;
    }
    status = vqc_plan_prepare_again(item, p->job->recipe, p->error);
    if (status == VQC_OK) {
        item->decision.vq_effort.kept_share = codebook_size == 0 ? 0.0 : kept_share;
        vqc_part_set_layout(part);
    }
    return status;
}

vqc_status vqc_budget_create(vqc_parts *p, vqc_budget **out)
{
    vqc_budget *self = calloc(1, sizeof *self);
    vqc_status status;

    *out = self;
    if (self == NULL || (self->items = calloc(p->count + 1, sizeof *self->items)) == NULL) {
        return vqc_fail_memory(p->error, p->count * sizeof *self->items);
    }
    p->probing = true;
    p->codes = vqc_arena_create();
    status = p->codes == NULL ? vqc_fail_memory(p->error, 0) : VQC_OK;
    for (size_t i = 0; i < p->count && status == VQC_OK; i++) {
        status = p->parts[i].may_resize ? list_trials(p, &p->parts[i]) : VQC_OK;
    }
    if (status == VQC_OK) {
        status = vqc_parts_walk(p);
    }
    if (status == VQC_OK) {
        status = vqc_downstream_create(p->job->graph, p->layers, p->count, p->seen, p->measure,
                                       VQC_DOWNSTREAM_SAMPLES, VQC_DOWNSTREAM_BYTES,
                                       p->job->threads, &p->behind, p->error);
    }
    for (size_t i = 0; i < p->count && status == VQC_OK; i++) {
        const vqc_decision *d = &p->parts[i].item->decision;
        candidate *c = &self->items[self->count];
        vqc_score score;
        if (p->parts[i].decoded == NULL) {
            continue;
        }
        status = vqc_parts_score(p, i, VQC_DOWNSTREAM_SAMPLES, &score);
        if (status == VQC_OK && !p->parts[i].may_resize) {
            self->other_noise += noise_of(&score);
        } else if (status == VQC_OK) {
            c->part = i;
            c->noise = noise_of(&score);
            c->reference_db = expected_db((int)d->vq.dim, (int)d->vq.codebook_size);
            self->budget_bytes += (size_t)(p->parts[i].item->spec.bits_per_weight *
                                           (double)p->parts[i].item->layer->elements / 8.0);
            status = list_choices(p, c);
            self->count++;
        }
        if (p->job->progress != NULL) {
            p->job->progress(p->job->progress_context, "allocate", i + 1, p->count);
        }
    }
    vqc_downstream_destroy(&p->behind);
    p->probing = false;
    return status;
}

void vqc_budget_destroy(vqc_budget **budget)
{
    if (*budget != NULL) {
        free((*budget)->items);
        free(*budget);
        *budget = NULL;
    }
}

/* Gives the candidate's part what is now in force. */
static vqc_status take(vqc_parts *p, const candidate *c)
{
    const vqc_trial *t = &c->trials[c->now];

    return vqc_part_resize(p, &p->parts[c->part], t->dim, t->codebook_size, t->kept_share);
}

vqc_status vqc_budget_apply(vqc_budget *self, vqc_parts *p, double goal, double *foretold,
                            bool *at_most)
{
    vqc_choices *layers = calloc(self->count + 1, sizeof *layers);
    size_t *picked = calloc(self->count + 1, sizeof *picked);
    size_t bytes = 0;
    double noise = 0.0;
    vqc_status status;

    *at_most = true;
    if (layers == NULL || picked == NULL) {
        status = vqc_fail_memory(p->error, self->count * sizeof *layers);
        goto done;
    }
    for (size_t i = 0; i < self->count; i++) {
        layers[i] = (vqc_choices){self->items[i].choices, self->items[i].count};
    }
    if (isnan(goal)) {
        status = vqc_allocate(layers, self->count, self->budget_bytes, 0.0, picked, &bytes, &noise,
                              p->error);
    } else {
        goal -= self->other_noise;
        status =
            vqc_allocate(layers, self->count, SIZE_MAX / 2, goal > LEAST_NOISE ? goal : LEAST_NOISE,
                         picked, &bytes, &noise, p->error);
    }
    *foretold = noise + self->other_noise;
    for (size_t i = 0; i < self->count && status == VQC_OK; i++) {
        candidate *c = &self->items[i];
        c->now = picked[i];
        *at_most = *at_most && c->trials[c->now].codebook_size == 0;
        status = take(p, c);
    }
done:
    free(layers);
    free(picked);
    return status;
}

vqc_status vqc_budget_learn(vqc_budget *self, vqc_parts *p)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < self->count && status == VQC_OK; i++) {
        candidate *c = &self->items[i];
        vqc_score score;
        double factor;

        if (p->parts[c->part].decoded == NULL) {
            continue;
        }
        status = vqc_parts_score(p, c->part, 0, &score);
        factor = status == VQC_OK ? sqrt(noise_of(&score) / c->choices[c->now].noise) : 1.0;
        for (size_t k = 0; k < c->count; k++) {
            c->choices[k].noise *= factor;
        }
    }
    return status;
}

void vqc_budget_keep(vqc_budget *self)
{
    for (size_t i = 0; i < self->count; i++) {
        self->items[i].kept = self->items[i].now;
    }
}

vqc_status vqc_budget_restore(vqc_budget *self, vqc_parts *p)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < self->count && status == VQC_OK; i++) {
        candidate *c = &self->items[i];
        c->now = c->kept;
        status = take(p, c);
    }
    return status;
}
