#include "core/codec/int_balance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec/int_fit.h"

enum {
    /* `auto` balances matrices up to this size: larger ones would cost more time than the whole
       rest */
    AUTO_MATRIX_ELEMENTS = 1 << 22,
    MAX_KERNEL = 1024
};

/* One set of weights whose errors are to cancel. */
typedef struct balance_set {
    float *errors;  /* [n] code - zero_point - w / scale, in steps */
    float *order;   /* [n] scratch */
    int32_t *codes; /* [n] */
    int32_t lo;
    int32_t hi;
} balance_set;

static bool is_convolution(const vqc_layer *layer)
{
    return strcmp(layer->op, "Conv") == 0 || strcmp(layer->op, "ConvTranspose") == 0;
}

bool vqc_int_is_balanced(const vqc_decision *d)
{
    const vqc_layer *layer = d->layer;
    bool sums = layer->role == VQC_ROLE_WEIGHT && layer->reduction_axis >= 0 &&
                layer->channel_axis >= 0 && strcmp(layer->op, "Gather") != 0;

    if (!sums || d->spec.rounding == VQC_ROUNDING_NEAREST) {
        return false;
    }
    return d->spec.rounding == VQC_ROUNDING_BALANCED || is_convolution(layer) ||
           layer->elements <= AUTO_MATRIX_ELEMENTS;
}

/* Sets are the groups of the scales; with one scale for all, the channels. */
static vqc_grouping sets_of(const vqc_decision *d)
{
    const vqc_layer *layer = d->layer;

    if (d->grouping.is_blocked || d->grouping.len > 1) {
        return d->grouping;
    }
    if (layer->channel_joins_outer) {
        return vqc_grouping_channel(1, layer->outer * layer->channels, layer->inner);
    }
    return vqc_grouping_channel(layer->outer, layer->channels, layer->inner);
}

/* Weights of one kernel lie side by side in a set; 1 when there is no such run. */
static size_t kernel_size(const vqc_decision *d)
{
    const vqc_layer *layer = d->layer;
    size_t size = 1;

    if (!is_convolution(layer) || d->grouping.is_blocked) {
        return 1;
    }
    for (size_t i = 2; i < layer->rank; i++) {
        size *= (size_t)layer->dims[i];
    }
    return size <= MAX_KERNEL ? size : 1;
}

/* Moves code i of the set by one step against its error when the code range allows it. */
static bool move(balance_set *set, size_t i, int32_t step)
{
    int32_t moved = set->codes[i] - step;

    if (set->errors[i] == 0.0f) { /* exact: a pruned weight stays zero */
        return false;
    }
    if (moved < set->lo || moved > set->hi) {
        return false;
    }
    set->codes[i] = moved;
    set->errors[i] -= (float)step;
    return true;
}

/* Cancels the sum of errors[first .. first + n). */
static void cancel(balance_set *set, size_t first, size_t n)
{
    float *errors = set->errors + first;
    double sum = 0.0;
    size_t moves;
    int32_t step;
    float threshold;

    for (size_t i = 0; i < n; i++) {
        sum += (double)errors[i];
    }
    if (!isfinite(sum) || fabs(sum) < 0.5) {
        return;
    }
    step = sum > 0.0 ? 1 : -1;
    moves = fabs(sum) + 0.5 >= (double)n ? n : (size_t)(fabs(sum) + 0.5);
    for (size_t i = 0; i < n; i++) { /* the largest errors in the direction of the sum move */
        errors[i] *= (float)step;
    }
    memcpy(set->order, errors, n * sizeof *errors);
    threshold = vqc_select_kth(set->order, n, n - moves);
    for (size_t i = 0; i < n; i++) {
        errors[i] *= (float)step;
    }
    for (size_t i = 0; i < n && moves > 0; i++) {
        if (errors[i] * (float)step > threshold && move(set, first + i, step)) {
            moves--;
        }
    }
    for (size_t i = 0; i < n && moves > 0; i++) { /* then those at the threshold, in order */
        if (errors[i] * (float)step == threshold && move(set, first + i, step)) {
            moves--;
        }
    }
}

