#include "core/codec/vq_form.h"

#include <math.h>
#include <string.h>

#include "core/codec/int_form.h"

enum {
    VECTORS_PER_CODEWORD = 4, /* fewer sub-vectors would be learned by heart */
    /* dim auto: codebooks take at most 1/24 of the indices' bytes; twice the dim gains 0.26 to 0.9
     * dB at 1 to 4 bits, as much as 1/27 to 1/23 more bits would (Gaussian, unlimited samples) */
    CODEBOOK_SHARE = 24,
    WASTE_SHARE = 16, /* dim auto: padding takes at most 1/16 of a line */
    /* uint8 times int8, summed in pairs, stays in 16 bits up to codes of this size */
    SAFE_CODE = 64,
    MIN_PACKED = 64,    /* weights that are not 0 */
    NOTABLE_ZEROS = 16, /* one weight in so many is 0 */
    SCALE_SHARE = 32    /* channel_scale auto: scales take at most 1/32 of the indices' bytes */
};

/* channel_scale auto: standard deviation of the binary logarithm of the rows' sizes from which on
 * a scale per row pays (rows then differ by a factor of 2 in either direction as a rule). */
static const double SCALE_SPREAD = 1.0;

static const char FEWER[] = "fewer codewords: the layer has too few sub-vectors to train them";

void vqc_vq_prepare_int8(vqc_decision *d, const vqc_target *target, const float *weights,
                         int64_t *opset_wanted)
{
    vqc_weight_spec spec = vqc_weight_spec_default();
    const char *reason = d->reason;

    spec.set = d->spec.set;
    spec.min_elements = d->spec.min_elements;
    d->spec = spec;
    d->codec = &vqc_codec_int;
    vqc_codec_int.prepare(d, target, weights, opset_wanted);
    d->reason = reason;
}

/* ---- sizes ---- */

static size_t entry_bytes(vqc_vq_storage storage)
{
    return storage == VQC_VQ_STORAGE_FLOAT32 ? 4 : storage == VQC_VQ_STORAGE_FLOAT16 ? 2 : 1;
}

static size_t line_length(const vqc_vq_shape *s)
{
    if (vqc_vq_is_packed(s)) {
        return s->packed;
    }
    return s->down_rows ? s->rows : s->cols;
}

static size_t index_bytes(const vqc_vq_shape *s)
{
    return vqc_vq_vectors(s) / 8 * s->stages * (size_t)vqc_vq_index_bits(s);
}

/* What the recipe asks for at this dimension. */
static size_t wanted_size(const vqc_weight_spec *spec, size_t dim)
{
    double bits;

    if (spec->codebook_size > 0) {
        return (size_t)spec->codebook_size;
    }
    bits = floor(spec->bits_per_weight * (double)dim / (double)spec->stages + 0.5);
    return (size_t)1 << (int)fmin(fmax(bits, 1.0), 16.0);
}

/* Sub-vectors of the smallest group that has a codebook of its own, about. */
static size_t vectors_per_book(const vqc_vq_shape *s)
{
    return vqc_vq_vectors(s) / vqc_vq_books(s);
}

/* Whether codebook and padding are small beside the indices. */
static bool suits(const vqc_vq_shape *s)
{
    size_t length = line_length(s);
    size_t waste = vqc_vq_blocks(s) * s->dim - length;
    size_t book = vqc_vq_books(s) * s->stages * s->codebook_size * s->dim * entry_bytes(s->storage);

    return waste * WASTE_SHARE <= length && book * CODEBOOK_SHARE <= index_bytes(s) &&
           s->codebook_size * VECTORS_PER_CODEWORD <= vectors_per_book(s);
}

/* 2 from 3.5 bits per weight on, 4 from 1.5 on, else 8; less where the layer does not bear it. With
 * a given number of codewords 2, or 1 up to 16 codewords. A shared codebook does not ask the layer.
 */
static void choose_dim(const vqc_weight_spec *spec, vqc_vq_shape *s, bool is_shared)
{
    if (spec->dim > 0) {
        s->dim = (size_t)spec->dim;
    } else if (spec->codebook_size > 0) {
        s->dim = spec->codebook_size > 16 ? 2 : 1;
    } else {
        s->dim = spec->bits_per_weight >= 3.5 ? 2 : spec->bits_per_weight >= 1.5 ? 4 : 8;
        for (; s->dim > 1 && !is_shared; s->dim /= 2) {
            s->codebook_size = wanted_size(spec, s->dim);
            if (suits(s)) {
                break;
            }
        }
    }
    if (s->dim > line_length(s) && !is_shared) {
        s->dim = line_length(s);
    }
    s->codebook_size = wanted_size(spec, s->dim);
}

/* As many groups as there are when each but the last has the same number of members. */
static size_t group_count(int wanted, size_t members)
{
    size_t groups = (size_t)wanted < members ? (size_t)wanted : members;
    size_t each = (members + groups - 1) / groups;

    return (members + each - 1) / each;
}

