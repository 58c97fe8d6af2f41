#include "core/codec/int_form.h"

#include <string.h>

#include "core/emit/patterns.h"

enum {
    NBITS_MIN_BLOCK = 16,      /* MatMulNBits, GatherBlockQuantized: a power of two from 16 on */
    NBITS_DEFAULT_BLOCK = 128, /* when the recipe asks for channels, which these operators lack */
    SCALE_F16_MIN_GROUPS = 48  /* below, the Cast and Mul nodes weigh more than the bytes saved */
};

/* ---- questions about readers ---- */

/* Whether a node has what patterns that replace it take over: two inputs and one output. Malformed
 * files may leave them out. */
static bool is_complete(const Onnx__NodeProto *node)
{
    return node->n_input >= 2 && node->input[0][0] != '\0' && node->input[1][0] != '\0' &&
           node->n_output == 1 && node->output[0][0] != '\0';
}

static bool reads_by_name(const vqc_layer *layer, const vqc_use *use, size_t input)
{
    return use->node != NULL && use->input == input && is_complete(use->node) &&
           strcmp(use->node->input[input], layer->value->name) == 0;
}

bool vqc_layer_feeds(const vqc_layer *layer, const char *op, size_t input)
{
    for (size_t i = 0; i < layer->use_count; i++) {
        const vqc_use *use = &layer->uses[i];
        if (!reads_by_name(layer, use, input) || !vqc_node_is(use->node, op)) {
            return false;
        }
    }
    return layer->use_count > 0;
}

/* A Gemm that is a plain matrix product with an optional bias. */
static bool is_plain_gemm(const Onnx__NodeProto *node)
{
    bool has_bias = node->n_input > 2 && node->input[2][0] != '\0';
    return vqc_node_is(node, "Gemm") && vqc_node_attr_int(node, "transA", 0) == 0 &&
           vqc_node_attr_float(node, "alpha", 1.0f) == 1.0f &&
           (!has_bias || vqc_node_attr_float(node, "beta", 1.0f) == 1.0f);
}

bool vqc_layer_feeds_linear(const vqc_layer *layer)
{
    bool transposed = false;

    if (layer->rank != 2 || layer->use_count == 0) {
        return false;
    }
    for (size_t i = 0; i < layer->use_count; i++) {
        const vqc_use *use = &layer->uses[i];
        bool trans_b;
        if (!reads_by_name(layer, use, 1) ||
            (!vqc_node_is(use->node, "MatMul") && !is_plain_gemm(use->node))) {
            return false;
        }
        trans_b = vqc_node_attr_int(use->node, "transB", 0) != 0;
        if (i > 0 && trans_b != transposed) {
            return false;
        }
        transposed = trans_b;
    }
    return true;
}

