/* Discrete Fourier transforms of any length in double precision. */
#ifndef VQC_CORE_EXEC_FOURIER_H
#define VQC_CORE_EXEC_FOURIER_H

#include <stdbool.h>
#include <stddef.h>

enum { VQC_FOURIER_MAX = 1 << 28 }; /* longest transform */

/* Tables and work memory of one length; for one thread. */
typedef struct vqc_fourier {
    size_t n;
    size_t power;     /* of two: n itself, or at least 2 n - 1 */
    double *roots;    /* [power / 2] complex: exp(-2 pi i k / power) */
    double *chirp;    /* [n] complex: exp(-pi i k k / n); only when power != n */
    double *spectrum; /* [power] complex: of the conjugate chirp */
    double *work;     /* [power] complex */
} vqc_fourier;

/* Doubles that vqc_fourier_init needs for length n, 1 <= n <= VQC_FOURIER_MAX. */
size_t vqc_fourier_doubles(size_t n);

/* Fills the tables in memory [vqc_fourier_doubles(n)], which must outlive the plan. */
void vqc_fourier_init(vqc_fourier *self, size_t n, double *memory);

/* Transforms data [n] complex (real, imaginary, real, ...) in place; neither direction is
 * normalized. Powers of two by Cooley and Tukey, others by Bluestein's chirp transform. */
void vqc_fourier_run(const vqc_fourier *self, double *data, bool inverse);

#endif