static void choose_groups(const vqc_weight_spec *spec, vqc_vq_shape *s)
{
    s->line_groups =
        group_count(s->down_rows ? spec->input_groups : spec->output_groups, vqc_vq_lines(s));
    s->block_groups =
        group_count(s->down_rows ? spec->output_groups : spec->input_groups, vqc_vq_blocks(s));
}

/* Zeros that are to stay exactly 0: where the recipe prunes or wants them stored sparsely; 0 where
 * they are few. */
static size_t zeros_to_keep(const vqc_decision *d, const vqc_target *target, const float *weights)
{
    size_t n = d->layer->elements;
    size_t zeros = 0;

    if ((target->is_pruned || d->spec.sparse == VQC_SWITCH_ON) && weights != NULL) {
        zeros = vqc_kernels_get()->f32_count_zero(weights, n);
    }
    return zeros >= n / NOTABLE_ZEROS ? zeros : 0;
}

/*
 * Weights + 1 where vectors are made of those that are not 0 (shape->packed); 0 where there are no
 * zeros to keep, or the pattern is another one.
 */
static size_t packed_size(const vqc_decision *d, const vqc_target *target, size_t zeros)
{
    const vqc_weight_spec *spec = &d->spec;
    size_t n = d->layer->elements;

    if (zeros == 0 || spec->sparse == VQC_SWITCH_OFF || n > UINT32_MAX - 1 || d->is_static ||
        d->is_shared || d->layer->scope->opset < VQC_SPARSE_OPSET || spec->output_groups > 1 ||
        spec->input_groups > 1 || spec->channel_scale == VQC_SWITCH_ON ||
        (target->objective == VQC_OBJECTIVE_SPEED && vqc_layer_feeds_matmul(d->layer))) {
        return 0;
    }
    return n - zeros < MIN_PACKED ? 0 : n - zeros + 1;
}

/* Whether zeros that are to be kept need a mask: vectors of all weights, several stages, and
 * codebooks that are too small for a codeword 0 or not the layer's own. */
static bool needs_mask(const vqc_decision *d)
{
    const vqc_vq_shape *s = &d->vq;
    bool has_zero = s->dim == 1 && s->stages == 1 && s->codebook_size >= 3 && !d->is_shared;

    return !has_zero && !vqc_vq_is_packed(s);
}

/*
 * Zeros of a layer with codebooks of its own need no mask where its codewords are scalars, 0 among
 * them: what the recipe leaves open becomes such where nearly all weights are 0 (too few others
 * for vectors), and where one bit would leave no codeword but 0 and one.
 */
static void make_room_for_zero(vqc_decision *d, size_t zeros)
{
    const vqc_weight_spec *spec = &d->spec;
    vqc_vq_shape *s = &d->vq;

    if (zeros == 0 || d->is_shared || s->stages > 1 || spec->codebook_size > 0) {
        return;
    }
    if (spec->dim == 0 && d->layer->elements - zeros < MIN_PACKED) {
        s->dim = 1;
        s->codebook_size = wanted_size(spec, 1);
    }
    if (s->dim == 1 && s->codebook_size < 3) {
        s->codebook_size = 4;
    }
}

/* A power of two, so that no index bit is wasted. */
static bool reduce_size(vqc_vq_shape *s)
{
    size_t most = vectors_per_book(s) / VECTORS_PER_CODEWORD;

    if (s->codebook_size <= most) {
        return false;
    }
    s->codebook_size = 2;
    while (s->codebook_size * 2 <= most) {
        s->codebook_size *= 2;
    }
    return true;
}

/* ---- a scale per row ---- */

static double spread_of_rows(const vqc_decision *d, const float *weights)
{
    const vqc_vq_layout *layout = &d->vq_layout;
    vqc_arena *arena = vqc_arena_create();
    float *matrix =
        arena == NULL ? NULL : vqc_arena_alloc(arena, layout->rows * layout->cols * sizeof *matrix);
    double sum = 0.0;
    double sum2 = 0.0;
    size_t count = 0;

    if (matrix != NULL) {
        vqc_vq_layout_take(layout, d->layer, weights, matrix);
        for (size_t r = 0; r < layout->rows; r++) {
            double power = 0.0;
            for (size_t c = 0; c < layout->cols; c++) {
                double w = (double)matrix[r * layout->cols + c];
                power += w * w;
            }
            if (power > 0.0 && isfinite(power)) {
                double size = 0.5 * log2(power);
                sum += size;
                sum2 += size * size;
                count++;
            }
        }
    }
    vqc_arena_destroy(&arena);
    return count < 2 ? 0.0
                     : sqrt(fmax(sum2 / (double)count - sum / (double)count * (sum / (double)count),
                                 0.0));
}

static bool wants_row_scales(const vqc_decision *d, const float *weights)
{
    const vqc_vq_shape *s = &d->vq;

    if (d->spec.channel_scale != VQC_SWITCH_AUTO) {
        return d->spec.channel_scale == VQC_SWITCH_ON;
    }
    return weights != NULL && !vqc_vq_is_packed(s) && s->rows * 2 * SCALE_SHARE <= index_bytes(s) &&
           spread_of_rows(d, weights) >= SCALE_SPREAD;
}

