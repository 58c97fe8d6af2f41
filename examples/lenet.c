/*
 * Tensors hold LANES images side by side: [channel][row][column][LANES]. So the innermost loop of
 * everything is over images, which needs no reduction: the compiler may use any vector width and
 * the order of every sum stays as it is written here.
 */
#include "examples/lenet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/digits.h"
#include "examples/exact_math.h"

enum {
    LANES = 16,
    QUADS = LANES / 4,
    PAD = 2,
    POOLED_LAYERS = 2, /* conv1 and conv2 are followed by pooling */
    MAX_VALUES = 6 * 28 * 28
};
_Static_assert(LENET_BATCH % LANES == 0, "a batch is a number of whole groups of images");

/* Four floats that + and * work on one by one (GNU C vector extension). */
typedef float quad __attribute__((vector_size(16)));

struct lenet {
    lenet_layer layers[LENET_LAYERS];
    quad *input[LENET_LAYERS];  /* of each layer, in_channels * in_side^2 * QUADS */
    quad *output[LENET_LAYERS]; /* out_channels * out_side^2 * QUADS, after ReLU except the last */
    quad *gradient[LENET_LAYERS]; /* of the loss by output, same size */
    quad *pooled_gradient;        /* by the input of a layer behind pooling */
};

static size_t input_values(const lenet_layer *layer)
{
    return (size_t)(layer->in_channels * layer->in_side * layer->in_side);
}

static size_t output_values(const lenet_layer *layer)
{
    return (size_t)(layer->out_channels * layer->out_side * layer->out_side);
}

static quad *allocate_lanes(size_t values)
{
    quad *p = aligned_alloc(64, values * QUADS * sizeof *p);
    if (p != NULL) {
        memset(p, 0, values * QUADS * sizeof *p);
    }
    return p;
}

static bool create_layer(lenet_layer *layer, uint64_t seed, uint64_t index)
{
    random_stream random = random_open(seed, 100, index);
    int fan_in = layer->in_channels * layer->kernel * layer->kernel;
    double bound = sqrt(6.0 / fan_in); /* variance 2 / fan_in, as ReLU wants it */
    size_t biases = (size_t)layer->out_channels;

    layer->out_side = layer->in_side - layer->kernel + 1;
    layer->weight_count = biases * (size_t)fan_in;
    layer->weight = calloc(layer->weight_count, sizeof(float));
    layer->weight_gradient = calloc(layer->weight_count, sizeof(float));
    layer->weight_velocity = calloc(layer->weight_count, sizeof(float));
    layer->bias = calloc(biases, sizeof(float));
    layer->bias_gradient = calloc(biases, sizeof(float));
    layer->bias_velocity = calloc(biases, sizeof(float));
    if (layer->weight == NULL || layer->weight_gradient == NULL || layer->weight_velocity == NULL ||
        layer->bias == NULL || layer->bias_gradient == NULL || layer->bias_velocity == NULL) {
        return false;
    }
    for (size_t i = 0; i < layer->weight_count; i++) {
        layer->weight[i] = (float)random_uniform(&random, -bound, bound);
    }
    return true;
}

lenet *lenet_create(uint64_t seed)
{
    static const lenet_layer shapes[LENET_LAYERS] = {
        {.name = "conv1", .in_channels = 1, .in_side = 32, .kernel = 5, .out_channels = 6},
        {.name = "conv2", .in_channels = 6, .in_side = 14, .kernel = 5, .out_channels = 16},
        {.name = "fc1", .in_channels = 16, .in_side = 5, .kernel = 5, .out_channels = 120},
        {.name = "fc2", .in_channels = 120, .in_side = 1, .kernel = 1, .out_channels = 84},
        {.name = "fc3", .in_channels = 84, .in_side = 1, .kernel = 1, .out_channels = 10},
    };
    lenet *net = calloc(1, sizeof *net);
    bool ok;

    if (net == NULL) {
        return NULL;
    }
    memcpy(net->layers, shapes, sizeof shapes);
    net->pooled_gradient = allocate_lanes(MAX_VALUES);
    ok = net->pooled_gradient != NULL;
    for (int i = 0; i < LENET_LAYERS && ok; i++) {
        lenet_layer *layer = &net->layers[i];
        ok = create_layer(layer, seed, (uint64_t)i);
        net->output[i] = allocate_lanes(output_values(layer));
        net->gradient[i] = allocate_lanes(output_values(layer));
        /* the fully connected layers work on what the layer before them left */
        net->input[i] =
            i <= POOLED_LAYERS ? allocate_lanes(input_values(layer)) : net->output[i - 1];
        ok = ok && net->output[i] != NULL && net->gradient[i] != NULL && net->input[i] != NULL;
    }
    if (!ok) {
        lenet_destroy(&net);
    }
    return net;
}

