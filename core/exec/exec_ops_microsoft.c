/* com.microsoft: running ai.onnx operators inside others, and QGemm, MatMulIntegerToFloat, Gelu,
 * SkipLayerNormalization, .... */
#include "core/exec/exec_ops_microsoft.h"

#include <math.h>
#include <string.h>

#include "core/exec/working.h"
#include "core/graph.h"

/* ---- operators inside operators ---- */

vqc_status vqc_inner_shape(vqc_exec_call *outer, const char *op, int64_t version,
                           const vqc_buffer *const *inputs, size_t count, vqc_inner *inner)
{
    static char name[] = "x";
    static char *const names[] = {name, name, name, name, name, name, name, name};
    static const char domain[] = "";

    inner->op = vqc_exec_find("", op, version);
    if (inner->op == NULL || count > sizeof names / sizeof names[0]) {
        return vqc_exec_fail(outer, "needs %s of version %lld, which is missing", op,
                             (long long)version);
    }
    inner->node = *outer->node;
    inner->node.op_type = (char *)(uintptr_t)op;
    inner->node.domain = (char *)(uintptr_t)domain;
    inner->node.input = (char **)(uintptr_t)names;
    inner->node.n_input = count;
    inner->node.n_output = 1;
    memset(&inner->call, 0, sizeof inner->call);
    inner->call.node = &inner->node;
    inner->call.op = inner->op->op;
    inner->call.opset = version;
    inner->call.inputs = inputs;
    inner->call.input_count = count;
    inner->call.output_count = 1;
    inner->call.detail = inner->op->detail;
    inner->call.threads = outer->threads;
    inner->call.frame = outer->frame;
    inner->call.error = outer->error;
    return inner->op->shape(&inner->call);
}

vqc_status vqc_inner_run(vqc_inner *inner, vqc_buffer *out)
{
    vqc_buffer *outputs[1] = {out};

    if (inner->call.types[0].alias || inner->op->run == NULL) {
        memcpy(out->data, inner->call.inputs[0]->data, out->elements * out->width);
        return VQC_OK;
    }
    inner->call.outputs = outputs;
    return inner->op->run(&inner->call);
}

bool vqc_inner_buffer(vqc_exec_call *call, int32_t dtype, const int64_t *dims, size_t rank,
                      vqc_buffer *out)
{
    int64_t copy[VQC_EXEC_MAX_RANK] = {0};
    size_t size_bytes = 0;

    memcpy(copy, dims, rank * sizeof *copy);
    memset(out, 0, sizeof *out);
    out->dtype = dtype;
    out->rank = rank;
    out->width = vqc_exec_width(dtype);
    memcpy(out->dims, copy, sizeof out->dims);
    if (!vqc_exec_sizes(copy, rank, out->width, &out->elements, &size_bytes)) {
        (void)vqc_exec_fail(call, "a shape of rank %zu is too large", rank);
        return false;
    }
    out->data = vqc_exec_scratch(call, size_bytes + 1);
    return out->data != NULL;
}

/* ---- Gelu, FastGelu, BiasGelu, QuickGelu ---- */

typedef enum gelu_kind { GELU, FAST_GELU, QUICK_GELU } gelu_kind;
static const gelu_kind KIND_GELU = GELU;
static const gelu_kind KIND_FAST = FAST_GELU;
static const gelu_kind KIND_QUICK = QUICK_GELU;

/* QuickGelu takes no bias, the others one along the last axis. */
static vqc_status shape_gelu(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *bias = vqc_exec_input(call, 1);
    vqc_class class = vqc_class_of(x->dtype);

    if (class != VQC_CLASS_F32 && class != VQC_CLASS_F64) {
        return vqc_exec_fail(call, "got type %s, expected floats",
                             vqc_dtype_describe(x->dtype)->name);
    }
    if (bias != NULL && (bias->dtype != x->dtype || bias->rank != 1 || x->rank == 0 ||
                         bias->dims[0] != x->dims[x->rank - 1])) {
        return vqc_exec_fail(call, "bias: got %zu elements of type %s, expected the last axis of x",
                             bias->elements, vqc_dtype_describe(bias->dtype)->name);
    }
    vqc_exec_type_like(&call->types[0], x);
    return VQC_OK;
}

