#include "core/exec/fourier.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define PI 3.14159265358979323846

static size_t power_for(size_t n)
{
    size_t power = 1;

    if ((n & (n - 1)) == 0) {
        return n;
    }
    while (power < 2 * n - 1) {
        power *= 2;
    }
    return power;
}

size_t vqc_fourier_doubles(size_t n)
{
    size_t power = power_for(n);

    return power == n ? power + 1 : power + 2 * n + 4 * power;
}

/* Radix 2, in place: bit-reversed order first, then butterflies of growing span. */
static void transform_power(const double *roots, size_t n, double *data)
{
    for (size_t i = 1, j = 0; i < n; i++) {
        size_t bit = n >> 1;

        for (; (j & bit) != 0; bit >>= 1) {
            j ^= bit;
        }
        j ^= bit;
        if (i < j) {
            double re = data[2 * i];
            double im = data[2 * i + 1];
            data[2 * i] = data[2 * j];
            data[2 * i + 1] = data[2 * j + 1];
            data[2 * j] = re;
            data[2 * j + 1] = im;
        }
    }
    for (size_t half = 1; half < n; half *= 2) {
        size_t step = n / (2 * half);

        for (size_t start = 0; start < n; start += 2 * half) {
            for (size_t k = 0; k < half; k++) {
                double *a = data + 2 * (start + k);
                double *b = a + 2 * half;
                double c = roots[2 * k * step];
                double s = roots[2 * k * step + 1];
                double re = b[0] * c - b[1] * s;
                double im = b[0] * s + b[1] * c;
                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] += re;
                a[1] += im;
            }
        }
    }
}

static void conjugate(double *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        data[2 * i + 1] = -data[2 * i + 1];
    }
}

void vqc_fourier_init(vqc_fourier *self, size_t n, double *memory)
{
    size_t power = power_for(n);

    *self = (vqc_fourier){.n = n, .power = power, .roots = memory};
    for (size_t k = 0; k < power / 2; k++) {
        double angle = -2.0 * PI * (double)k / (double)power;
        self->roots[2 * k] = cos(angle);
        self->roots[2 * k + 1] = sin(angle);
    }
    if (power == n) {
        return;
    }
    self->chirp = memory + power;
    self->spectrum = self->chirp + 2 * n;
    self->work = self->spectrum + 2 * power;
    memset(self->spectrum, 0, 2 * power * sizeof *self->spectrum);
    for (size_t k = 0; k < n; k++) {
        double angle = -PI * (double)((uint64_t)k * k % (2 * n)) / (double)n;
        size_t mirror = k == 0 ? 0 : power - k;

        self->chirp[2 * k] = cos(angle);
        self->chirp[2 * k + 1] = sin(angle);
        self->spectrum[2 * k] = self->spectrum[2 * mirror] = cos(angle);
        self->spectrum[2 * k + 1] = self->spectrum[2 * mirror + 1] = -sin(angle);
    }
    transform_power(self->roots, power, self->spectrum);
}

static void multiply(double *a, const double *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double re = a[2 * i] * b[2 * i] - a[2 * i + 1] * b[2 * i + 1];
        a[2 * i + 1] = a[2 * i] * b[2 * i + 1] + a[2 * i + 1] * b[2 * i];
        a[2 * i] = re;
    }
}

void vqc_fourier_run(const vqc_fourier *self, double *data, bool inverse)
{
    size_t n = self->n;
    double *work = self->work;

    if (inverse) {
        conjugate(data, n);
    }
    if (self->power == n) {
        transform_power(self->roots, n, data);
    } else {
        multiply(data, self->chirp, n);
        memset(work, 0, 2 * self->power * sizeof *work);
        memcpy(work, data, 2 * n * sizeof *work);
        transform_power(self->roots, self->power, work);
        multiply(work, self->spectrum, self->power);
        conjugate(work, self->power); /* the way back: conjugate, forward, conjugate, 1 / power */
        transform_power(self->roots, self->power, work);
        for (size_t i = 0; i < n; i++) {
            data[2 * i] = work[2 * i] / (double)self->power;
            data[2 * i + 1] = -work[2 * i + 1] / (double)self->power;
        }
        multiply(data, self->chirp, n);
    }
    if (inverse) {
        conjugate(data, n);
    }
}
