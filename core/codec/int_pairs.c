#include "core/codec/int_pairs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAIR_LIMIT = 128 };

/* Where the weights of one output channel lie, in the order in which kernels take them: for
 * convolutions kernel position by kernel position, input channels innermost. */
typedef struct pair_layout {
    size_t channels;
    size_t length; /* of the reduction */
    size_t inputs; /* input channels of a convolution; 1 otherwise */
    size_t kernel; /* kernel positions; the length otherwise */
    size_t channel_step;
    size_t input_step;
    size_t kernel_step;
} pair_layout;

/* False when the operator's integer kernels have no pairs: depthwise convolutions. */
static bool find_layout(const vqc_layer *layer, pair_layout *out)
{
    if (strcmp(layer->op, "Conv") == 0) {
        out->channels = (size_t)layer->dims[0];
        out->inputs = (size_t)layer->dims[1];
        out->length = layer->elements / (out->channels == 0 ? 1 : out->channels);
        out->kernel = out->length / (out->inputs == 0 ? 1 : out->inputs);
        out->channel_step = out->length;
        out->input_step = out->kernel;
        out->kernel_step = 1;
        return out->inputs > 1 || vqc_node_attr_int(layer->node, "group", 1) == 1;
    }
    out->inputs = 1;
    out->input_step = 0;
    out->channels = (size_t)layer->dims[layer->channel_axis];
    out->length = out->kernel = (size_t)layer->dims[1 - layer->channel_axis];
    out->channel_step = layer->channel_axis == 0 ? out->length : 1;
    out->kernel_step = layer->channel_axis == 0 ? 1 : out->channels;
    return true;
}

static size_t place(const pair_layout *l, size_t channel, size_t k)
{
    return channel * l->channel_step + k % l->inputs * l->input_step +
           k / l->inputs * l->kernel_step;
}

static float weight_at(const float *weights, size_t i)
{
    float w;
    memcpy(&w, (const char *)weights + i * sizeof w, sizeof w); /* may be unaligned */
    return w;
}

void vqc_int_pairs_raise(const vqc_decision *d, const float *weights, vqc_code *code)
{
    pair_layout l;

    if (!find_layout(d->layer, &l)) {
        return;
    }
    for (size_t c = 0; c < l.channels; c++) {
        float *scale = &code->scales[code->groups > 1 ? c : 0];
        float most = 0.0f;

        for (size_t k = 0; k + 1 < l.length; k += 2) {
            float a = weight_at(weights, place(&l, c, k));
            float b = weight_at(weights, place(&l, c, k + 1));
            float up = fmaxf(a, 0.0f) + fmaxf(b, 0.0f);
            float down = fmaxf(-a, 0.0f) + fmaxf(-b, 0.0f);
            most = fmaxf(most, fmaxf(up, down));
        }
        *scale = fmaxf(*scale, most / ((float)PAIR_LIMIT - 0.5f));
    }
}

void vqc_int_pairs_settle(const vqc_decision *d, vqc_code *code)
{
    int8_t *codes = code->codes;
    pair_layout l;

    if (!find_layout(d->layer, &l)) {
        return;
    }
    for (size_t c = 0; c < l.channels; c++) {
        for (size_t k = 0; k + 1 < l.length; k += 2) {
            int8_t *a = &codes[place(&l, c, k)];
            int8_t *b = &codes[place(&l, c, k + 1)];

            while ((*a > 0) == (*b > 0) && abs(*a + *b) > PAIR_LIMIT) {
                int8_t *larger = abs(*a) >= abs(*b) ? a : b;
                *larger = (int8_t)(*larger > 0 ? *larger - 1 : *larger + 1);
            }
        }
    }
}
