/*
 * Building ONNX models in memory for unit tests: main graph, bodies of If/Loop/Scan, functions,
 * initializers and Constant nodes of any type. Every failure is a failed assertion. Lists of names
 * are separated by blanks, "-" is an absent input.
 */
#ifndef VQC_TESTS_UNIT_MODEL_BUILDER_H
#define VQC_TESTS_UNIT_MODEL_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/graph.h"
#include "core/model.h"

/* An empty model with one empty graph. */
vqc_model *mb_model(int64_t opset, int64_t ir_version);

/* The bytes that the model would have as a file; *size_bytes of them, in the model's arena. */
const void *mb_serialize(const vqc_model *model, size_t *size_bytes);

/* A model read from those bytes, as a program would see it. */
vqc_model *mb_reopen(const vqc_model *model);

/* A tensor with a copy of `raw` (NULL: zeros). */
Onnx__TensorProto *mb_tensor(vqc_model *model, const char *name, vqc_dtype dtype,
                             const int64_t *dims, size_t rank, const void *raw);

/* A tensor of one of the four float types with values [elements], rounded to it. */
Onnx__TensorProto *mb_float_tensor(vqc_model *model, const char *name, vqc_dtype dtype,
                                   const int64_t *dims, size_t rank, const float *values);

/* An initializer of `graph` (NULL: the main graph). */
Onnx__TensorProto *mb_initializer(vqc_model *model, Onnx__GraphProto *graph,
                                  Onnx__TensorProto *tensor);

/* float32 initializer [rows, cols] of the main graph with Gaussian values. */
Onnx__TensorProto *mb_matrix(vqc_model *model, const char *name, int64_t rows, int64_t cols,
                             uint64_t seed);

/* A node that is in no list yet. op may have a domain: "com.microsoft.Attention". */
Onnx__NodeProto *mb_free_node(vqc_model *model, const char *op, const char *inputs,
                              const char *outputs);

/* The same, appended to `graph` (NULL: the main graph). */
Onnx__NodeProto *mb_node(vqc_model *model, Onnx__GraphProto *graph, const char *op,
                         const char *inputs, const char *outputs);

/* A Constant node with a tensor. */
Onnx__NodeProto *mb_constant(vqc_model *model, Onnx__GraphProto *graph, const char *output,
                             Onnx__TensorProto *tensor);

/* Inputs and outputs of a graph (NULL: the main graph), float32 with unknown shape. */
void mb_input(vqc_model *model, Onnx__GraphProto *graph, const char *name);
void mb_output(vqc_model *model, Onnx__GraphProto *graph, const char *name);

/* An empty graph as attribute `attr` of `node`. */
Onnx__GraphProto *mb_body(vqc_model *model, Onnx__NodeProto *node, const char *attr);

/* A function that imports ai.onnx `opset`. */
Onnx__FunctionProto *mb_function(vqc_model *model, const char *domain, const char *name,
                                 const char *inputs, const char *outputs, int64_t opset);
void mb_function_add(vqc_model *model, Onnx__FunctionProto *function, Onnx__NodeProto *node);

/* The index of the model; asserts that it can be made. */
vqc_graph *mb_index(vqc_model *model);

/* The value `name` of the main graph; asserts that it is there. */
vqc_value *mb_value(const vqc_graph *graph, const char *name);

/* ---- numbers ---- */

/* Seeded generator (splitmix64). */
typedef struct mb_random {
    uint64_t state;
} mb_random;

uint64_t mb_random_next(mb_random *random);
/* Evenly from 0 to limit - 1. */
size_t mb_random_below(mb_random *random, size_t limit);
/* Unit Gaussian (Box and Muller). */
float mb_random_gauss(mb_random *random);
/* Gaussian times `deviation` plus `mean` into x[n]. */
void mb_random_fill(mb_random *random, float *x, size_t n, float deviation, float mean);

#endif
