/*
 * A codec is one way to store a weight: the extension point of vqc. Adding one is adding a file and
 * a row in core/codec/codec_table.c.
 *
 * What happens to a layer, in order (core/pipeline.c):
 *   1. prepare: the recipe's spec + the layer + the target -> a decision (form, grouping, code
 * range), or a reason why the layer stays as it is;
 *   2. emit with a code that has sizes but no payload: its patch gives the exact cost in bytes;
 *   3. fit: weights -> code, with the error of what was coded;
 *   4. emit with the real code.
 */
#ifndef VQC_CORE_CODEC_CODEC_H
#define VQC_CORE_CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/codec/grouping.h"
#include "core/codec/sparse.h"
#include "core/emit/emitter.h"
#include "core/layer.h"
#include "core/recipe.h"
#include "core/vq/vq_fit.h"
#include "core/vq/vq_layout.h"
#include "kernels/kernels.h"

/* The graph pattern in which a coded weight is written. */
typedef enum vqc_form {
    VQC_FORM_KEEP,
    VQC_FORM_DEQUANTIZE,     /* codes -> DequantizeLinear -> the weight's name */
    VQC_FORM_FOLDABLE,       /* codes -> Cast, Sub, Mul, ... -> the weight's name; folded at load */
    VQC_FORM_MATMUL_NBITS,   /* com.microsoft MatMulNBits in place of MatMul or Gemm */
    VQC_FORM_GATHER_BLOCK,   /* com.microsoft GatherBlockQuantized in place of Gather */
    VQC_FORM_DYNAMIC_MATMUL, /* DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul */
    VQC_FORM_DYNAMIC_CONV,   /* DynamicQuantizeLinear -> ConvInteger -> Cast -> Mul */
    VQC_FORM_DYNAMIC_LSTM    /* com.microsoft DynamicQuantizeLSTM */
} vqc_form;

struct vqc_codec;

/* What will be done to one layer. */
typedef struct vqc_decision {
    const vqc_layer *layer;
    vqc_weight_spec spec;
    const struct vqc_codec *codec; /* NULL: keep */
    vqc_form form;
    vqc_grouping grouping;         /* which weights share a scale */
    int bits;                      /* stored bits per code */
    bool has_zero_point;           /* one zero point per group is stored (asymmetric) */
    bool is_signed;                /* 8 and 16 bits: codes stored as int8 / int16 */
    bool scale_f16;                /* scales stored as float16 times 2^-10 */
    int32_t lo, hi;                /* codes used */
    int32_t middle;                /* zero point of a symmetric code */
    bool is_static;                /* feeds an integer operator with static activations */
    vqc_weight_codes weight_codes; /* of static layers */
    vqc_vq_shape vq;               /* codec vq: the matrix, and how it is cut */
    vqc_vq_layout vq_layout;       /* what the matrix has to do with the tensor */
    vqc_vq_effort vq_effort;
    bool is_shared;     /* its codebook is that of all layers of one name */
    const char *reason; /* why it stays, or is done otherwise than asked; "" */
} vqc_decision;

/* A coded weight. */
typedef struct vqc_code {
    const vqc_decision *decision;
    size_t elements;
    size_t groups;
    void *codes;          /* [elements] u8, s8, u16 or s16; NULL: only sizes are known */
    float *scales;        /* [groups] as decoding will see them; NULL without scales */
    uint16_t *scales_f16; /* [groups] the stored form when decision->scale_f16 */
    int32_t *zero_points; /* [groups] when decision->has_zero_point */
    vqc_vq_code *vq;      /* codec vq: in place of codes and scales; NULL: only sizes are known */
    vqc_error_sums sums;  /* of the decoded codes against the source */
    const vqc_sparse *sparse; /* how the codes are stored; NULL: every one */
} vqc_code;

/* Facts about the run that decisions depend on. */
typedef struct vqc_target {
    vqc_operators operators;
    vqc_objective objective;
    vqc_weight_codes weight_codes; /* of static layers */
    int64_t opset;     /* in force while preparing: the model's, or the one it will be raised to */
    int64_t max_opset; /* how far the opset can be raised; = opset when it cannot */
    bool is_raised;    /* `opset` is final */
    vqc_vq_options vq; /* of the recipe */
    bool is_pruned;    /* the recipe prunes: what is 0 stays 0 */
} vqc_target;

typedef struct vqc_codec {
    const char *name;
    /* prepare looks at the weights for layers in some form (it gets NULL otherwise, and while
     * probing) */
    bool (*reads_weights)(const vqc_layer *layer, const vqc_weight_spec *spec);
    /*
     * Fills decision->form, grouping, code range from decision->layer and ->spec; returns the opset
     * that the form wants (0: any) in *opset_wanted. form = KEEP with a reason when the layer
     * cannot be coded.
     */
    void (*prepare)(vqc_decision *decision, const vqc_target *target, const float *weights,
                    int64_t *opset_wanted);
    /*
     * Codes `weights` [elements] (may be unaligned) into `code` whose arrays are in `arena` (the
     * codes in `payload_arena`, because they may become the file's payload) and measures
     * code->sums. VQC_ERR_MODEL with a reason in error when the values cannot be coded (NaN,
     * infinity, range).
     */
    vqc_status (*fit)(const vqc_decision *decision, const float *weights, vqc_arena *payload_arena,
                      vqc_arena *arena, vqc_code *code, vqc_error *error);
    /* Whether fit would refuse these weights (VQC_ERR_MODEL with the same message); for --dry-run.
     * NULL: it refuses none. */
    vqc_status (*check)(const vqc_decision *decision, const float *weights, vqc_error *error);
    /* Decodes all codes to float32 before rounding to the layer's data type, [elements]. */
    vqc_status (*decode)(const vqc_code *code, vqc_arena *arena, float *weights, vqc_error *error);
    /* Writes the code as initializers and nodes that end in the layer's value (or replace its
     * readers). */
    void (*emit)(vqc_emitter *emitter, const vqc_code *code);
    /* "int8 channel", "int4 block 32 asym"; in arena. */
    const char *(*describe)(const vqc_decision *decision, vqc_arena *arena);
} vqc_codec;

/* The row named `name`, or NULL ("keep" has no row: it is the absence of a codec). */
const vqc_codec *vqc_codec_find(const char *name);

/* The rows. */
extern const vqc_codec vqc_codec_int;
extern const vqc_codec vqc_codec_float16;
extern const vqc_codec vqc_codec_bfloat16;
extern const vqc_codec vqc_codec_float8e4m3fn;
extern const vqc_codec vqc_codec_float8e5m2;
extern const vqc_codec vqc_codec_vq;

/* No row: a weight that stays, without its zeros. For float32, float64, float16 and (opset 20)
 * bfloat16; bit for bit, also -0. Emitted with `sparse` only; dense it can only be weighed. */
extern const vqc_codec vqc_codec_exact;

/*
 * Measures code->sums anew by decoding everything and rounding it to the layer's data type, against
 * weights [elements]: the exact error for sources that are not float32.
 */
vqc_status vqc_code_measure(vqc_code *code, const float *weights, vqc_arena *arena,
                            vqc_error *error);

/* "DequantizeLinear", "foldable", "MatMulNBits", ... */
const char *vqc_form_name(vqc_form form);

#endif
