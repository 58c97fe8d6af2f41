#include "core/calibrate/calibrate_sum.h"

#include <math.h>

enum { LOWEST = -160, DIGIT = 32 };

void vqc_sum_add(int64_t *sum, size_t limbs, double term)
{
    int exponent;
    if (!isfinite(term))
        return;
    /* term = mantissa * 2^place, mantissa an integer of 53 bits */
    uint64_t mantissa = (uint64_t)ldexp(fabs(frexp(term, &exponent)), 53);
    int place = exponent - 53 - LOWEST;
    if (place < 0) {
        mantissa = place > -64 ? mantissa >> -place : 0;
        place = 0;
    }
    const size_t limb = (size_t)place / DIGIT;
    const int shift = place % DIGIT;
    if (mantissa == 0 || limb + 2 >= limbs)
        return;
    const uint64_t low = (mantissa & 0xffffffffu) << shift, high = (mantissa >> DIGIT) << shift;
    const int64_t digits[3] = {(int64_t)(low & 0xffffffffu),
                               (int64_t)((low >> DIGIT) + (high & 0xffffffffu)),
                               (int64_t)(high >> DIGIT)};
    for (size_t i = 0; i < 3; i++)
        sum[limb + i] += term < 0.0 ? -digits[i] : digits[i];
}

double vqc_sum_value(const int64_t *sum, size_t limbs)
{
    int64_t digits[VQC_SUM_LIMBS], carry = 0;
    double value = 0.0;
    /* Digits 0 .. 2^32 - 1 except the highest, which keeps the sign. */
    for (size_t i = 0; i < limbs; i++) {
        const int64_t digit = sum[i] + carry;
        const int64_t rest = digit & 0xffffffff;
        carry = (digit - rest) / ((int64_t)1 << DIGIT);
        digits[i] = i + 1 < limbs ? rest : digit;
    }
    for (size_t i = limbs; i-- > 0;)
        value += ldexp((double)digits[i], DIGIT * (int)i + LOWEST);
    return value;
}
