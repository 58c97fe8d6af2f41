#include "core/static/static_ranges.h"

#include <math.h>

/*
 * 16-bit ranges reach twice as far as what calibration saw: one of the 16 bits is cheap, clipping a
 * new sample is not (cifar_resnet_4b on 500 new pictures: 32.7 -> 43.0 dB). 8-bit ranges do not:
 * there the bit costs more than it saves (pfld 29.3 -> 28.2 dB with 1.2 times the range).
 */
static const float HEADROOM_16 = 2.0f;

/* A folded Clip ends where its range ends. */
static bool comes_from_clip(const vqc_static_plan *p, const vqc_tensor *tensor)
{
    return tensor->producer != VQC_NO_TENSOR &&
           vqc_node_is(p->units[tensor->producer].node, "Clip");
}

static int bits_of(const vqc_static_plan *p, const vqc_tensor *tensor)
{
    vqc_activation_type type = p->recipe->fixed.type;
    bool wide = tensor->wide || type == VQC_ACTIVATION_UINT16 || type == VQC_ACTIVATION_INT16;
    return wide ? 16 : 8;
}

/* 16 bits have room for every outlier. */
static vqc_observer_kind kind_of(const vqc_tensor *tensor, int bits)
{
    if (tensor->observer == VQC_OBSERVER_AUTO) {
        return bits == 16 ? VQC_OBSERVER_MINMAX : VQC_OBSERVER_MSE;
    }
    return tensor->observer;
}

static vqc_range search_range(const vqc_static_plan *p, const vqc_tensor *tensor, int bits)
{
    vqc_observer_options options = {
        .kind = kind_of(tensor, bits),
        .percentile = p->recipe->fixed.percentile,
        .bits = bits,
        .symmetric = p->recipe->fixed.symmetric,
    };
    vqc_range range = {0.0f, 0.0f};

    if (tensor->stats != NULL) {
        range = vqc_observation_range(&tensor->stats->all, &options);
    }
    if (bits == 16 && !comes_from_clip(p, tensor)) {
        range.min *= HEADROOM_16;
        range.max *= HEADROOM_16;
    }
    return range;
}

vqc_range vqc_tensor_range(const vqc_static_plan *p, size_t index)
{
    const vqc_tensor *tensor = &p->tensors[index];
    int bits = bits_of(p, tensor);
    vqc_observer_kind kind = kind_of(tensor, bits);

    return tensor->is_found[kind][bits == 16] ? tensor->found[kind][bits == 16]
                                              : search_range(p, tensor, bits);
}

/* Searches what the quantized tensors need and no decision before has asked for. */
static void find_ranges(vqc_static_plan *p)
{
    size_t missing = 0;

    for (size_t i = 0; i < p->tensor_count; i++) {
        const vqc_tensor *t = &p->tensors[i];
        int bits = bits_of(p, t);
        missing += t->quantized && !t->is_found[kind_of(t, bits)][bits == 16] ? 1 : 0;
    }
    if (missing == 0) {
        return;
    }
#pragma omp parallel for schedule(dynamic, 1) if (missing > 1)
    for (size_t i = 0; i < p->tensor_count; i++) {
        vqc_tensor *t = &p->tensors[i];
        int bits = bits_of(p, t);
        vqc_observer_kind kind = kind_of(t, bits);
        if (t->quantized && !t->is_found[kind][bits == 16]) {
            t->found[kind][bits == 16] = search_range(p, t, bits);
            t->is_found[kind][bits == 16] = true;
        }
    }
}

static void make_codes(const vqc_static_plan *p, vqc_tensor *t)
{
    vqc_activation_type type = p->recipe->fixed.type;
    bool is_signed = type == VQC_ACTIVATION_INT8 || type == VQC_ACTIVATION_INT16;
    float levels = t->bits == 16 ? 65535.0f : 255.0f;
    float lo = is_signed ? -(levels + 1.0f) / 2.0f : 0.0f;
    float width = t->range.max - t->range.min;

    t->is_signed = is_signed;
    if (p->recipe->fixed.symmetric) {
        float half = fmaxf(-t->range.min, t->range.max);
        t->scale = half / ((levels - 1.0f) / 2.0f);
        t->zero_point = is_signed ? 0 : (int32_t)((levels + 1.0f) / 2.0f);
    } else {
        float zero;
        t->scale = width / levels;
        zero = t->scale > 0.0f ? rintf(lo - t->range.min / t->scale) : lo;
        t->zero_point = (int32_t)fminf(fmaxf(zero, lo), lo + levels);
    }
    /* a tensor of zeros, or one whose products with weight scales would be denormal */
    if (!(t->scale >= 0x1p-60f) || !isfinite(t->scale)) {
        t->scale = t->scale < 1.0f || isnan(t->scale) ? 0x1p-60f : 0x1p60f;
    }
}

void vqc_static_ranges(vqc_static_plan *p)
{
    for (size_t i = 0; i < p->tensor_count; i++) {
        vqc_tensor *t = &p->tensors[i];
        t->bits = bits_of(p, t);
        t->range = (vqc_range){0.0f, 0.0f};
    }
    find_ranges(p);
    for (size_t i = 0; i < p->tensor_count; i++) {
        vqc_tensor *root = &p->tensors[p->tensors[i].root];
        vqc_range range;

        if (!p->tensors[i].quantized) {
            continue;
        }
        range = vqc_tensor_range(p, i);
        root->range.min = fminf(root->range.min, range.min);
        root->range.max = fmaxf(root->range.max, range.max);
        root->bits = p->tensors[i].bits > root->bits ? p->tensors[i].bits : root->bits;
    }
    for (size_t i = 0; i < p->tensor_count; i++) {
        vqc_tensor *t = &p->tensors[i];
        if (t->quantized) {
            t->range = p->tensors[t->root].range;
            t->bits = p->tensors[t->root].bits;
            make_codes(p, t);
        }
    }
}