/* Hendrycks & Gimpel 2016: x Phi(x), its approximation by tanh, and x sigmoid(alpha x). */
static double gelu_value(gelu_kind kind, double x, double alpha)
{
    switch (kind) {
    case GELU:
        return 0.5 * x * (1.0 + erf(x * 0.70710678118654752440));
    case FAST_GELU:
        return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case QUICK_GELU:
        break;
    }
    return x / (1.0 + exp(-alpha * x));
}

static vqc_status run_gelu(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *bias = vqc_exec_input(call, 1);
    vqc_buffer *out = call->outputs[0];
    vqc_class class = vqc_class_of(x->dtype);
    double alpha = (double)vqc_node_attr_float(call->node, "alpha", 1.702f);
    gelu_kind kind = *(const gelu_kind *)call->detail;
    vqc_reader reader;
    vqc_view view;

    if (x->elements == 0) {
        return VQC_OK;
    }
    if (bias != NULL) {
        if (!vqc_view_broadcast(bias, x->dims, x->rank, &view)) {
            return vqc_exec_fail(call, "bias does not broadcast");
        }
        vqc_reader_start(&reader, &view);
    }
    for (size_t done = 0; done < x->elements; done += VQC_EXEC_CHUNK) {
        size_t n = x->elements - done < VQC_EXEC_CHUNK ? x->elements - done : VQC_EXEC_CHUNK;
        vqc_chunk values, add;
        unsigned char scratch[VQC_EXEC_CHUNK * sizeof(double)];

        vqc_element_load(x->dtype, x->data + done * x->width, n, &values);
        if (bias != NULL) {
            vqc_element_load(x->dtype, vqc_reader_next(&reader, n, scratch), n, &add);
        }
        for (size_t i = 0; i < n; i++) {
            if (class == VQC_CLASS_F32) {
                float sum = bias != NULL ? values.f32[i] + add.f32[i] : values.f32[i];
                values.f32[i] = (float)gelu_value(kind, (double)sum, alpha);
            } else {
                double sum = bias != NULL ? values.f64[i] + add.f64[i] : values.f64[i];
                values.f64[i] = gelu_value(kind, sum, alpha);
            }
        }
        vqc_element_store(out->dtype, class, &values, n, NULL, out->data + done * out->width);
    }
    return VQC_OK;
}

/* ---- SkipLayerNormalization, SkipSimplifiedLayerNormalization, SimplifiedLayerNormalization ----
 */

/* Which input is what; -1: none. */
typedef struct norm_roles {
    signed char skip, gamma, beta, bias;
    bool centred;              /* the mean is taken off */
    signed char mean, inv_std; /* outputs */
    signed char sum;
} norm_roles;

static const norm_roles SKIP_NORM = {1, 2, 3, 4, true, 1, 2, 3};
static const norm_roles SKIP_SIMPLE = {1, 2, -1, 3, false, 1, 2, 3};
static const norm_roles SIMPLE = {-1, 1, -1, -1, false, -1, 1, -1};

static vqc_status norm_axis(vqc_exec_call *call, size_t *axis)
{
    return vqc_exec_axis(call, vqc_node_attr_int(call->node, "axis", -1), call->inputs[0]->rank,
                         axis);
}

static vqc_status shape_norm(vqc_exec_call *call)
{
    const norm_roles *roles = call->detail;
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *skip = vqc_int_role(call, roles->skip);
    const signed char vectors[3] = {roles->gamma, roles->beta, roles->bias};
    int64_t width = 1;
    size_t axis;
    vqc_view view;

    if (vqc_class_of(x->dtype) != VQC_CLASS_F32) {
        return vqc_exec_fail(call, "got type %s, expected float32, float16 or bfloat16",
                             vqc_dtype_describe(x->dtype)->name);
    }
    if (norm_axis(call, &axis) != VQC_OK) {
        return VQC_ERR_MODEL;
    }
    for (size_t i = axis; i < x->rank; i++) {
        width *= x->dims[i];
    }
    if (skip != NULL &&
        (skip->dtype != x->dtype || !vqc_view_broadcast(skip, x->dims, x->rank, &view))) {
        return vqc_exec_fail(call, "skip does not have the shape and type of the input");
    }
    for (size_t i = 0; i < 3; i++) {
        const vqc_buffer *vector = vqc_int_role(call, vectors[i]);
        if (vector != NULL && ((int64_t)vector->elements != width || vector->dtype != x->dtype)) {
            return vqc_exec_fail(call, "input %d: got %zu elements of type %s, expected %lld of %s",
                                 vectors[i], vector->elements,
                                 vqc_dtype_describe(vector->dtype)->name, (long long)width,
                                 vqc_dtype_describe(x->dtype)->name);
        }
    }
    for (size_t i = 0; i < call->output_count; i++) {
        vqc_exec_type_like(&call->types[i], x);
        if ((int)i == roles->mean || (int)i == roles->inv_std) {
            call->types[i].dtype = VQC_DTYPE_FLOAT;
            for (size_t d = axis; d < x->rank; d++) {
                call->types[i].dims[d] = 1;
            }
        }
    }
    return VQC_OK;
}

