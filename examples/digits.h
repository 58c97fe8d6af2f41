/* Hand-drawn looking digits: pen strokes of our own design, distorted at random. */
#ifndef VQC_EXAMPLES_DIGITS_H
#define VQC_EXAMPLES_DIGITS_H

#include <stdint.h>

enum {
    DIGIT_SIDE = 28,
    DIGIT_PIXELS = DIGIT_SIDE * DIGIT_SIDE,
    DIGIT_LEVELS =
        64 /* pixel values are k / DIGIT_LEVELS, exact in float and small when deflated */
};

/* Families of samples: no sample of one is in another. */
typedef enum digit_set { DIGIT_SET_TRAIN = 1, DIGIT_SET_CALIB = 2, DIGIT_SET_EVAL = 3 } digit_set;

/* Draws sample `index` of `set` under `seed` into pixels [28 * 28], row-major, 0 (paper) to 1
 * (ink). Returns its label, index % 10. The same arguments give the same bits on every machine. */
int digit_draw(uint64_t seed, digit_set set, uint64_t index, float *pixels);

#endif
