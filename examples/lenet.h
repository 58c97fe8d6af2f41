/* LeNet-5 with ReLU and max pooling: forward, backward and training, on one core, in a fixed order.
 */
#ifndef VQC_EXAMPLES_LENET_H
#define VQC_EXAMPLES_LENET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LENET_LAYERS = 5,
    LENET_CLASSES = 10,
    LENET_BATCH = 32 /* images per training step */
};

/* A convolution without padding; a full connection is one whose kernel covers its whole input. */
typedef struct lenet_layer {
    const char *name; /* "conv1" ... "fc3" */
    int in_channels;
    int in_side;
    int kernel;
    int out_channels;
    int out_side;
    size_t weight_count;
    float *weight; /* [out_channels][in_channels][kernel][kernel] */
    float *bias;   /* [out_channels] */
    float *weight_gradient;
    float *bias_gradient;
    float *weight_velocity;
    float *bias_velocity;
} lenet_layer;

typedef struct lenet lenet;

/* New network with weights drawn from `seed` (uniform, He et al. 2015); NULL when out of memory. */
lenet *lenet_create(uint64_t seed);

/* Frees; accepts NULL and sets *net to NULL. */
void lenet_destroy(lenet **net);

/* Layer 0 .. LENET_LAYERS - 1, borrowed. conv1's input of 28 x 28 has 2 rows and columns of zeros
 * around it: its in_side is 32. */
const lenet_layer *lenet_get_layer(const lenet *net, int index);

/* One step of stochastic gradient descent with momentum 0.9 on the mean cross-entropy of
 * LENET_BATCH images [LENET_BATCH][28][28] and labels [LENET_BATCH] (0 .. 9). Returns how many of
 * the images the network had right before the step. */
int lenet_train_step(lenet *net, const float *images, const int64_t *labels, float rate);

/* Predicted class (the largest logit, the first of equals) of each of images [count][28][28]. */
void lenet_classify(lenet *net, const float *images, size_t count, int *classes);

#endif
