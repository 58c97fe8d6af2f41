/* Weights back to float32, from constant expressions and from the codes of quantized operators. */
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/exec/element.h"
#include "core/inspect_weight.h"
#include "core/layer.h"

vqc_status vqc_weights_evaluate(vqc_weights *weights, const vqc_value *value, vqc_buffer **out,
                                vqc_error *error)
{
    vqc_exec_limits limits = {0, &weights->work_left, true};

    return vqc_exec_constant(weights->graph, value, &limits, out, error);
}

vqc_status vqc_buffer_to_f32(const vqc_buffer *buffer, float **out, vqc_error *error)
{
    vqc_class class = vqc_class_of(buffer->dtype);
    size_t size_bytes;
    vqc_chunk chunk;

    *out = NULL;
    if (class == VQC_CLASS_NONE || !vqc_size_mul(buffer->elements, sizeof **out, &size_bytes)) {
        return vqc_fail(error, VQC_ERR_MODEL, "got data type %s, expected numbers",
                        vqc_dtype_describe(buffer->dtype)->name);
    }
    *out = malloc(size_bytes > 0 ? size_bytes : 1);
    if (*out == NULL) {
        return vqc_fail_memory(error, size_bytes);
    }
    for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t left = buffer->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, class, VQC_CLASS_F32, n);
        memcpy(*out + at, chunk.f32, n * sizeof(float));
    }
    return VQC_OK;
}

/* ---- codes of quantized operators ---- */

/* Everything that decoding codes needs, evaluated. */
typedef struct codes {
    const vqc_weight *weight;
    vqc_buffer *q;
    float *scales;
    size_t scale_count;
    float *zeros;             /* one per scale, or NULL */
    vqc_buffer *packed_zeros; /* MatMulNBits, GatherBlockQuantized: as they are stored */
} codes;

static void codes_clear(codes *self)
{
    vqc_buffer_destroy(&self->q);
    vqc_buffer_destroy(&self->packed_zeros);
    free(self->scales);
    free(self->zeros);
}

static vqc_status load_codes(vqc_weights *weights, codes *self, vqc_error *error)
{
    const vqc_weight *weight = self->weight;
    vqc_buffer *buffer = NULL;
    vqc_status status;

    if (weight->scale == NULL) {
        return vqc_fail(error, VQC_ERR_MODEL, "its scale is not a constant that could be found");
    }
    status = vqc_weights_evaluate(weights, weight->value, &self->q, error);
    if (status == VQC_OK) {
        status = vqc_weights_evaluate(weights, weight->scale, &buffer, error);
    }
    if (status == VQC_OK) {
        self->scale_count = buffer->elements;
        status = vqc_buffer_to_f32(buffer, &self->scales, error);
    }
    vqc_buffer_destroy(&buffer);
    if (status == VQC_OK && weight->zero != NULL) {
        status = vqc_weights_evaluate(weights, weight->zero, &self->packed_zeros, error);
    }
    if (status == VQC_OK && vqc_class_of(self->q->dtype) == VQC_CLASS_NONE) {
        status = vqc_fail(error, VQC_ERR_MODEL, "its codes are not numbers");
    }
    return status;
}

/* Zero points of the plain layouts: one for all, or one per scale. */
static vqc_status load_zeros(codes *self, vqc_error *error)
{
    size_t count = self->packed_zeros == NULL ? 0 : self->packed_zeros->elements;

    if (count == 0) {
        return VQC_OK;
    }
    if (count != 1 && count != self->scale_count) {
        return vqc_fail(error, VQC_ERR_MODEL, "got %zu zero points for %zu scales", count,
                        self->scale_count);
    }
    return vqc_buffer_to_f32(self->packed_zeros, &self->zeros, error);
}

/* Axis along which scales run, and how many lie before it; count 1 when there is one scale for all.
 */
