/* Pad and CenterCropPad: a copy with a border, or with one cut away. */
#include <string.h>

#include "core/exec/exec_index.h"
#include "core/exec/exec_op.h"
#include "core/graph.h"
#include "core/memory.h"

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP } pad_mode;

/* Elements before and after each axis; negative ones cut away. */
typedef struct borders {
    int64_t before[VQC_EXEC_MAX_RANK];
    int64_t after[VQC_EXEC_MAX_RANK];
    pad_mode mode;
} borders;

/* ---- Pad ---- */

/* Versions 1 and 2 have the widths as an attribute, 11 and on as an input; axes since 18. */
static vqc_status pad_widths(vqc_exec_call *call, borders *out)
{
    size_t rank = call->inputs[0]->rank;
    const vqc_buffer *axes_input = call->opset >= 18 ? vqc_exec_input(call, 3) : NULL;
    int64_t pads[2 * VQC_EXEC_MAX_RANK];
    int64_t axes[VQC_EXEC_MAX_RANK];
    size_t count = 0;
    size_t axis_count = rank;
    unsigned seen = 0;
    bool given;
    vqc_status status;

    status = vqc_exec_ints_of(call, call->opset < 2 ? "paddings" : "pads",
                              call->opset >= 11 ? 1 : SIZE_MAX, pads, 2 * VQC_EXEC_MAX_RANK, &count,
                              &given);
    if (status == VQC_OK && axes_input != NULL) {
        status = vqc_exec_ints(call, axes_input, axes, VQC_EXEC_MAX_RANK, &axis_count);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (!given || count != 2 * axis_count) {
        return vqc_exec_fail(call, "pads: got %zu values, expected %zu", count, 2 * axis_count);
    }
    for (size_t i = 0; i < axis_count; i++) {
        size_t axis = i;
        if (axes_input != NULL && vqc_exec_axis(call, axes[i], rank, &axis) != VQC_OK) {
            return VQC_ERR_MODEL;
        }
        if ((seen >> axis & 1) != 0) {
            return vqc_exec_fail(call, "axes: got axis %zu twice", axis);
        }
        seen |= 1u << axis;
        out->before[axis] = pads[i];
        out->after[axis] = pads[axis_count + i];
    }
    return VQC_OK;
}

static vqc_status find_borders(vqc_exec_call *call, borders *out)
{
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    size_t mode;
    vqc_status status = vqc_exec_choice(call, "mode", modes, call->opset >= 19 ? 4 : 3, &mode);

    memset(out, 0, sizeof *out);
    out->mode = (pad_mode)mode;
    return status != VQC_OK ? status : pad_widths(call, out);
}

/* Dims of the result; checks that there is something to fill the border with. */
static vqc_status padded_dims(vqc_exec_call *call, const borders *b)
{
    const vqc_buffer *x = call->inputs[0];
    vqc_exec_type *type = &call->types[0];

    vqc_exec_type_like(type, x);
    for (size_t i = 0; i < x->rank; i++) {
        int64_t cut_before = b->before[i] < 0 ? b->before[i] : 0;
        int64_t cut_after = b->after[i] < 0 ? b->after[i] : 0;
        int64_t kept;

        if (cut_before < -x->dims[i] || cut_after < -x->dims[i] - cut_before ||
            __builtin_add_overflow(x->dims[i], b->before[i], &type->dims[i]) ||
            __builtin_add_overflow(type->dims[i], b->after[i], &type->dims[i])) {
            return vqc_exec_fail(call, "pads: got %lld and %lld for an axis of %lld",
                                 (long long)b->before[i], (long long)b->after[i],
                                 (long long)x->dims[i]);
        }
        kept = x->dims[i] + cut_before + cut_after;
        if (kept == 0 && type->dims[i] > 0 && b->mode != PAD_CONSTANT) {
            return vqc_exec_fail(call, "axis %zu: got no elements to pad with", i);
        }
    }
    return VQC_OK;
}

static vqc_status shape_pad(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *value = call->opset >= 11 ? vqc_exec_input(call, 2) : NULL;
    borders b;
    vqc_status status = find_borders(call, &b);

    if (status == VQC_OK && value != NULL && (value->elements != 1 || value->dtype != x->dtype)) {
        status = vqc_exec_fail(call, "constant_value: got %zu elements of type %s, expected one %s",
                               value->elements, vqc_dtype_describe(value->dtype)->name,
                               vqc_dtype_describe(x->dtype)->name);
    }
    if (status == VQC_OK && call->opset < 11 && vqc_class_of(x->dtype) == VQC_CLASS_NONE) {
        status = vqc_exec_fail(call, "data type %s: expected numbers",
                               vqc_dtype_describe(x->dtype)->name);
    }
    return status != VQC_OK ? status : padded_dims(call, &b);
}

/* Input index for each output index along one axis; -1: the constant. Reflections and repetitions
 * go on for as long as the border is wide (NumPy's rule). */
static void map_axis(const borders *b, size_t axis, int64_t dim, int64_t out_dim, ptrdiff_t *map)
{
    int64_t low = b->before[axis] < 0 ? -b->before[axis] : 0;
    int64_t kept = dim - low + (b->after[axis] < 0 ? b->after[axis] : 0);
    int64_t shift = b->before[axis] > 0 ? b->before[axis] : 0;
    int64_t period = b->mode == PAD_REFLECT ? 2 * (kept - 1) : kept;

    for (int64_t i = 0; i < out_dim; i++) {
        int64_t at = i - shift;

        if (at < 0 || at >= kept) {
            switch (b->mode) {
            case PAD_CONSTANT:
                map[i] = -1;
                continue;
            case PAD_EDGE:
                at = at < 0 ? 0 : kept - 1;
                break;
            default:
                at = period <= 0 ? 0 : at % period;
                at += at < 0 ? period : 0;
                at = at >= kept ? period - at : at;
                break;
            }
        }
        map[i] = (ptrdiff_t)(low + at);
    }
}

static void fill(unsigned char *target, const unsigned char *value, size_t n, size_t width)
{
    for (size_t i = 0; i < n; i++) {
        memcpy(target + i * width, value, width);
    }
}

/* Stretches of the last axis: neighbours in the input (from >= 0), or the constant. */
typedef struct stretch {
    size_t count;
    ptrdiff_t from;
} stretch;

/* stretches [n] of a map [n]; returns how many. */
static size_t find_stretches(const ptrdiff_t *map, size_t n, stretch *out)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i += out[count++].count) {
        size_t run = 1;
        while (i + run < n && map[i + run] == (map[i] < 0 ? -1 : map[i] + (ptrdiff_t)run)) {
            run++;
        }
        out[count] = (stretch){run, map[i]};
    }
    return count;
}

