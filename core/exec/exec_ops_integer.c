/* MatMulInteger, QLinearConv, ...: the table, and what the quantized operators share. */
#include "core/exec/exec_ops_integer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/kernels.h"

vqc_status vqc_int_failed(const vqc_exec_call *call)
{
    return call->error != NULL && call->error->code != VQC_OK ? call->error->code : VQC_ERR_MODEL;
}

bool vqc_int_is_codes(const vqc_buffer *buffer)
{
    return buffer->dtype == VQC_DTYPE_UINT8 || buffer->dtype == VQC_DTYPE_INT8;
}

bool vqc_int_is_given(const vqc_exec_call *call, int role)
{
    return role >= 0 && (size_t)role < call->node->n_input && call->node->input[role] != NULL &&
           call->node->input[role][0] != '\0';
}

const vqc_buffer *vqc_int_role(const vqc_exec_call *call, int role)
{
    return role < 0 ? NULL : vqc_exec_input(call, (size_t)role);
}

void vqc_int_release(void *prepared)
{
    free(prepared);
}

vqc_status vqc_int_float(vqc_exec_call *call, const vqc_buffer *buffer, const char *what,
                         float fallback, float *value)
{
    vqc_chunk chunk;

    *value = fallback;
    if (buffer == NULL) {
        return VQC_OK;
    }
    if (buffer->elements != 1 || vqc_class_of(buffer->dtype) != VQC_CLASS_F32) {
        return vqc_exec_fail(call, "%s: got %zu elements of type %s, expected one float", what,
                             buffer->elements, vqc_dtype_describe(buffer->dtype)->name);
    }
    vqc_element_load(buffer->dtype, buffer->data, 1, &chunk);
    *value = chunk.f32[0];
    return VQC_OK;
}

vqc_status vqc_int_zero(vqc_exec_call *call, const vqc_buffer *buffer, const char *what,
                        int32_t dtype, int32_t *value)
{
    *value = 0;
    if (buffer == NULL) {
        return VQC_OK;
    }
    if (buffer->elements != 1 || buffer->dtype != dtype) {
        return vqc_exec_fail(call, "%s: got %zu elements of type %s, expected one of type %s", what,
                             buffer->elements, vqc_dtype_describe(buffer->dtype)->name,
                             vqc_dtype_describe(dtype)->name);
    }
    *value = (int32_t)vqc_element_int(buffer->dtype, buffer->data, 0);
    return VQC_OK;
}

/* The buffer as n elements of a class of 4 bytes, in scratch memory. */
static void *load_all(vqc_exec_call *call, const vqc_buffer *buffer, const char *what, size_t n,
                      bool floats)
{
    vqc_class class = vqc_class_of(buffer->dtype);
    size_t size_bytes;
    char *target;

    if ((buffer->elements != n && buffer->elements != 1) ||
        (floats ? class != VQC_CLASS_F32 : class != VQC_CLASS_I64 && class != VQC_CLASS_U64)) {
        (void)vqc_exec_fail(call, "%s: got %zu elements of type %s, expected 1 or %zu %s", what,
                            buffer->elements, vqc_dtype_describe(buffer->dtype)->name, n,
                            floats ? "floats" : "integers");
        return NULL;
    }
    if (!vqc_size_mul(n, sizeof(int32_t), &size_bytes)) {
        (void)vqc_fail_memory(call->error, n);
        return NULL;
    }
    target = vqc_exec_scratch(call, size_bytes);
    for (size_t done = 0; target != NULL && done < n; done += VQC_EXEC_CHUNK) {
        size_t count = n - done < VQC_EXEC_CHUNK ? n - done : VQC_EXEC_CHUNK;
        vqc_chunk chunk;

        if (buffer->elements == 1) {
            vqc_element_load(buffer->dtype, buffer->data, 1, &chunk);
            for (size_t i = 1; i < count; i++) {
                if (floats) {
                    chunk.f32[i] = chunk.f32[0];
                } else {
                    chunk.u64[i] = chunk.u64[0];
                }
            }
        } else {
            vqc_element_load(buffer->dtype, buffer->data + done * buffer->width, count, &chunk);
        }
        vqc_element_store(floats ? VQC_DTYPE_FLOAT : VQC_DTYPE_INT32, class, &chunk, count, NULL,
                          target + done * sizeof(int32_t));
    }
    return target;
}