static vqc_status plain_axis(const codes *self, size_t *axis, vqc_error *error)
{
    const vqc_buffer *q = self->q;
    vqc_scale_rule rule = self->weight->quantized->rule;
    bool trans_b = vqc_node_attr_int(self->weight->node, "transB", 0) != 0;

    *axis = q->rank == 0 ? 0 : q->rank - 1;
    if (rule == VQC_SCALE_FIRST || (rule == VQC_SCALE_GEMM && trans_b)) {
        *axis = 0;
    }
    if (self->scale_count == 1 ||
        (q->rank > 0 && self->scale_count == (size_t)q->dims[*axis] && rule != VQC_SCALE_LSTM) ||
        (rule == VQC_SCALE_LSTM && q->rank == 3 &&
         (self->scale_count == (size_t)q->dims[0] ||
          self->scale_count == (size_t)q->dims[0] * (size_t)q->dims[2]))) {
        return VQC_OK;
    }
    return vqc_fail(error, VQC_ERR_MODEL, "got %zu scales for a weight that does not have them",
                    self->scale_count);
}

/* Which scale belongs to element i. */
static size_t scale_index(const codes *self, size_t axis, size_t inner, size_t i)
{
    const vqc_buffer *q = self->q;

    if (self->scale_count == 1) {
        return 0;
    }
    if (self->weight->quantized->rule == VQC_SCALE_LSTM) {
        size_t columns = (size_t)q->dims[2];
        size_t direction = i / (columns * (size_t)q->dims[1]);
        return self->scale_count == (size_t)q->dims[0] ? direction
                                                       : direction * columns + i % columns;
    }
    return i / inner % (size_t)q->dims[axis];
}

/* (q - zero_point) * scale in float32. */
static vqc_status decode_plain(codes *self, float *out, vqc_error *error)
{
    const vqc_buffer *q = self->q;
    vqc_class class = vqc_class_of(q->dtype);
    size_t axis;
    size_t inner = 1;
    vqc_chunk chunk;
    vqc_status status = load_zeros(self, error);

    if (status == VQC_OK) {
        status = plain_axis(self, &axis, error);
    }
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = axis + 1; i < q->rank; i++) {
        inner *= (size_t)q->dims[i];
    }
    for (size_t at = 0; at < q->elements; at += VQC_EXEC_CHUNK) {
        size_t left = q->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;

        vqc_element_load(q->dtype, q->data + at * q->width, n, &chunk);
        vqc_element_convert(&chunk, class, VQC_CLASS_F32, n);
        for (size_t i = 0; i < n; i++) {
            size_t s = scale_index(self, axis, inner, at + i);
            float zero = self->zeros == NULL                 ? 0.0f
                         : self->packed_zeros->elements == 1 ? self->zeros[0]
                                                             : self->zeros[s];
            out[at + i] = (chunk.f32[i] - zero) * self->scales[s];
        }
    }
    return VQC_OK;
}

/* Field `index` of `bits` bits in a packed row, low bits first. */
static unsigned field(const unsigned char *row, size_t index, unsigned bits)
{
    size_t position = index * bits;

    return (unsigned)row[position / 8] >> position % 8 & ((1u << bits) - 1);
}

/* com.microsoft MatMulNBits: B [N, blocks, block_size * bits / 8], scales [N * blocks], zero points
 * packed per row [N, ceil(blocks * bits / 8)] or of the scales' type [N * blocks]; the middle code
 * without. */
