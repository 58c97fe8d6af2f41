/* Times the kernels of kernels/kernel_list.h on this machine, one core, against C, memcpy and the
 * FMA peak; and a whole matrix product and convolution of the executor against that peak. */
#ifndef VQC_CORE_BENCH_H
#define VQC_CORE_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* One kernel on one instruction set and one working set. Figures that do not apply are 0. */
typedef struct vqc_bench_result {
    const char *kernel;
    const char *cpu;      /* "c", "avx2", ... */
    bool in_cache;        /* else at least 64 MiB */
    size_t elements;      /* per call */
    size_t working_bytes; /* tensors read and written per call */
    double ns_per_element;
    double gb_per_s;        /* 1e9 bytes read and written per second */
    double memcpy_gb_per_s; /* memcpy on as many bytes, measured in turn with the kernel */
    double speed_over_c;    /* time of the C reference / time; 0: not measured */
    double gflops;          /* compute-bound kernels: 1e9 float operations per second */
    double peak_gflops;     /* of the same instruction set, measured in the same run */
} vqc_bench_result;

typedef struct vqc_bench_options {
    const char *kernel_glob; /* NULL: all */
    const char *cpu;         /* a name, "all", or NULL: the one in use */
    void (*result)(void *context, const vqc_bench_result *result); /* called as results come */
    void *context;
} vqc_bench_options;

/* Runs the benchmark. Errors: VQC_ERR_USAGE for a glob that no kernel matches or an instruction set
 * that this build or CPU lacks; VQC_ERR_INTERNAL when out of memory (it takes 320 MiB). */
vqc_status vqc_bench_run(const vqc_bench_options *options, vqc_error *error);

#endif
