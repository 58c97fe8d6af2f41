/*
 * Static quantization, the plan: which nodes of the main graph compute with integers, and the scale
 * and zero point of every activation between them. Graph and weights are only read here;
 * static_rewrite.h writes the nodes.
 */
#ifndef VQC_CORE_STATIC_STATIC_PLAN_H
#define VQC_CORE_STATIC_STATIC_PLAN_H

#include "core/calibrate/calibrate.h"
#include "core/plan.h"
#include "core/pointer_map.h"

enum { VQC_UNIT_MAX_DATA = 64 }; /* data inputs of one quantized node: Concat has many */

/* What a node can be to static quantization. */
typedef enum vqc_unit_kind {
    VQC_UNIT_FLOAT,  /* computes in float, always */
    VQC_UNIT_LINEAR, /* Conv, Gemm, MatMul with a coded weight */
    VQC_UNIT_CHAIN,  /* has an integer form of its own: Add, Mul, AveragePool, Concat, ... */
    VQC_UNIT_SHAPE,  /* moves values only: Reshape, MaxPool, ...: one scale in and out */
    VQC_UNIT_CLAMP   /* Relu, Clip: becomes a part of the range before it */
} vqc_unit_kind;

#define VQC_NO_TENSOR ((size_t)-1)

/* One node of the main graph. */
typedef struct vqc_unit {
    Onnx__NodeProto *node;
    const char *label; /* for messages */
    vqc_unit_kind kind;
    size_t data[VQC_UNIT_MAX_DATA]; /* [data_count] tensors that it reads as data */
    size_t data_count;
    size_t output; /* first output tensor */
    size_t clamp;  /* unit of the Relu/Clip that alone reads the output, or VQC_NO_TENSOR */
    vqc_plan_layer *weight;   /* LINEAR: its weight */
    Onnx__TensorProto *bias;  /* LINEAR: constant float32 bias, or NULL */
    const float *bias_values; /* [channels] what takes its place after bias correction, or NULL */
    bool excluded;            /* by the recipe */
    bool in_float;            /* by the search for the accuracy target */
    bool quantized;           /* computes with integers */
    bool quantized_output;    /* and its output is quantized (always but for MatMul and Gemm) */
} vqc_unit;

/* One float32 value of the main graph. */
typedef struct vqc_tensor {
    const vqc_value *value;
    const vqc_tensor_stats *stats; /* NULL: not observed */
    size_t producer;               /* unit, or VQC_NO_TENSOR for graph inputs */
    const size_t *readers;         /* [reader_count] units */
    size_t reader_count;
    bool is_output;             /* of the graph, or read in a subgraph: its name must go on */
    size_t root;                /* tensors with one root share scale and zero point */
    bool wide;                  /* 16 bits by the search */
    vqc_observer_kind observer; /* that the range is made by */
    vqc_range found[VQC_OBSERVER_MSE + 1][2]; /* by observer, at 8 and at 16 bits: searched once */
    bool is_found[VQC_OBSERVER_MSE + 1][2];
    vqc_range range;
    float scale;
    int32_t zero_point;
    int bits;
    bool is_signed;
    bool quantized; /* some unit reads or writes it as integers */
} vqc_tensor;

/* How much of the graph computes with integers. */
typedef enum vqc_static_mode {
    VQC_STATIC_CHAINS, /* every operator that has an integer form and whose inputs are integers */
    VQC_STATIC_LINEAR  /* Conv, Gemm, MatMul, and what only moves values between them */
} vqc_static_mode;

typedef struct vqc_static_plan {
    vqc_graph *graph;
    vqc_plan *plan;
    const vqc_recipe *recipe;
    vqc_arena *arena;
    vqc_unit *units; /* [unit_count], one per node of the main graph, in its order */
    size_t unit_count;
    vqc_tensor *tensors; /* [tensor_count] */
    size_t tensor_count;
    vqc_pointer_map tensor_of; /* value -> tensor */
    vqc_static_mode mode;
    bool out_of_memory; /* while it was made */
} vqc_static_plan;

/*
 * Finds units and tensors. Layers of `plan` that can be static (recipe: activations static, codec
 * int with 8 bits, symmetric, read by one Conv, Gemm or MatMul) get units of kind LINEAR. The plan
 * must be prepared. Everything lives in `arena` except tensor_of (vqc_static_plan_clear).
 */
vqc_status vqc_static_plan_create(vqc_graph *graph, vqc_plan *plan, const vqc_recipe *recipe,
                                  vqc_arena *arena, vqc_static_plan *out, vqc_error *error);
void vqc_static_plan_clear(vqc_static_plan *plan);

/* Values that must be observed: [*count] in the plan's arena. */
vqc_status vqc_static_plan_values(const vqc_static_plan *plan, const vqc_value ***values,
                                  size_t *count, vqc_error *error);

/* Binds the observations to the tensors; a unit with an input or output that was not seen, or saw
 * nothing finite, is excluded. */
void vqc_static_plan_observe(vqc_static_plan *plan, const vqc_stats *stats);

/*
 * Decides by mode, exclusions and in_float which units are quantized and which tensors share their
 * scale, then makes ranges, scales and zero points by each tensor's observer. Called again after
 * every change.
 */
void vqc_static_plan_decide(vqc_static_plan *plan);

/* The tensor that a unit's output becomes: behind the Relu or Clip that alone reads it, or itself.
 */
size_t vqc_unit_result(const vqc_static_plan *plan, size_t unit);

/* Whether a tensor comes out of its producer as integers. */
bool vqc_tensor_comes_quantized(const vqc_static_plan *plan, size_t tensor);

/* Whether some quantized unit reads it. */
bool vqc_tensor_has_quantized_reader(const vqc_static_plan *plan, size_t tensor);

/* The tensor of a value's name in the main graph, or VQC_NO_TENSOR. */
size_t vqc_static_tensor(const vqc_static_plan *plan, const char *name);

/* Number of quantized LINEAR units and of those that could be. */
void vqc_static_plan_count(const vqc_static_plan *plan, size_t *quantized, size_t *possible);

#endif