static vqc_status decode_nbits(codes *self, float *out, vqc_error *error)
{
    const Onnx__NodeProto *node = self->weight->node;
    int64_t k_size = vqc_node_attr_int(node, "K", 0);
    int64_t n_size = vqc_node_attr_int(node, "N", 0);
    int64_t bits = vqc_node_attr_int(node, "bits", 4);
    int64_t block = vqc_node_attr_int(node, "block_size", 0);
    bool packed = self->packed_zeros != NULL && self->packed_zeros->dtype == VQC_DTYPE_UINT8;
    size_t blocks;
    size_t blob;
    size_t zero_row;

    if ((bits != 2 && bits != 4 && bits != 8) || block < 16 || block > 1 << 20 || k_size < 1 ||
        n_size < 1 || self->q->dtype != VQC_DTYPE_UINT8) {
        return vqc_fail(error, VQC_ERR_MODEL, "its attributes are not those of the operator");
    }
    if (node->n_input > 4 && node->input[4] != NULL && node->input[4][0] != '\0') {
        return vqc_fail(error, VQC_ERR_MODEL, "g_idx: reordered rows are not decoded here");
    }
    blocks = ((size_t)k_size + (size_t)block - 1) / (size_t)block;
    blob = (size_t)block * (size_t)bits / 8;
    zero_row = (blocks * (size_t)bits + 7) / 8;
    if (self->q->elements / blob / blocks != (size_t)n_size ||
        self->q->elements % (blob * blocks) != 0 || self->scale_count != (size_t)n_size * blocks ||
        (self->packed_zeros != NULL &&
         self->packed_zeros->elements != (size_t)n_size * (packed ? zero_row : blocks))) {
        return vqc_fail(error, VQC_ERR_MODEL, "sizes of codes, scales and zero points disagree");
    }
    if (self->packed_zeros != NULL && !packed &&
        vqc_buffer_to_f32(self->packed_zeros, &self->zeros, error) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    for (size_t n = 0; n < (size_t)n_size; n++) {
        for (size_t k = 0; k < (size_t)k_size; k++) {
            size_t b = k / (size_t)block;
            const unsigned char *row = self->q->data + (n * blocks + b) * blob;
            float zero = (float)(1u << (bits - 1));

            if (packed) {
                zero = (float)field(self->packed_zeros->data + n * zero_row, b, (unsigned)bits);
            } else if (self->zeros != NULL) {
                zero = self->zeros[n * blocks + b];
            }
            out[n * (size_t)k_size + k] =
                ((float)field(row, k % (size_t)block, (unsigned)bits) - zero) *
                self->scales[n * blocks + b];
        }
    }
    return VQC_OK;
}

/* com.microsoft GatherBlockQuantized: int4, uint4 or uint8 (`bits` each, packed along the last
 * axis), a scale per block along quantize_axis. */
static vqc_status decode_gather_blocks(codes *self, float *out, vqc_error *error)
{
    const vqc_weight *weight = self->weight;
    const Onnx__NodeProto *node = weight->node;
    int64_t axis = vqc_node_attr_int(node, "quantize_axis", 1);
    int64_t block = vqc_node_attr_int(node, "block_size", 128);
    unsigned bits = self->q->dtype == VQC_DTYPE_UINT8 ? (unsigned)vqc_node_attr_int(node, "bits", 4)
                                                      : 8; /* int4 and uint4 lie in bytes here */
    bool in_bytes = self->q->dtype != VQC_DTYPE_UINT8 || bits == 8;
    float middle = self->q->dtype == VQC_DTYPE_UINT8 ? (float)(1u << (bits - 1)) : 0.0f;
    size_t inner = 1;
    size_t extent;
    size_t blocks;
    size_t zero_row;

    axis += axis < 0 ? (int64_t)weight->rank : 0;
    if (axis < 0 || (uint64_t)axis >= weight->rank || block < 1) {
        return vqc_fail(error, VQC_ERR_MODEL, "its attributes are not those of the operator");
    }
    for (size_t i = (size_t)axis + 1; i < weight->rank; i++) {
        inner *= (size_t)weight->dims[i];
    }
    extent = (size_t)weight->dims[axis];
    blocks = (extent + (size_t)block - 1) / (size_t)block;
    if (weight->elements == 0 || self->scale_count != weight->elements / extent * blocks ||
        self->q->elements != weight->elements * (in_bytes ? 8 : bits) / 8) {
        return vqc_fail(error, VQC_ERR_MODEL, "sizes of codes and scales disagree");
    }
    /* packed zero points fill whole bytes per row of the last axis */
    zero_row = in_bytes || inner > 1 ? blocks : (blocks * bits + 7) / 8;
    if (self->packed_zeros != NULL && !in_bytes && inner > 1) {
        return vqc_fail(error, VQC_ERR_MODEL, "packed zero points off the last axis");
    }
    if (self->packed_zeros != NULL &&
        self->packed_zeros->elements < self->scale_count / blocks * zero_row) {
        return vqc_fail(error, VQC_ERR_MODEL, "sizes of scales and zero points disagree");
    }
    for (size_t i = 0; i < weight->elements; i++) {
        size_t scale =
            (i / (inner * extent) * blocks + i / inner % extent / (size_t)block) * inner +
            i % inner;
        float code;
        float zero = middle;

        if (!in_bytes) {
            code = (float)field(self->q->data, i, bits);
        } else {
            code = (float)vqc_element_int(self->q->dtype, self->q->data, i);
        }
        if (self->packed_zeros != NULL) {
            zero = in_bytes ? (float)vqc_element_int(self->packed_zeros->dtype,
                                                     self->packed_zeros->data, scale)
                            : (float)field(self->packed_zeros->data + scale / blocks * zero_row,
                                           scale % blocks, bits);
        }
        out[i] = (code - zero) * self->scales[scale];
    }
    return VQC_OK;
}

/* out [.., C, R] = in [.., R, C] */
static void transpose_last(const float *in, float *out, const int64_t *dims, size_t rank)
{
    size_t rows = (size_t)dims[rank - 2];
    size_t columns = (size_t)dims[rank - 1];
    size_t outer = 1;

    for (size_t i = 0; i + 2 < rank; i++) {
        outer *= (size_t)dims[i];
    }
    for (size_t o = 0; o < outer; o++) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t c = 0; c < columns; c++) {
                out[(o * columns + c) * rows + r] = in[(o * rows + r) * columns + c];
            }
        }
    }
}

