/* Exact sums of doubles: the same bits in whatever order the terms come. */
#ifndef VQC_CORE_CALIBRATE_CALIBRATE_SUM_H
#define VQC_CORE_CALIBRATE_CALIBRATE_SUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * A fixed-point number of `limbs` digits of 32 bits in int64 each, so that carries can wait; digit
 * i weighs 2^(32 i - 160). Bits below 2^-160 of a term are cut off. (Neal, "Fast exact summation
 * using small and large superaccumulators", 2015, has the idea with digits by exponent.)
 */
enum {
    VQC_SUM_LIMBS = 18,        /* up to 2^415: any sum of squares of floats */
    VQC_SUM_LIMBS_FLOATS = 11, /* up to 2^191: sums of floats */
    VQC_SUM_MAX_TERMS = 1 << 28
};

/* Adds a finite term whose magnitude is below 2^(32 (limbs - 2) - 107); others
 * are left out. At most VQC_SUM_MAX_TERMS of them. */
void vqc_sum_add(int64_t *sum, size_t limbs, double term);

/* The sum as a double (error below one unit in the last place; a function of the exact sum only).
 */
double vqc_sum_value(const int64_t *sum, size_t limbs);

#endif