void lenet_destroy(lenet **net)
{
    if (net == NULL || *net == NULL) {
        return;
    }
    for (int i = 0; i < LENET_LAYERS; i++) {
        lenet_layer *layer = &(*net)->layers[i];
        free(layer->weight);
        free(layer->bias);
        free(layer->weight_gradient);
        free(layer->bias_gradient);
        free(layer->weight_velocity);
        free(layer->bias_velocity);
        free((*net)->output[i]);
        free((*net)->gradient[i]);
        if (i <= POOLED_LAYERS) {
            free((*net)->input[i]);
        }
    }
    free((*net)->pooled_gradient);
    free(*net);
    *net = NULL;
}

const lenet_layer *lenet_get_layer(const lenet *net, int index)
{
    return &net->layers[index];
}

/* ---- forward ---- */

/* One row and column of two output channels o and o + 1. */
static void convolve_at(const lenet_layer *layer, const quad *input, int o, int y, int x,
                        quad sums[2][QUADS])
{
    int k = layer->kernel;
    int side = layer->in_side;
    size_t stride = (size_t)(layer->in_channels * k * k);
    const float *w = layer->weight + (size_t)o * stride;

    for (int q = 0; q < QUADS; q++) {
        sums[0][q] = (quad){0} + layer->bias[o];
        sums[1][q] = (quad){0} + layer->bias[o + 1];
    }
    for (int i = 0; i < layer->in_channels; i++) {
        for (int ky = 0; ky < k; ky++) {
            const quad *in = input + (size_t)((i * side + y + ky) * side + x) * QUADS;
            for (int kx = 0; kx < k; kx++, w++, in += QUADS) {
                for (int q = 0; q < QUADS; q++) {
                    sums[0][q] += w[0] * in[q];
                    sums[1][q] += w[stride] * in[q];
                }
            }
        }
    }
}

static void convolve(const lenet_layer *layer, const quad *input, quad *output)
{
    size_t area = (size_t)(layer->out_side * layer->out_side);

    for (int o = 0; o < layer->out_channels; o += 2) {
        for (int y = 0; y < layer->out_side; y++) {
            for (int x = 0; x < layer->out_side; x++) {
                quad sums[2][QUADS];
                quad *out = output + ((size_t)o * area + (size_t)(y * layer->out_side + x)) * QUADS;
                convolve_at(layer, input, o, y, x, sums);
                memcpy(out, sums[0], sizeof sums[0]);
                memcpy(out + area * QUADS, sums[1], sizeof sums[1]);
            }
        }
    }
}

static void relu(quad *values, size_t count)
{
    float *v = (float *)values;

    for (size_t i = 0; i < count * LANES; i++) {
        v[i] = v[i] > 0.0f ? v[i] : 0.0f;
    }
}

/* Offsets of the four values that pool into one, in floats, for rows of `side` values. */
static void pool_corners(int side, size_t corner[4])
{
    corner[0] = 0;
    corner[1] = LANES;
    corner[2] = (size_t)side * LANES;
    corner[3] = (size_t)(side + 1) * LANES;
}

/* input [channels][side][side] -> output [channels][side / 2][side / 2], the largest of 2 x 2. */
static void pool(const quad *input, int channels, int side, quad *output)
{
    const float *in = (const float *)input;
    float *out = (float *)output;
    size_t corner[4];

    pool_corners(side, corner);
    for (int row = 0; row < channels * side; row += 2) {
        for (int x = 0; x < side; x += 2, out += LANES) {
            const float *at = in + (size_t)(row * side + x) * LANES;
            for (int l = 0; l < LANES; l++) {
                float best = at[l];
                for (int c = 1; c < 4; c++) {
                    best = at[corner[c] + (size_t)l] > best ? at[corner[c] + (size_t)l] : best;
                }
                out[l] = best;
            }
        }
    }
}

/* Gradient by the pooling's input: that of its output goes to the first of the largest values.
 * Where that is 0 it was clipped by the ReLU before, and the gradient ends there. */