static void pad_row(const unsigned char *from, const stretch *stretches, size_t count, size_t width,
                    const unsigned char *value, unsigned char *target)
{
    for (size_t i = 0; i < count; i++) {
        if (stretches[i].from < 0) {
            fill(target, value, stretches[i].count, width);
        } else if (stretches[i].count == 1) {
            memcpy(target, from + (size_t)stretches[i].from * width, width);
        } else {
            memcpy(target, from + (size_t)stretches[i].from * width, stretches[i].count * width);
        }
        target += stretches[i].count * width;
    }
}

static vqc_status copy_padded(vqc_exec_call *call, const borders *b, const unsigned char *value)
{
    const vqc_buffer *x = call->inputs[0];
    vqc_buffer *out = call->outputs[0];
    vqc_view view = vqc_view_of(x);
    ptrdiff_t *maps[VQC_EXEC_MAX_RANK];
    size_t index[VQC_EXEC_MAX_RANK] = {0};
    size_t row = out->rank == 0 ? 1 : (size_t)out->dims[out->rank - 1];
    static const ptrdiff_t scalar_map[] = {0};
    stretch *stretches;
    size_t stretch_count;

    if (out->elements == 0) {
        return VQC_OK;
    }
    for (size_t i = 0; i < x->rank; i++) {
        maps[i] = vqc_exec_scratch(call, (size_t)out->dims[i] * sizeof *maps[i]);
        if (maps[i] == NULL) {
            return VQC_ERR_INTERNAL;
        }
        map_axis(b, i, x->dims[i], out->dims[i], maps[i]);
    }
    stretches = vqc_exec_scratch(call, row * sizeof *stretches);
    if (stretches == NULL) {
        return VQC_ERR_INTERNAL;
    }
    stretch_count = find_stretches(x->rank == 0 ? scalar_map : maps[x->rank - 1], row, stretches);
    for (size_t at = 0; at < out->elements; at += row) {
        const unsigned char *from = x->data;
        bool inside = x->elements > 0;

        for (size_t i = 0; inside && i + 1 < x->rank; i++) {
            inside = maps[i][index[i]] >= 0;
            from += inside ? maps[i][index[i]] * view.strides[i] * (ptrdiff_t)x->width : 0;
        }
        if (inside) {
            pad_row(from, stretches, stretch_count, x->width, value, out->data + at * x->width);
        } else {
            fill(out->data + at * x->width, value, row, x->width);
        }
        for (size_t i = x->rank > 0 ? x->rank - 1 : 0; i-- > 0;) {
            if (++index[i] < (size_t)out->dims[i]) {
                break;
            }
            index[i] = 0;
        }
    }
    return VQC_OK;
}