/* Turns the last two axes of *values round; dims follow. */
static vqc_status turn(float **values, int64_t *dims, size_t rank, size_t elements,
                       vqc_error *error)
{
    float *turned = malloc(elements * sizeof *turned + 1);
    int64_t rows = dims[rank - 2];

    if (turned == NULL) {
        return vqc_fail_memory(error, elements * sizeof *turned);
    }
    transpose_last(*values, turned, dims, rank);
    free(*values);
    *values = turned;
    dims[rank - 2] = dims[rank - 1];
    dims[rank - 1] = rows;
    return VQC_OK;
}

static vqc_status decode_codes(vqc_weights *weights, const vqc_weight *weight, float **out,
                               int64_t *dims, size_t *rank, vqc_error *error)
{
    codes self = {.weight = weight};
    vqc_status status = load_codes(weights, &self, error);

    if (status == VQC_OK) {
        *out = malloc(weight->elements * sizeof **out + 1);
        status = *out == NULL ? vqc_fail_memory(error, weight->elements * sizeof **out) : VQC_OK;
    }
    if (status == VQC_OK && weight->quantized->rule == VQC_SCALE_NBITS) {
        status = decode_nbits(&self, *out, error);
    } else if (status == VQC_OK && weight->quantized->rule == VQC_SCALE_GATHER) {
        status = decode_gather_blocks(&self, *out, error);
    } else if (status == VQC_OK && self.q->elements != weight->elements) {
        status = vqc_fail(error, VQC_ERR_MODEL, "sizes of codes and weight disagree");
    } else if (status == VQC_OK) {
        status = decode_plain(&self, *out, error);
    }
    *rank = weight->rank;
    memcpy(dims, weight->dims, weight->rank * sizeof *dims);
    codes_clear(&self);
    return status;
}

/* Whether the node reads this matrix as its transpose (Gemm, FusedMatMul, QGemm). */
static bool reads_transposed(const vqc_weight *weight)
{
    const char *attr = weight->float_input == 0 ? "transA" : "transB";

    return strstr(weight->node->op_type, "MatMul") != NULL ||
                   strstr(weight->node->op_type, "Gemm") != NULL
               ? vqc_node_attr_int(weight->node, attr, 0) != 0
               : false;
}