bool vqc_layer_feeds_matmul(const vqc_layer *layer)
{
    if (!vqc_layer_feeds_linear(layer)) {
        return false;
    }
    for (size_t i = 0; i < layer->use_count; i++) {
        if (layer->uses[i].scope != layer->scope ||
            vqc_node_attr_int(layer->uses[i].node, "transB", 0) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_transposed(const vqc_layer *layer)
{
    return vqc_node_attr_int(layer->uses[0].node, "transB", 0) != 0;
}

/* ---- grouping ---- */

static size_t product(const int64_t *dims, size_t from, size_t to)
{
    size_t p = 1;
    for (size_t i = from; i < to; i++) {
        p *= (size_t)dims[i]; /* cannot overflow: the tensor's elements were checked */
    }
    return p;
}

/* Blocks along the reduction axis. For convolutions the whole filter is one run of weights, unless
 * the pattern needs a real axis. */
static vqc_grouping block_grouping(const vqc_layer *layer, size_t block, bool real_axis)
{
    size_t axis = layer->reduction_axis < 0 ? 0 : (size_t)layer->reduction_axis;

    if (layer->reduction_axis < 0) {
        return vqc_grouping_block(1, layer->elements, 1, block);
    }
    if (!real_axis && layer->channel_axis == 0 && axis == 1) {
        return vqc_grouping_block((size_t)layer->dims[0], layer->elements / (size_t)layer->dims[0],
                                  1, block);
    }
    return vqc_grouping_block(product(layer->dims, 0, axis), (size_t)layer->dims[axis],
                              product(layer->dims, axis + 1, layer->rank), block);
}

static vqc_grouping choose_grouping(const vqc_decision *decision, bool real_axis)
{
    const vqc_layer *layer = decision->layer;
    size_t outer = layer->outer;
    size_t channels = layer->channels;

    if (decision->spec.granularity == VQC_GRANULARITY_BLOCK) {
        return block_grouping(layer, (size_t)decision->spec.block_size, real_axis);
    }
    if (layer->channel_joins_outer) {
        channels *= outer;
        outer = 1;
    }
    if (decision->spec.granularity == VQC_GRANULARITY_TENSOR || layer->channel_axis < 0 ||
        channels == layer->elements) {
        return vqc_grouping_tensor(layer->elements);
    }
    return vqc_grouping_channel(outer, channels, layer->inner);
}

/* ---- code range ---- */

/*
 * Whether 8- and 16-bit codes are stored signed. Integer products of uint8 inputs with int8 weights
 * saturate in 16 bits on x86 processors without VNNI (ONNX Runtime on AVX2: a time series model
 * falls from 47 to 9 dB), uint8 weights do not; with reduce_range neither does, and int8 is the
 * faster kernel.
 */
static bool stores_signed(const vqc_decision *d)
{
    switch (d->form) {
    case VQC_FORM_MATMUL_NBITS:
    case VQC_FORM_GATHER_BLOCK:
    case VQC_FORM_DYNAMIC_CONV:
        return false;
    case VQC_FORM_DYNAMIC_MATMUL:
    case VQC_FORM_DYNAMIC_LSTM:
        return d->spec.reduce_range;
    case VQC_FORM_DEQUANTIZE:
        return !d->is_static || d->weight_codes != VQC_WEIGHT_CODES_UINT8;
    case VQC_FORM_FOLDABLE:
    case VQC_FORM_KEEP:
        return true;
    }
    return true;
}

static void choose_codes(vqc_decision *d)
{
    int32_t levels = (int32_t)1 << d->bits;
    bool whole = d->bits == 8 || d->bits == 16;

    d->has_zero_point = !d->spec.symmetric;
    d->is_signed = whole && d->spec.symmetric && stores_signed(d);
    d->middle = d->is_signed ? 0 : levels / 2;
    d->lo = d->is_signed ? -levels / 2 : 0;
    d->hi = d->lo + levels - 1;
    if (d->spec.reduce_range) { /* the middle half of the codes; from 0 for asymmetric ones */
        int32_t quarter = d->has_zero_point ? 0 : levels / 4;
        d->lo += quarter;
        d->hi = d->lo + levels / 2 - 1;
    }
}

/* Scales as float16 * 2^-10 reach from 6e-8 to 64 at full precision: enough when the largest weight
 * is neither tiny nor huge. */
static bool scales_fit_f16(const vqc_decision *d, const float *weights)
{
    float absmax;

    if (d->bits > 8 || vqc_grouping_count(&d->grouping) < SCALE_F16_MIN_GROUPS) {
        return false;
    }
    if (weights == NULL) { /* not read, because another form was expected */
        return false;
    }
    absmax = vqc_kernels_get()->f32_absmax(weights, d->layer->elements);
    return absmax < 32.0f && absmax > 0x1p-14f;
}

/* ---- forms ---- */

static int64_t dequantize_opset(const vqc_decision *d)
{
    if (d->spec.granularity == VQC_GRANULARITY_BLOCK || d->bits == 16) {
        return 21;
    }
    return d->spec.granularity == VQC_GRANULARITY_CHANNEL || d->bits < 8 ? 13 : 10;
}

/* Whether DequantizeLinear can express the decision for this layer at all. */
static const char *dequantize_obstacle(const vqc_decision *d)
{
    const vqc_layer *layer = d->layer;

    if (layer->dtype != VQC_DTYPE_FLOAT) {
        return "DequantizeLinear gives float32, the weight has another type: foldable pattern";
    }
    if (d->spec.granularity == VQC_GRANULARITY_CHANNEL && layer->channel_joins_outer &&
        layer->outer > 1) {
        return "DequantizeLinear has one axis, these channels span two: foldable pattern";
    }
    if (d->spec.granularity == VQC_GRANULARITY_BLOCK && layer->reduction_axis < 0) {
        return "the weight has no axis to block along: foldable pattern";
    }
    return NULL;
}

static bool is_power_of_two(int64_t value)
{
    return value > 0 && (value & (value - 1)) == 0;
}

/* Whether MatMulNBits has the decision's blocks, if it has any. */
static bool nbits_knows_blocks(const vqc_decision *d)
{
    return d->spec.granularity != VQC_GRANULARITY_BLOCK ||
           (is_power_of_two(d->spec.block_size) && d->spec.block_size >= NBITS_MIN_BLOCK);
}

static bool nbits_fits(const vqc_decision *d)
{
    return (d->bits == 2 || d->bits == 4 || d->bits == 8) && nbits_knows_blocks(d) &&
           d->layer->dtype == VQC_DTYPE_FLOAT && d->layer->rank == 2;
}

/* The block size of com.microsoft operators: the recipe's, or one in place of a channel. */
static void set_nbits_block(vqc_decision *d, size_t length)
{
    int64_t block = NBITS_MIN_BLOCK;

    if (d->spec.granularity != VQC_GRANULARITY_BLOCK) {
        while (block < NBITS_DEFAULT_BLOCK && (size_t)block < length) {
            block *= 2;
        }
        d->spec.granularity = VQC_GRANULARITY_BLOCK;
        d->spec.block_size = block;
    }
}

/* Whether nodes of com.microsoft may stand beside the weight: a function imports its own operators,
 * and an import that it lacks is not added. */
static bool may_use_microsoft(const vqc_layer *layer)
{
    const vqc_scope *scope = layer->scope;

    while (scope->parent != NULL) {
        scope = scope->parent;
    }
    return scope->function == NULL || scope->ms_opset > 0;
}

static bool try_nbits(vqc_decision *d)
{
    const vqc_layer *layer = d->layer;

    if (!nbits_fits(d) || !may_use_microsoft(layer)) {
        return false;
    }
    if (vqc_layer_feeds_linear(layer)) {
        bool transposed = is_transposed(layer);
        size_t k = (size_t)layer->dims[transposed ? 1 : 0];
        size_t n = (size_t)layer->dims[transposed ? 0 : 1];
        set_nbits_block(d, k);
        d->form = VQC_FORM_MATMUL_NBITS;
        d->grouping = transposed ? vqc_grouping_block(n, k, 1, (size_t)d->spec.block_size)
                                 : vqc_grouping_block(1, k, n, (size_t)d->spec.block_size);
        return true;
    }
    if (vqc_layer_feeds(layer, "Gather", 0) && layer->dims[1] % (8 / d->bits) == 0) {
        for (size_t i = 0; i < layer->use_count; i++) {
            if (vqc_node_attr_int(layer->uses[i].node, "axis", 0) != 0) {
                return false;
            }
        }
        set_nbits_block(d, (size_t)layer->dims[1]);
        d->form = VQC_FORM_GATHER_BLOCK;
        d->grouping = vqc_grouping_block((size_t)layer->dims[0], (size_t)layer->dims[1], 1,
                                         (size_t)d->spec.block_size);
        return true;
    }
    return false;
}

/* Dynamic activations: MatMulInteger, ConvInteger, DynamicQuantizeLSTM. */
static bool try_dynamic(vqc_decision *d, const vqc_target *target, int64_t *opset_wanted)
{
    const vqc_layer *layer = d->layer;
    bool lstm = false;

    if (d->bits != 8 || layer->dtype != VQC_DTYPE_FLOAT ||
        d->spec.granularity == VQC_GRANULARITY_BLOCK) {
        d->reason =
            "activations stay float: dynamic quantization needs 8-bit weights per tensor or "
            "channel of a float32 model";
        return false;
    }
    if (target->operators == VQC_OPERATORS_ONNXRUNTIME && may_use_microsoft(layer) &&
        vqc_emit_lstm_is_dynamic(layer)) {
        lstm = true;
    } else if (!vqc_layer_feeds_linear(layer) && !vqc_layer_feeds(layer, "Conv", 1)) {
        d->reason = "activations stay float: the operator has no dynamic form";
        return false;
    }
    if (target->max_opset < 11) {
        d->reason = "activations stay float: DynamicQuantizeLinear needs opset 11";
        return false;
    }
    *opset_wanted = 11;
    d->form = lstm                                ? VQC_FORM_DYNAMIC_LSTM
              : vqc_layer_feeds(layer, "Conv", 1) ? VQC_FORM_DYNAMIC_CONV
                                                  : VQC_FORM_DYNAMIC_MATMUL;
    if (d->form == VQC_FORM_DYNAMIC_CONV || d->form == VQC_FORM_DYNAMIC_LSTM) {
        d->spec.symmetric = true; /* ONNX Runtime takes one zero point for all channels there */
    }
    return true;
}

/*
 * Whether ONNX Runtime turns DequantizeLinear in front of this layer's readers into MatMulNBits
 * when it loads the model (measured with 1.32: every width up to 8 bits, per tensor, channel and
 * block, but only blocks that MatMulNBits knows). Elsewhere the node runs at every inference,
 * slower than float32.
 */
static bool is_fused_by_onnxruntime(const vqc_decision *d)
{
    return d->bits <= 8 && nbits_knows_blocks(d) && vqc_layer_feeds_matmul(d->layer);
}

/* Writes DequantizeLinear when the opset has it or can be raised; false: fold instead. */
static bool try_dequantize(vqc_decision *d, const vqc_target *target, bool may_raise,
                           int64_t *opset_wanted)
{
    int64_t needed = dequantize_opset(d);
    const char *obstacle = dequantize_obstacle(d);

    if (obstacle != NULL) {
        if (d->spec.pattern == VQC_PATTERN_DEQUANTIZE_LINEAR) {
            d->reason = obstacle;
        }
        return false;
    }
    if (target->opset < needed && (!may_raise || target->max_opset < needed)) {
        if (may_raise) {
            d->reason = "DequantizeLinear of this kind needs a newer opset, which a node of the "
                        "model prevents: foldable pattern";
        }
        return false;
    }
    *opset_wanted = needed;
    d->form = VQC_FORM_DEQUANTIZE;
    if (!is_fused_by_onnxruntime(d)) {
        d->reason = "ONNX Runtime runs this DequantizeLinear at every inference, slower than "
                    "float32";
    }
    d->grouping = choose_grouping(d, true);
    return true;
}

void vqc_int_prepare(vqc_decision *d, const vqc_target *target, const float *weights,
                     int64_t *opset_wanted)
{
    bool wants_dequantize = d->spec.pattern == VQC_PATTERN_DEQUANTIZE_LINEAR;

    d->bits = d->spec.bits;
    *opset_wanted = 0;
    if (d->is_static) {
        *opset_wanted = dequantize_opset(d);
        d->form = VQC_FORM_DEQUANTIZE;
        d->weight_codes = target->weight_codes;
        d->grouping = choose_grouping(d, true);
    } else if (d->spec.activations == VQC_ACTIVATIONS_DYNAMIC &&
               try_dynamic(d, target, opset_wanted)) {
        d->grouping = choose_grouping(d, true);
    } else if ((d->spec.pattern == VQC_PATTERN_MATMUL_NBITS ||
                (d->spec.pattern == VQC_PATTERN_AUTO &&
                 target->operators == VQC_OPERATORS_ONNXRUNTIME)) &&
               try_nbits(d)) {
        /* form and grouping are set */
    } else {
        if (d->spec.pattern == VQC_PATTERN_MATMUL_NBITS) {
            d->reason = "not a 2-D float32 weight of MatMul, Gemm or Gather: another pattern";
        }
        if (d->spec.pattern == VQC_PATTERN_AUTO || d->spec.pattern == VQC_PATTERN_MATMUL_NBITS) {
            wants_dequantize = is_fused_by_onnxruntime(d);
        }
        if (!wants_dequantize || !try_dequantize(d, target,
                                                 d->spec.pattern == VQC_PATTERN_DEQUANTIZE_LINEAR ||
                                                     target->objective == VQC_OBJECTIVE_SPEED,
                                                 opset_wanted)) {
            d->form = VQC_FORM_FOLDABLE;
            d->grouping = choose_grouping(d, false);
        }
    }
    choose_codes(d);
    d->scale_f16 = d->form == VQC_FORM_FOLDABLE && scales_fit_f16(d, weights);
}

bool vqc_int_reads_weights(const vqc_layer *layer, const vqc_weight_spec *spec)
{
    bool fused = spec->pattern == VQC_PATTERN_AUTO && vqc_layer_feeds_matmul(layer) &&
                 layer->dtype == VQC_DTYPE_FLOAT && layer->scope->opset >= 21;
    return spec->granularity != VQC_GRANULARITY_TENSOR && !fused;
}

bool vqc_int_codes_are_payload(const vqc_decision *decision)
{
    bool whole = decision->bits == 8 || decision->bits == 16;
    return whole &&
           (decision->form == VQC_FORM_DEQUANTIZE || decision->form == VQC_FORM_FOLDABLE ||
            decision->form == VQC_FORM_DYNAMIC_CONV || decision->form == VQC_FORM_GATHER_BLOCK);
}