static vqc_status run_pad(vqc_exec_call *call)
{
    const vqc_buffer *x = call->inputs[0];
    const vqc_buffer *given = call->opset >= 11 ? vqc_exec_input(call, 2) : NULL;
    unsigned char value[16] = {0};
    borders b;
    vqc_status status = find_borders(call, &b);

    if (status != VQC_OK) {
        return status;
    }
    if (given != NULL) {
        memcpy(value, given->data, x->width);
    } else if (call->opset < 11) {
        vqc_chunk chunk;
        chunk.f32[0] = vqc_node_attr_float(call->node, "value", 0.0f);
        vqc_element_store(x->dtype, VQC_CLASS_F32, &chunk, 1, NULL, value);
    }
    return copy_padded(call, &b, value);
}

/* ---- CenterCropPad ---- */

static vqc_status center_borders(vqc_exec_call *call, borders *out)
{
    const vqc_buffer *x = call->inputs[0];
    int64_t shape[VQC_EXEC_MAX_RANK];
    int64_t axes[VQC_EXEC_MAX_RANK];
    size_t count;
    size_t axis_count = x->rank;
    unsigned seen = 0;
    bool given;
    vqc_status status = vqc_exec_ints(call, call->inputs[1], shape, VQC_EXEC_MAX_RANK, &count);

    memset(out, 0, sizeof *out);
    if (status == VQC_OK) {
        status =
            vqc_exec_ints_of(call, "axes", SIZE_MAX, axes, VQC_EXEC_MAX_RANK, &axis_count, &given);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (count != axis_count) {
        return vqc_exec_fail(call, "shape: got %zu values, expected %zu", count, axis_count);
    }
    for (size_t i = 0; i < count; i++) {
        size_t axis = i;
        int64_t more;

        if (given && vqc_exec_axis(call, axes[i], x->rank, &axis) != VQC_OK) {
            return VQC_ERR_MODEL;
        }
        if (shape[i] < 0 || (seen >> axis & 1) != 0) {
            return vqc_exec_fail(call, "shape: got %lld for axis %zu, or it twice",
                                 (long long)shape[i], axis);
        }
        seen |= 1u << axis;
        /* an odd difference leaves the larger part behind, whether it is cut or padded */
        more = shape[i] - x->dims[axis];
        out->before[axis] = more / 2;
        out->after[axis] = more - more / 2;
    }
    return VQC_OK;
}

static vqc_status shape_center(vqc_exec_call *call)
{
    borders b;
    vqc_status status = center_borders(call, &b);

    return status != VQC_OK ? status : padded_dims(call, &b);
}

static vqc_status run_center(vqc_exec_call *call)
{
    static const unsigned char zeros[16];
    borders b;
    vqc_status status = center_borders(call, &b);

    return status != VQC_OK ? status : copy_padded(call, &b, zeros);
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Pad", "", 1, 1, shape_pad, run_pad, .detail = NULL),
    VQC_EXEC_ROW("CenterCropPad", "", 18, 2, shape_center, run_center, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_pad = {OPS, sizeof OPS / sizeof OPS[0]};