vqc_status vqc_weight_decode(vqc_weights *weights, const vqc_weight *weight, bool as_operand,
                             float **out, int64_t *dims, size_t *rank, vqc_error *error)
{
    vqc_buffer *buffer = NULL;
    size_t elements = weight->elements;
    bool transposed = as_operand && reads_transposed(weight);
    vqc_status status;

    *out = NULL;
    *rank = 0;
    if (weight->quantized != NULL) {
        transposed = transposed || (as_operand && weight->quantized->transposed);
        status = decode_codes(weights, weight, out, dims, rank, error);
    } else {
        status = vqc_weights_evaluate(weights, as_operand ? weight->operand : weight->value,
                                      &buffer, error);
        if (status == VQC_OK) {
            *rank = buffer->rank;
            elements = buffer->elements;
            memcpy(dims, buffer->dims, buffer->rank * sizeof *dims);
            status = vqc_buffer_to_f32(buffer, out, error);
        }
        vqc_buffer_destroy(&buffer);
    }
    if (status == VQC_OK && transposed && *rank >= 2) {
        status = turn(out, dims, *rank, elements, error);
    }
    if (status != VQC_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- what to call it ---- */

bool vqc_weight_is_plain(const vqc_weight *weight)
{
    const Onnx__TensorProto *tensor = vqc_value_stored_tensor(weight->value);

    return weight->quantized == NULL && tensor != NULL;
}

static const vqc_value *input_of(const vqc_weights *weights, const vqc_value *value, size_t input)
{
    const Onnx__NodeProto *node = value->producer;

    return node == NULL || input >= node->n_input || node->input[input][0] == '\0'
               ? NULL
               : vqc_scope_resolve(weights->graph, value->scope, node->input[input]);
}

/* The stored tensor with most bits behind a constant expression; looks at the first inputs only so
 * far down as chains of our own patterns go. */
static const Onnx__TensorProto *largest_tensor(const vqc_weights *weights, const vqc_value *value,
                                               int depth)
{
    const Onnx__TensorProto *best = vqc_value_stored_tensor(value);
    size_t best_bytes = 0;

    if (best != NULL || value->producer == NULL || depth > 12) {
        return best;
    }
    for (size_t i = 0; i < value->producer->n_input && i < 2; i++) {
        const vqc_value *input = input_of(weights, value, i);
        const Onnx__TensorProto *tensor =
            input == NULL ? NULL : largest_tensor(weights, input, depth + 1);
        size_t elements;
        size_t size_bytes = 0;

        if (tensor != NULL) {
            size_t width = vqc_exec_width(tensor->data_type);
            elements = 1;
            if (!vqc_exec_sizes(tensor->dims, tensor->n_dims, width, &elements, &size_bytes)) {
                continue;
            }
        }
        if (tensor != NULL && (best == NULL || size_bytes > best_bytes)) {
            best = tensor;
            best_bytes = size_bytes;
        }
    }
    return best;
}

static const char *granularity(const Onnx__NodeProto *node, const vqc_value *scale)
{
    const Onnx__TensorProto *tensor = scale == NULL ? NULL : vqc_value_stored_tensor(scale);

    if (vqc_node_attr_int(node, "block_size", 0) > 0) {
        return "block";
    }
    for (size_t i = 0; tensor != NULL && i < tensor->n_dims; i++) {
        if (tensor->dims[i] != 1) {
            return "channel";
        }
    }
    return "tensor";
}

/* A zero point that is there and not all zero bytes. */
static bool is_asymmetric(vqc_weights *weights, const vqc_value *zero)
{
    const Onnx__TensorProto *tensor = zero == NULL ? NULL : vqc_value_stored_tensor(zero);
    vqc_buffer *buffer = NULL;
    bool found = false;
    float middle = 0.0f;
    float *values = NULL;

    if (tensor == NULL || vqc_weights_evaluate(weights, zero, &buffer, NULL) != VQC_OK) {
        return false;
    }
    if (vqc_class_of(buffer->dtype) ==
        VQC_CLASS_U64) { /* unsigned codes: the middle is symmetric */
        middle = (float)(1u << (vqc_dtype_describe(buffer->dtype)->bits - 1) % 31);
    }
    if (vqc_buffer_to_f32(buffer, &values, NULL) == VQC_OK) {
        for (size_t i = 0; i < buffer->elements; i++) {
            found = found || (values[i] != 0.0f && values[i] != middle);
        }
    }
    free(values);
    vqc_buffer_destroy(&buffer);
    return found;
}

const char *vqc_weight_codec(vqc_weights *weights, const vqc_weight *weight, vqc_arena *arena)
{
    const Onnx__TensorProto *tensor = vqc_value_stored_tensor(weight->value);
    const Onnx__NodeProto *node = weight->value->producer;
    const vqc_value *stored;
    const char *form;
    long long block;

    if (weight->quantized != NULL) {
        const char *dtype = tensor == NULL ? "codes" : vqc_dtype_describe(tensor->data_type)->name;
        const char *asym =
            weight->zero != NULL && is_asymmetric(weights, weight->zero) ? " asym" : "";
        block = vqc_node_attr_int(weight->node, "block_size", 0);
        if (weight->quantized->rule == VQC_SCALE_NBITS) {
            return vqc_arena_printf(arena, "int%lld block %lld%s",
                                    (long long)vqc_node_attr_int(weight->node, "bits", 4), block,
                                    weight->zero != NULL ? " asym" : "");
        }
        return block > 0 ? vqc_arena_printf(arena, "%s block %lld%s", dtype, block, asym)
                         : vqc_arena_printf(arena, "%s %s%s", dtype,
                                            granularity(weight->node, weight->scale), asym);
    }
    if (tensor != NULL) {
        return vqc_dtype_describe(tensor->data_type)->name;
    }
    stored = vqc_weight_stored_codes(weights, weight->value, &form);
    tensor = largest_tensor(weights, stored != NULL ? stored : weight->value, 0);
    if (tensor == NULL) {
        return "computed";
    }
    if (stored != NULL && vqc_class_of(tensor->data_type) == VQC_CLASS_F32) {
        return vqc_dtype_describe(tensor->data_type)->name;
    }
    if (node != NULL && vqc_node_is(node, "Reshape") &&
        input_of(weights, weight->value, 0) != NULL) {
        node = input_of(weights, weight->value, 0)->producer;
    }
    if (node == weight->value->producer && node != NULL &&
        strcmp(node->op_type, "DequantizeLinear") == 0 &&
        input_of(weights, weight->value, 0) != NULL &&
        vqc_value_stored_tensor(input_of(weights, weight->value, 0)) != NULL) {
        const char *asym =
            is_asymmetric(weights, input_of(weights, weight->value, 2)) ? " asym" : "";
        block = vqc_node_attr_int(node, "block_size", 0);
        if (block > 0) {
            return vqc_arena_printf(arena, "%s block %lld%s",
                                    vqc_dtype_describe(tensor->data_type)->name, block, asym);
        }
        return vqc_arena_printf(arena, "%s %s%s", vqc_dtype_describe(tensor->data_type)->name,
                                granularity(node, input_of(weights, weight->value, 1)), asym);
    }
    if (node != NULL && vqc_node_is(node, "Cast") &&
        vqc_class_of(tensor->data_type) == VQC_CLASS_F32) {
        return vqc_dtype_describe(tensor->data_type)->name;
    }
    return vqc_arena_printf(arena, "%s codes", vqc_dtype_describe(tensor->data_type)->name);
}

const char *vqc_weight_pattern(const vqc_weight *weight)
{
    if (weight->quantized != NULL) {
        return weight->node->op_type;
    }
    if (weight->value->producer == NULL || vqc_value_stored_tensor(weight->value) != NULL) {
        return "";
    }
    return strcmp(weight->value->producer->op_type, "DequantizeLinear") == 0 ? "DequantizeLinear"
                                                                             : "foldable";
}