/* One row of n values in x, normalized in place. */
static void normalize_row(float *x, size_t n, bool centred, float epsilon, const float *gamma,
                          const float *beta, float *mean_out, float *inv_std_out)
{
    double sum = 0.0;
    double squares = 0.0;
    float mean = 0.0f;
    float inv_std;

    for (size_t i = 0; centred && i < n; i++) {
        sum += (double)x[i];
    }
    mean = (float)(sum / (double)n);
    for (size_t i = 0; i < n; i++) {
        double off = (double)x[i] - sum / (double)n;
        squares += off * off;
    }
    inv_std = (float)(1.0 / sqrt(squares / (double)n + (double)epsilon));
    for (size_t i = 0; i < n; i++) {
        float value = (x[i] - mean) * inv_std * (gamma != NULL ? gamma[i] : 1.0f);
        x[i] = beta != NULL ? value + beta[i] : value;
    }
    if (mean_out != NULL) {
        *mean_out = mean;
    }
    if (inv_std_out != NULL) {
        *inv_std_out = inv_std;
    }
}

static const float *norm_vector(vqc_exec_call *call, int role, bool *ok)
{
    const vqc_buffer *buffer = vqc_int_role(call, role);
    const float *values = buffer == NULL ? NULL : vqc_exec_values(call, buffer, VQC_CLASS_F32);

    *ok = *ok && (buffer == NULL || values != NULL);
    return values;
}

/* Output `role` when the node has it. */
static vqc_buffer *norm_output(const vqc_exec_call *call, int role)
{
    return role >= 0 && (size_t)role < call->output_count ? call->outputs[role] : NULL;
}

/* The input plus skip and bias, in float. */
static float *norm_sum(vqc_exec_call *call, const norm_roles *roles, size_t width,
                       const float *bias)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *skip = vqc_int_role(call, roles->skip);
    float *sum = vqc_exec_scratch_array(call, x->elements + 1, 1, sizeof *sum, false);
    vqc_reader reader;
    vqc_view view;

    if (skip != NULL && vqc_view_broadcast(skip, x->dims, x->rank, &view)) {
        vqc_reader_start(&reader, &view);
    }
    for (size_t done = 0; sum != NULL && done < x->elements; done += VQC_EXEC_CHUNK) {
        size_t n = x->elements - done < VQC_EXEC_CHUNK ? x->elements - done : VQC_EXEC_CHUNK;
        unsigned char scratch[VQC_EXEC_CHUNK * sizeof(float)];
        vqc_chunk values, other;

        vqc_element_load(x->dtype, x->data + done * x->width, n, &values);
        if (skip != NULL) {
            vqc_element_load(skip->dtype, vqc_reader_next(&reader, n, scratch), n, &other);
        }
        for (size_t i = 0; i < n; i++) {
            float value = values.f32[i] + (skip != NULL ? other.f32[i] : 0.0f);
            sum[done + i] = bias != NULL ? value + bias[(done + i) % width] : value;
        }
    }
    return sum;
}

static void store_floats(const float *x, vqc_buffer *out)
{
    for (size_t done = 0; done < out->elements; done += VQC_EXEC_CHUNK) {
        size_t n = out->elements - done < VQC_EXEC_CHUNK ? out->elements - done : VQC_EXEC_CHUNK;
        vqc_chunk chunk;

        memcpy(chunk.f32, x + done, n * sizeof *x);
        vqc_element_store(out->dtype, VQC_CLASS_F32, &chunk, n, NULL,
                          out->data + done * out->width);
    }
}

