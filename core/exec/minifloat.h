/* Floats of 8 bits and fewer: one description per format, one encoder, one decoder. */
#ifndef VQC_CORE_EXEC_MINIFLOAT_H
#define VQC_CORE_EXEC_MINIFLOAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether `dtype` is float8*, float6*, float4e2m1 or float8e8m0. */
bool vqc_minifloat_is(int32_t dtype);

/* Values [n] of `codes` [n], one byte each; exact. */
void vqc_minifloat_decode(int32_t dtype, const unsigned char *codes, size_t n, float *values);

/*
 * Codes of `values`, rounded to nearest even. Overflow and infinities become the largest finite
 * value when `saturate`, else infinity or, where the format has none, NaN. The formats without
 * either (float6, float4) always saturate, and NaN becomes 0 there. float8e8m0 ignores signs.
 * e8m0_round: 0 up, 1 down, 2 nearest (ties up). Source: ONNX Cast-25, "OCP Microscaling
 * Formats 1.0".
 */
void vqc_minifloat_encode(int32_t dtype, const float *values, size_t n, bool saturate,
                          int e8m0_round, unsigned char *codes);

#endif
