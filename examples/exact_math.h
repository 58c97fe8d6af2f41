/* Random numbers and elementary functions that give the same bits on every machine: integer
 * hashing, and + - * / in IEEE double precision, which libm's exp, sin and cos do not promise. */
#ifndef VQC_EXAMPLES_EXACT_MATH_H
#define VQC_EXAMPLES_EXACT_MATH_H

#include <float.h>
#include <stdint.h>

_Static_assert(FLT_EVAL_METHOD == 0, "results depend on float and double being computed as such");

/* A stream of random numbers (splitmix64: Steele, Lea, Flood, OOPSLA 2014). */
typedef struct random_stream {
    uint64_t state;
} random_stream;

/* The stream number `index` of the family `stream` under `seed`; all are independent of each other.
 */
random_stream random_open(uint64_t seed, uint64_t stream, uint64_t index);

/* 64 random bits. */
uint64_t random_bits(random_stream *random);

/* Uniform in [low, high), a multiple of (high - low) / 2^53 before rounding. */
double random_uniform(random_stream *random, double low, double high);

/* Uniform in 0 .. count - 1; count in 1 .. 2^32. */
uint32_t random_below(random_stream *random, uint32_t count);

/* Nearly normal, mean 0, variance 1: a sum of four uniform numbers of 16 bits (range +-3.46). */
double random_normal(random_stream *random);

/* e^x for x <= 0 (0 below -700), relative error < 1e-14. */
double exact_exp(double x);

/* sin x and cos x for |x| <= 2, absolute error < 1e-12. */
void exact_sin_cos(double x, double *sine, double *cosine);

#endif