static vqc_status run_norm(vqc_exec_call *call)
{
    const norm_roles *roles = call->detail;
    const vqc_buffer *x = call->inputs[0];
    vqc_buffer *mean = norm_output(call, roles->mean);
    vqc_buffer *inv_std = norm_output(call, roles->inv_std);
    float epsilon = vqc_node_attr_float(call->node, "epsilon", roles->skip >= 0 ? 1e-12f : 1e-5f);
    bool ok = true;
    const float *gamma = norm_vector(call, roles->gamma, &ok);
    const float *beta = norm_vector(call, roles->beta, &ok);
    const float *bias = norm_vector(call, roles->bias, &ok);
    size_t width = 1;
    size_t axis;
    float *sum;

    if (norm_axis(call, &axis) != VQC_OK || !ok) {
        return vqc_int_failed(call);
    }
    if (x->elements == 0) {
        return VQC_OK;
    }
    for (size_t i = axis; i < x->rank; i++) {
        width *= (size_t)x->dims[i];
    }
    sum = norm_sum(call, roles, width, bias);
    if (sum == NULL) {
        return vqc_int_failed(call);
    }
    if (norm_output(call, roles->sum) != NULL) {
        store_floats(sum, call->outputs[roles->sum]);
    }
    for (size_t row = 0; row < x->elements / width; row++) {
        normalize_row(sum + row * width, width, roles->centred, epsilon, gamma, beta,
                      mean == NULL ? NULL : (float *)(void *)mean->data + row,
                      inv_std == NULL ? NULL : (float *)(void *)inv_std->data + row);
    }
    store_floats(sum, call->outputs[0]);
    return VQC_OK;
}

/* ---- the table ---- */

static const vqc_int_roles QGEMM = {.a = 0,
                                    .a_scale = 1,
                                    .a_zero = 2,
                                    .b = 3,
                                    .b_scale = 4,
                                    .b_zero = 5,
                                    .bias = 6,
                                    .y_scale = 7,
                                    .y_zero = 8};
static const vqc_int_roles TO_FLOAT = {.a = 0,
                                       .b = 1,
                                       .a_scale = 2,
                                       .b_scale = 3,
                                       .a_zero = 4,
                                       .b_zero = 5,
                                       .bias = 6,
                                       .y_scale = -1,
                                       .y_zero = -1};
static const vqc_int_roles DYNAMIC = {.a = 0,
                                      .b = 1,
                                      .b_scale = 2,
                                      .b_zero = 3,
                                      .bias = 4,
                                      .a_scale = -1,
                                      .a_zero = -1,
                                      .y_scale = -1,
                                      .y_zero = -1};

#define MATMUL(name, least, roles)                                                                 \
    VQC_EXEC_ROW(name, "com.microsoft", 1, least, vqc_int_matmul_shape, vqc_int_matmul_run,        \
                 .detail = &(roles), .prepare = vqc_int_matmul_prepare,                            \
                 .release = vqc_int_release)
#define ROW(name, least, shape, run, what)                                                         \
    VQC_EXEC_ROW(name, "com.microsoft", 1, least, shape, run, .detail = &(what))

static const vqc_exec_op OPS[] = {
    MATMUL("QGemm", 6, QGEMM),
    MATMUL("MatMulIntegerToFloat", 4, TO_FLOAT),
    MATMUL("DynamicQuantizeMatMul", 3, DYNAMIC),
    ROW("Gelu", 1, shape_gelu, run_gelu, KIND_GELU),
    ROW("BiasGelu", 2, shape_gelu, run_gelu, KIND_GELU),
    ROW("FastGelu", 1, shape_gelu, run_gelu, KIND_FAST),
    ROW("QuickGelu", 1, shape_gelu, run_gelu, KIND_QUICK),
    ROW("SkipLayerNormalization", 3, shape_norm, run_norm, SKIP_NORM),
    ROW("SkipSimplifiedLayerNormalization", 3, shape_norm, run_norm, SKIP_SIMPLE),
    VQC_EXEC_ROW("SimplifiedLayerNormalization", "", 1, 2, shape_norm, run_norm, .detail = &SIMPLE),
};

const vqc_exec_family vqc_exec_ops_microsoft = {OPS, sizeof OPS / sizeof OPS[0]};