float *vqc_int_floats(vqc_exec_call *call, const vqc_buffer *buffer, const char *what, size_t n)
{
    return load_all(call, buffer, what, n, true);
}

int32_t *vqc_int_ints(vqc_exec_call *call, const vqc_buffer *buffer, const char *what, size_t n)
{
    return load_all(call, buffer, what, n, false);
}

/* ---- DynamicQuantizeLinear ---- */

void vqc_int_quantize_dynamic(const float *x, size_t n, float *scale, uint8_t *zero_point,
                              uint8_t *codes)
{
    const vqc_kernels *k = vqc_kernels_get();
    float min = 0.0f;
    float max = 0.0f;
    float zero;

    k->f32_minmax(x, n, &min, &max);
    *scale = max == min ? 1.0f : (max - min) / 255.0f;
    zero = nearbyintf(fminf(fmaxf(0.0f - min / *scale, 0.0f), 255.0f));
    *zero_point = (uint8_t)zero;
    k->f32_u8_divide_quantize(x, n, *scale, *zero_point, codes);
}

static vqc_status shape_dynamic(vqc_exec_call *call)
{
    if (call->inputs[0]->dtype != VQC_DTYPE_FLOAT || call->output_count != 3) {
        return vqc_exec_fail(call, "got type %s and %zu outputs, expected float32 and 3",
                             vqc_dtype_describe(call->inputs[0]->dtype)->name, call->output_count);
    }
    vqc_exec_type_like(&call->types[0], call->inputs[0]);
    call->types[0].dtype = VQC_DTYPE_UINT8;
    call->types[1].dtype = VQC_DTYPE_FLOAT;
    call->types[2].dtype = VQC_DTYPE_UINT8;
    return VQC_OK;
}

static vqc_status run_dynamic(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    float scale;

    vqc_int_quantize_dynamic((const float *)(const void *)x->data, x->elements, &scale,
                             call->outputs[2]->data, call->outputs[0]->data);
    memcpy(call->outputs[1]->data, &scale, sizeof scale);
    return VQC_OK;
}

/* ---- the table ---- */

static const vqc_int_roles MATMUL_INTEGER = {.a = 0,
                                             .b = 1,
                                             .a_zero = 2,
                                             .b_zero = 3,
                                             .a_scale = -1,
                                             .b_scale = -1,
                                             .bias = -1,
                                             .y_scale = -1,
                                             .y_zero = -1};
static const vqc_int_roles QLINEAR_MATMUL = {.a = 0,
                                             .a_scale = 1,
                                             .a_zero = 2,
                                             .b = 3,
                                             .b_scale = 4,
                                             .b_zero = 5,
                                             .y_scale = 6,
                                             .y_zero = 7,
                                             .bias = -1};
static const vqc_int_roles QLINEAR_CONV = {.a = 0,
                                           .a_scale = 1,
                                           .a_zero = 2,
                                           .b = 3,
                                           .b_scale = 4,
                                           .b_zero = 5,
                                           .y_scale = 6,
                                           .y_zero = 7,
                                           .bias = 8};

#define CONV(name, least, roles)                                                                   \
    VQC_EXEC_ROW(name, "", 10, least, vqc_int_conv_shape, vqc_int_conv_run, .detail = &(roles),    \
                 .prepare = vqc_int_conv_prepare, .release = vqc_int_release)
#define MATMUL(name, since, least, roles)                                                          \
    VQC_EXEC_ROW(name, "", since, least, vqc_int_matmul_shape, vqc_int_matmul_run,                 \
                 .detail = &(roles), .prepare = vqc_int_matmul_prepare,                            \
                 .release = vqc_int_release)

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("DynamicQuantizeLinear", "", 11, 1, shape_dynamic, run_dynamic, .detail = NULL),
    MATMUL("MatMulInteger", 10, 2, MATMUL_INTEGER),
    MATMUL("QLinearMatMul", 10, 8, QLINEAR_MATMUL),
    CONV("ConvInteger", 2, MATMUL_INTEGER),
    CONV("QLinearConv", 8, QLINEAR_CONV),
};

const vqc_exec_family vqc_exec_ops_integer = {OPS, sizeof OPS / sizeof OPS[0]};