static void unpool_relu(const quad *input, int channels, int side, const quad *output_gradient,
                        quad *input_gradient)
{
    const float *in = (const float *)input;
    const float *from = (const float *)output_gradient;
    float *to = (float *)input_gradient;
    size_t corner[4];

    pool_corners(side, corner);
    for (int row = 0; row < channels * side; row += 2) {
        for (int x = 0; x < side; x += 2, from += LANES) {
            size_t base = (size_t)(row * side + x) * LANES;
            for (size_t l = 0; l < LANES; l++) {
                int first = 0;
                for (int c = 1; c < 4; c++) {
                    first = in[base + corner[c] + l] > in[base + corner[first] + l] ? c : first;
                }
                for (int c = 0; c < 4; c++) {
                    bool passes = c == first && in[base + corner[c] + l] > 0.0f;
                    to[base + corner[c] + l] = passes ? from[l] : 0.0f;
                }
            }
        }
    }
}

/* Puts up to LANES images into the padded input of conv1; missing ones are blank. */
static void load_images(lenet *net, const float *images, size_t count)
{
    float *in = (float *)net->input[0];
    int side = net->layers[0].in_side;

    for (size_t y = 0; y < DIGIT_SIDE; y++) {
        for (size_t x = 0; x < DIGIT_SIDE; x++) {
            float *at = in + ((y + PAD) * (size_t)side + x + PAD) * LANES;
            for (size_t l = 0; l < LANES; l++) {
                at[l] = l < count ? images[l * DIGIT_PIXELS + y * DIGIT_SIDE + x] : 0.0f;
            }
        }
    }
}

static void forward(lenet *net)
{
    for (int i = 0; i < LENET_LAYERS; i++) {
        const lenet_layer *layer = &net->layers[i];
        convolve(layer, net->input[i], net->output[i]);
        if (i + 1 < LENET_LAYERS) {
            relu(net->output[i], output_values(layer));
        }
        if (i < POOLED_LAYERS) {
            pool(net->output[i], layer->out_channels, layer->out_side, net->input[i + 1]);
        }
    }
}

/* Class of the largest logit of image `lane`. */
static int largest_logit(const lenet *net, size_t lane)
{
    const float *logits = (const float *)net->output[LENET_LAYERS - 1];
    size_t best = 0;

    for (size_t c = 1; c < LENET_CLASSES; c++) {
        best = logits[c * LANES + lane] > logits[best * LANES + lane] ? c : best;
    }
    return (int)best;
}

void lenet_classify(lenet *net, const float *images, size_t count, int *classes)
{
    for (size_t at = 0; at < count; at += LANES) {
        size_t n = count - at < LANES ? count - at : LANES;
        load_images(net, images + at * DIGIT_PIXELS, n);
        forward(net);
        for (size_t l = 0; l < n; l++) {
            classes[at + l] = largest_logit(net, l);
        }
    }
}

/* ---- backward ---- */

/* Sum over the images, always in the same order. */
static float sum_lanes(const quad v[QUADS])
{
    quad s = (v[0] + v[1]) + (v[2] + v[3]);
    return (s[0] + s[1]) + (s[2] + s[3]);
}
_Static_assert(QUADS == 4, "sum_lanes() adds four quads");

/* Adds to the gradients of weights and biases those of this group of images. */
static void accumulate_gradients(lenet_layer *layer, const quad *input, const quad *gradient)
{
    int k = layer->kernel;
    int side = layer->in_side;
    int out_side = layer->out_side;
    size_t area = (size_t)(out_side * out_side);
    float *wg = layer->weight_gradient;

    for (int o = 0; o < layer->out_channels; o++) {
        const quad *g = gradient + (size_t)o * area * QUADS;
        quad sum[QUADS] = {{0}};
        for (size_t i = 0; i < area; i++) {
            for (size_t q = 0; q < QUADS; q++) {
                sum[q] += g[i * QUADS + q];
            }
        }
        layer->bias_gradient[o] += sum_lanes(sum);
        for (int tap = 0; tap < layer->in_channels * k * k; tap++, wg++) {
            int channel = tap / (k * k);
            int ky = tap / k % k;
            int kx = tap % k;
            memset(sum, 0, sizeof sum);
            for (int y = 0; y < out_side; y++) {
                const quad *in = input + (size_t)((channel * side + y + ky) * side + kx) * QUADS;
                const quad *gy = g + (size_t)(y * out_side) * QUADS;
                for (int x = 0; x < out_side; x++, in += QUADS, gy += QUADS) {
                    for (int q = 0; q < QUADS; q++) {
                        sum[q] += in[q] * gy[q];
                    }
                }
            }
            *wg += sum_lanes(sum);
        }
    }
}

