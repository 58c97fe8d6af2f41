/* Elementwise operators of one input, with up to two parameters: one loop for all of them. */
#ifndef VQC_CORE_EXEC_EXEC_UNARY_H
#define VQC_CORE_EXEC_EXEC_UNARY_H

#include "core/exec/exec_op.h"
#include "kernels/kernels.h"

/* What a row's detail points to. p[0] and p[1] are the parameters. */
typedef struct vqc_unary {
    /* chunk[i] = f(chunk[i]) for n values; NULL: not for this class */
    void (*by_class[VQC_CLASS_COUNT])(vqc_chunk *chunk, size_t n, const double *p);
    const char *names[2];                                     /* float attributes, or NULL */
    double defaults[2];                                       /* where the attribute is absent */
    vqc_status (*parameters)(vqc_exec_call *call, double *p); /* instead of names, or NULL */
    /* float32, contiguous, y may be x; NULL: by_class */
    void (*f32)(const float *x, size_t n, const double *p, float *y);
} vqc_unary;

/* Rows' shape rule and run function: output 0 = f(input 0). */
vqc_status vqc_unary_shape(vqc_exec_call *call);
vqc_status vqc_unary_run(vqc_exec_call *call);

/* by_class functions: `field` is the chunk's member, a and b the parameters in its type. */
#define VQC_UNARY(name, field, type, expression)                                                   \
    static void name##_##field(vqc_chunk *chunk, size_t n, const double *p)                        \
    {                                                                                              \
        const type a = (type)p[0];                                                                 \
        const type b = (type)p[1];                                                                 \
        (void)a;                                                                                   \
        (void)b;                                                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            const type x = chunk->field[i];                                                        \
            chunk->field[i] = (type)(expression);                                                  \
        }                                                                                          \
    }

/* The f32 member of a vqc_unary: a kernel without and with parameters. */
#define VQC_UNARY_KERNEL(name)                                                                     \
    static void name##_kernel(const float *x, size_t n, const double *p, float *y)                 \
    {                                                                                              \
        (void)p;                                                                                   \
        vqc_kernels_get()->f32_##name(x, n, y);                                                    \
    }
#define VQC_PARAMETRIC_KERNEL(name)                                                                \
    static void name##_kernel(const float *x, size_t n, const double *p, float *y)                 \
    {                                                                                              \
        vqc_kernels_get()->f32_##name(x, n, (float)p[0], (float)p[1], y);                          \
    }

#define VQC_UNARY_ROW(op, version, what)                                                           \
    VQC_EXEC_ROW(op, "", version, 1, vqc_unary_shape, vqc_unary_run, .detail = &DETAIL_##what,     \
                 .in_place = true)

#endif