/* ---- form ---- */

/*
 * Integers in front of DequantizeLinear, which ONNX Runtime keeps: for MatMul and Gemm, whose
 * kernels take them, and for layers with static activations. There must be one scale per row.
 */
static bool try_dequantize(vqc_decision *d, const vqc_target *target, int64_t *opset_wanted)
{
    vqc_vq_shape *s = &d->vq;
    int64_t needed;

    if (!d->is_static &&
        (target->objective != VQC_OBJECTIVE_SPEED || !vqc_layer_feeds_matmul(d->layer))) {
        return false;
    }
    if (s->storage != VQC_VQ_STORAGE_INT8 || s->stages > 1 ||
        (s->down_rows ? s->line_groups : s->block_groups) > 1 ||
        d->layer->dtype != VQC_DTYPE_FLOAT ||
        s->rows != (size_t)d->layer->dims[d->layer->channel_axis]) {
        d->reason = "objective: speed takes codebook_type int8, one stage, and groups of output "
                    "channels only: folded to float when the model is loaded";
        return false;
    }
    needed = s->row_scales || s->line_groups > 1 ? 13 : 10;
    if (target->max_opset < needed) {
        d->reason = "DequantizeLinear needs a newer opset, which a node of the model prevents: "
                    "folded to float when the model is loaded";
        return false;
    }
    /* biases and other layers of a static model have a scale per channel */
    *opset_wanted = d->is_static && target->max_opset >= 13 ? 13 : needed;
    d->form = VQC_FORM_DEQUANTIZE;
    return true;
}

/* With scalar codewords any order will do: the tensor's own needs no Transpose. */
static void prefer_tensor_order(vqc_decision *d)
{
    vqc_vq_layout turned;

    if (d->vq.dim > 1 || vqc_vq_books(&d->vq) > 1 || !d->vq_layout.is_permuted ||
        d->spec.along != VQC_VQ_ALONG_AUTO) {
        return;
    }
    vqc_vq_layout_make(d->layer, VQC_VQ_ALONG_OUTPUT, &turned);
    if (!turned.is_permuted) {
        d->vq_layout = turned;
        d->vq.down_rows = true;
    }
}

void vqc_vq_prepare(vqc_decision *d, const vqc_target *target, const float *weights,
                    int64_t *opset_wanted)
{
    const vqc_weight_spec *spec = &d->spec;
    vqc_vq_shape *s = &d->vq;
    bool is_int8 =
        spec->codebook_type == VQC_VQ_STORAGE_INT8 ||
        (target->objective == VQC_OBJECTIVE_SPEED && (spec->set & VQC_SPEC_CODEBOOK_TYPE) == 0);
    size_t zeros;

    *opset_wanted = 0;
    if (spec->dim == 0 && vqc_layer_is_depthwise(d->layer)) {
        d->reason = "depthwise convolution: int8 unless the recipe sets dim";
        vqc_vq_prepare_int8(d, target, weights, opset_wanted);
        return;
    }
    vqc_vq_layout_make(d->layer, spec->along, &d->vq_layout);
    *s = (vqc_vq_shape){
        .rows = d->vq_layout.rows,
        .cols = d->vq_layout.cols,
        .dim = 1,
        .down_rows = d->vq_layout.down_rows,
        .codebook_size = 2,
        .stages = (size_t)spec->stages,
        .line_groups = 1,
        .block_groups = 1,
        .storage = is_int8 ? VQC_VQ_STORAGE_INT8 : spec->codebook_type,
    };
    d->vq_effort = vqc_vq_effort_default();
    d->vq_effort.seed = (uint64_t)target->vq.seed;
    d->vq_effort.sweeps = target->vq.sweeps;
    d->vq_effort.damping = target->vq.damping;
    d->is_shared = spec->shared_codebook != NULL && strcmp(spec->shared_codebook, "none") != 0;
    if (d->is_static && target->weight_codes == VQC_WEIGHT_CODES_INT8_SAFE) {
        s->int8_limit = SAFE_CODE;
    }
    zeros = zeros_to_keep(d, target, weights);
    s->packed = packed_size(d, target, zeros);
    choose_dim(spec, s, d->is_shared);
    if (!vqc_vq_is_packed(s)) {
        s->packed = 0; /* scalars: 0 is a codeword */
    }
    make_room_for_zero(d, zeros);
    if (!d->is_shared) {
        choose_groups(spec, s);
        if (reduce_size(s)) {
            d->reason = FEWER;
        }
    }
    prefer_tensor_order(d);
    s->row_scales = wants_row_scales(d, weights);
    s->is_masked = zeros > 0 && needs_mask(d);
    d->bits = vqc_vq_index_bits(s);
    d->form = VQC_FORM_FOLDABLE;
    if (!d->is_shared) {
        (void)try_dequantize(d, target, opset_wanted);
    }
}
