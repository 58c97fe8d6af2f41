#include "examples/exact_math.h"

#include <string.h>

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

random_stream random_open(uint64_t seed, uint64_t stream, uint64_t index)
{
    random_stream random = {mix(mix(mix(seed) + stream) + index)};
    return random;
}

uint64_t random_bits(random_stream *random)
{
    random->state += 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio, odd */
    return mix(random->state);
}

double random_uniform(random_stream *random, double low, double high)
{
    double unit = (double)(random_bits(random) >> 11) * 0x1p-53;
    return low + (high - low) * unit;
}

uint32_t random_below(random_stream *random, uint32_t count)
{
    return (uint32_t)((random_bits(random) >> 32) * count >> 32);
}

double random_normal(random_stream *random)
{
    uint64_t bits = random_bits(random);
    int64_t sum = 0;

    for (int i = 0; i < 4; i++) {
        sum += (int64_t)(bits >> (16 * i) & 0xffff);
    }
    /* four uniform numbers on 0 .. 65535: mean 2 * 65535, variance (65536^2 - 1) / 3 */
    return ((double)sum - 131070.0) * (1.7320508075688772 / 65536.0);
}

double exact_exp(double x)
{
    /* x = k ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts, so that k * high is exact */
    const double log2e = 1.4426950408889634;
    const double ln2_high = 0x1.62e42fefa0000p-1;
    const double ln2_low = 0x1.cf79abc9e3b3ap-40;
    double r;
    double sum = 1.0;
    double power;
    uint64_t bits;
    int k;

    if (!(x >= -700.0)) {
        return 0.0;
    }
    k = (int)(x * log2e - 0.5);
    r = (x - (double)k * ln2_high) - (double)k * ln2_low;
    for (int n = 13; n > 0; n--) { /* Taylor, Horner's way: 0.35^14 / 14! < 1e-17 */
        sum = 1.0 + r * sum / (double)n;
    }
    bits = (uint64_t)(1023 + k) << 52; /* 2^k */
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

void exact_sin_cos(double x, double *sine, double *cosine)
{
    double square = x * x;
    double s = 1.0;
    double c = 1.0;

    for (int n = 18; n > 0; n -= 2) { /* Taylor: 2^20 / 20! < 1e-12 */
        s = 1.0 - square * s / (double)(n * (n + 1));
        c = 1.0 - square * c / (double)(n * (n - 1));
    }
    *sine = x * s;
    *cosine = c;
}