static int32_t get_code(const vqc_code *code, size_t i)
{
    const vqc_decision *d = code->decision;

    if (d->bits > 8) {
        return d->is_signed ? ((const int16_t *)code->codes)[i]
                            : ((const uint16_t *)code->codes)[i];
    }
    return d->is_signed ? ((const int8_t *)code->codes)[i] : ((const uint8_t *)code->codes)[i];
}

static void set_code(vqc_code *code, size_t i, int32_t value)
{
    const vqc_decision *d = code->decision;

    if (d->bits > 8 && d->is_signed) {
        ((int16_t *)code->codes)[i] = (int16_t)value;
    } else if (d->bits > 8) {
        ((uint16_t *)code->codes)[i] = (uint16_t)value;
    } else if (d->is_signed) {
        ((int8_t *)code->codes)[i] = (int8_t)value;
    } else {
        ((uint8_t *)code->codes)[i] = (uint8_t)value;
    }
}

/* Weights further out than the codes reach are clipped: their error is no rounding error. */
static float rounding_error(float error)
{
    return fabsf(error) <= 0.5f ? error : 0.0f;
}

static void balance_one(const vqc_grouping *sets, size_t index, const float *weights,
                        vqc_code *code, balance_set *set, size_t kernel)
{
    vqc_group_shape shape = vqc_grouping_shape(sets, index);
    size_t group = code->groups > 1 ? index : 0;
    float inverse = vqc_inverse_scale(code->scales[group]);
    int32_t zero = code->zero_points[group];
    size_t n = 0;

    for (size_t s = 0; s < shape.segments; s++) {
        for (size_t r = 0; r < shape.run; r++, n++) {
            size_t at = shape.start + s * shape.gap + r * shape.step;
            float w;
            memcpy(&w, (const char *)weights + at * sizeof w, sizeof w); /* may be unaligned */
            set->codes[n] = get_code(code, at);
            set->errors[n] = rounding_error((float)(set->codes[n] - zero) - w * inverse);
        }
    }
    if (kernel > 1) {
        for (size_t i = 0; i + kernel <= n; i += kernel) {
            cancel(set, i, kernel);
        }
    }
    cancel(set, 0, n);
    n = 0;
    for (size_t s = 0; s < shape.segments; s++) {
        for (size_t r = 0; r < shape.run; r++, n++) {
            set_code(code, shape.start + s * shape.gap + r * shape.step, set->codes[n]);
        }
    }
}

vqc_status vqc_int_balance(const vqc_decision *d, const float *weights, vqc_code *code,
                           vqc_error *error)
{
    vqc_grouping sets = sets_of(d);
    size_t count = vqc_grouping_count(&sets);
    size_t capacity = vqc_grouping_size(&sets, 0); /* the first set is never the shorter one */
    size_t kernel = kernel_size(d);
    bool no_memory = false;

#pragma omp parallel reduction(|| : no_memory) if (code->elements >= VQC_PARALLEL_SEARCH_ELEMENTS)
    {
        balance_set set = {
            .errors = malloc(capacity * sizeof *set.errors + 1),
            .order = malloc(capacity * sizeof *set.order + 1),
            .codes = malloc(capacity * sizeof *set.codes + 1),
            .lo = d->lo,
            .hi = d->hi,
        };
        no_memory = set.errors == NULL || set.order == NULL || set.codes == NULL;
#pragma omp for schedule(dynamic, 16)
        for (size_t i = 0; i < count; i++) {
            if (!no_memory) {
                balance_one(&sets, i, weights, code, &set, kernel);
            }
        }
        free(set.errors);
        free(set.order);
        free(set.codes);
    }
    return no_memory ? vqc_fail_memory(error, capacity * 12) : VQC_OK;
}