/* input_gradient = gradient of the loss by the layer's input. */
static void back_propagate(const lenet_layer *layer, const quad *gradient, quad *input_gradient)
{
    int k = layer->kernel;
    int side = layer->in_side;
    int out_side = layer->out_side;
    size_t area = (size_t)(out_side * out_side);
    size_t stride = (size_t)(layer->in_channels * k * k);

    memset(input_gradient, 0, input_values(layer) * QUADS * sizeof *input_gradient);
    for (int o = 0; o < layer->out_channels; o += 2) {
        for (int at = 0; at < out_side * out_side; at++) {
            const quad *g0 = gradient + ((size_t)o * area + (size_t)at) * QUADS;
            const quad *g1 = g0 + area * QUADS;
            const float *w = layer->weight + (size_t)o * stride;
            for (int row = 0; row < layer->in_channels * k; row++) {
                int y = row / k * side + at / out_side + row % k;
                quad *to = input_gradient + (size_t)(y * side + at % out_side) * QUADS;
                for (int kx = 0; kx < k; kx++, w++, to += QUADS) {
                    for (int q = 0; q < QUADS; q++) {
                        to[q] += w[0] * g0[q] + w[stride] * g1[q];
                    }
                }
            }
        }
    }
}

/* gradient = (softmax(logits) - one hot) / LENET_BATCH. Returns how many images are right. */
static int loss_gradient(lenet *net, const int64_t *labels)
{
    const float *logits = (const float *)net->output[LENET_LAYERS - 1];
    float *gradient = (float *)net->gradient[LENET_LAYERS - 1];
    int correct = 0;

    for (size_t l = 0; l < LANES; l++) {
        int best = largest_logit(net, l);
        double top = (double)logits[(size_t)best * LANES + l];
        double p[LENET_CLASSES];
        double sum = 0.0;
        for (size_t c = 0; c < LENET_CLASSES; c++) {
            p[c] = exact_exp((double)logits[c * LANES + l] - top);
            sum += p[c];
        }
        for (size_t c = 0; c < LENET_CLASSES; c++) {
            double wanted = (int64_t)c == labels[l] ? 1.0 : 0.0;
            gradient[c * LANES + l] = (float)((p[c] / sum - wanted) / LENET_BATCH);
        }
        correct += best == labels[l];
    }
    return correct;
}

static void backward(lenet *net)
{
    for (int i = LENET_LAYERS - 1; i >= 0; i--) {
        accumulate_gradients(&net->layers[i], net->input[i], net->gradient[i]);
        if (i > POOLED_LAYERS) {
            float *g = (float *)net->gradient[i - 1];
            const float *value = (const float *)net->output[i - 1];
            back_propagate(&net->layers[i], net->gradient[i], net->gradient[i - 1]);
            for (size_t v = 0; v < output_values(&net->layers[i - 1]) * LANES; v++) {
                g[v] = value[v] > 0.0f ? g[v] : 0.0f;
            }
        } else if (i > 0) {
            const lenet_layer *before = &net->layers[i - 1];
            back_propagate(&net->layers[i], net->gradient[i], net->pooled_gradient);
            unpool_relu(net->output[i - 1], before->out_channels, before->out_side,
                        net->pooled_gradient, net->gradient[i - 1]);
        }
    }
}

/* velocity = 0.9 velocity + gradient; value -= rate velocity; gradient = 0. */
static void descend(float *value, float *velocity, float *gradient, size_t count, float rate)
{
    for (size_t i = 0; i < count; i++) {
        velocity[i] = 0.9f * velocity[i] + gradient[i];
        value[i] -= rate * velocity[i];
        gradient[i] = 0.0f;
    }
}

int lenet_train_step(lenet *net, const float *images, const int64_t *labels, float rate)
{
    int correct = 0;

    for (size_t at = 0; at < LENET_BATCH; at += LANES) {
        load_images(net, images + at * DIGIT_PIXELS, LANES);
        forward(net);
        correct += loss_gradient(net, labels + at);
        backward(net);
    }
    for (int i = 0; i < LENET_LAYERS; i++) {
        lenet_layer *layer = &net->layers[i];
        descend(layer->weight, layer->weight_velocity, layer->weight_gradient, layer->weight_count,
                rate);
        descend(layer->bias, layer->bias_velocity, layer->bias_gradient,
                (size_t)layer->out_channels, rate);
    }
    return correct;
}
