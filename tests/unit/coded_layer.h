/* One weight in a small model, decided and coded: what the tests of codecs and patterns share. */
#ifndef VQC_TESTS_UNIT_CODED_LAYER_H
#define VQC_TESTS_UNIT_CODED_LAYER_H

#include "core/codec/codec.h"
#include "tests/unit/model_builder.h"

/* A model whose one node reads the weight "W". */
typedef struct coded_layer {
    vqc_model *model;
    vqc_graph *graph;
    vqc_arena *arena;
    vqc_layer *layer;
    float *weights; /* [elements] as the codec sees them: rounded to the tensor's type */
    vqc_target target;
    vqc_decision decision;
    vqc_code code;
    int64_t opset_wanted;
} coded_layer;

typedef struct coded_layer_options {
    const char *op;     /* "MatMul", "Conv", "com.microsoft.Attention", ... */
    const char *inputs; /* "x W": the weight must be called W */
    vqc_dtype dtype;
    int64_t opset;
    int64_t max_opset;  /* 0: opset */
    int64_t ir_version; /* 0: 8 */
    bool as_constant;   /* the weight is a Constant node */
    bool trans_b;       /* Gemm: attribute transB = 1 */
    vqc_operators operators;
    vqc_objective objective;
} coded_layer_options;

/* MatMul of float32 at opset 13. */
coded_layer_options coded_layer_defaults(void);

/* A spec without surprises: range minmax, nearest rounding, no smallest size. */
vqc_weight_spec coded_layer_spec(const char *codec, int bits, vqc_granularity granularity,
                                 bool symmetric);

/* Builds the model with values [elements] and lets the codec decide. Release with
 * coded_layer_end. */
coded_layer coded_layer_make(const coded_layer_options *options, const int64_t *dims, size_t rank,
                             const float *values, const vqc_weight_spec *spec);
/* Fits; asserts success. */
void coded_layer_fit(coded_layer *c);
/* Decoded weights before rounding to the layer's type, in c->arena. */
float *coded_layer_decode(coded_layer *c);
/* The patch that stores `code` in the model, neither applied nor dropped; asserts success. */
vqc_patch *coded_layer_emit(const coded_layer *c, const vqc_code *code);
void coded_layer_end(coded_layer *c);

/* Code i as a number. */
int32_t coded_layer_code(const coded_layer *c, size_t i);
/* Group of element i, by plain indexing. */
size_t coded_layer_group(const coded_layer *c, size_t i);
size_t coded_layer_elements(const int64_t *dims, size_t rank);
/* Rounds x[n] to a layer's data type and back (float64: unchanged). */
void coded_layer_round(vqc_dtype dtype, float *x, size_t n);

#endif
