/*
 * The executor: a model made ready to run many times, also from several threads.
 *
 *     vqc_program *program = NULL;
 *     vqc_runner *runner = NULL;
 *     vqc_buffer *outputs[8] = {NULL};
 *     status = vqc_program_create(graph, NULL, &program, &error);     once per model
 *     status = vqc_runner_create(program, 1, &runner, &error);        once per thread
 *     status = vqc_runner_run(runner, inputs, outputs, NULL, &error); once per sample
 *
 * Shapes are found while running, so they may differ from run to run. float32 arithmetic is float32
 * (fused multiply-add in a fixed order); integer and quantized operators are exact as the ONNX
 * standard defines them. The result does not depend on the number of threads.
 */
#ifndef VQC_CORE_EXEC_PROGRAM_H
#define VQC_CORE_EXEC_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/exec/buffer.h"
#include "core/graph.h"

/* A compiled model: immutable once made, shared by any number of runners. The graph and its model
 * must outlive it. */
typedef struct vqc_program vqc_program;

/* What one thread needs to run a program. */
typedef struct vqc_runner vqc_runner;

/* One input or output of the model. */
typedef struct vqc_program_port {
    const char *name;
    int32_t dtype;                            /* VQC_DTYPE_UNDEFINED when the model does not say */
    int rank;                                 /* -1: unknown */
    int64_t dims[VQC_EXEC_MAX_RANK];          /* -1: free */
    const char *dim_names[VQC_EXEC_MAX_RANK]; /* "batch" or NULL */
    bool has_default;                         /* input with an initializer: may be left out */
} vqc_program_port;

typedef struct vqc_program_options {
    /* Values of the main graph that taps want to see, [tap_count]; never fused away. Constants and
     * graph inputs are allowed. A value that is not computed by any run is an error. */
    const vqc_value *const *taps;
    size_t tap_count;
    bool no_fusion;   /* each node by itself, for tests and profiles */
    size_t max_bytes; /* of arrays alive at a time in one runner; 0: 256 MiB + 64 x the size of
                         the model, at least 4 GiB */
} vqc_program_options;

/* Called while running, when tapped value `index` (of options.taps) is there, in execution order.
 * The buffer is the runner's and dies after the call. A status other than VQC_OK ends the run. */
typedef struct vqc_tap {
    vqc_status (*seen)(void *context, size_t index, const vqc_buffer *buffer, vqc_error *error);
    void *context;
} vqc_tap;

/* Compiles the main graph. options may be NULL. Errors: VQC_ERR_MODEL when operators are missing
 * (all of them are named, with the number of nodes), or the graph is malformed. */
vqc_status vqc_program_create(const vqc_graph *graph, const vqc_program_options *options,
                              vqc_program **out, vqc_error *error);
void vqc_program_destroy(vqc_program **program);

/* The model's inputs without those that are only initializers of IR 3, [*count]; its outputs. */
const vqc_program_port *vqc_program_inputs(const vqc_program *program, size_t *count);
const vqc_program_port *vqc_program_outputs(const vqc_program *program, size_t *count);

/* The inputs of a model as vqc_program_inputs gives them, without compiling it: [*count] in arena,
 * names borrowed from the model. Errors: VQC_ERR_MODEL for sequences, maps and optionals. */
vqc_status vqc_graph_ports(const vqc_graph *graph, vqc_arena *arena, vqc_program_port **inputs,
                           size_t *count, vqc_error *error);

/* threads: cores that one run may use (0: all, 1: none but the caller's). */
vqc_status vqc_runner_create(const vqc_program *program, int threads, vqc_runner **out,
                             vqc_error *error);
void vqc_runner_destroy(vqc_runner **runner);

/*
 * Runs once. inputs [input count] in the order of vqc_program_inputs, borrowed, NULL to take a
 * default; outputs [output count] are the caller's (vqc_buffer_destroy) on success and may borrow
 * from the model, all NULL after an error. tap may be NULL. Errors: VQC_ERR_MODEL for inputs that
 * do not fit the ports and for nodes that contradict their specification (the node is named).
 */
vqc_status vqc_runner_run(vqc_runner *runner, const vqc_buffer *const *inputs, vqc_buffer **outputs,
                          const vqc_tap *tap, vqc_error *error);

/* Time spent per node, filled when profiling was switched on before the runs. */
typedef struct vqc_step_profile {
    const char *op;    /* with what was fused: "Conv+Relu" */
    const char *label; /* node name or first output */
    uint64_t calls;
    uint64_t time_ns;
} vqc_step_profile;
void vqc_runner_profile(vqc_runner *runner, bool on);
const vqc_step_profile *vqc_runner_profile_steps(const vqc_runner *runner, size_t *count);

/* Largest sum of arrays alive at a time so far, in bytes. */
size_t vqc_runner_peak_bytes(const vqc_runner *runner);

/* Operators of the whole model (subgraphs and functions too) that the executor lacks, one line
 * each: "Foo (2 nodes)", "com.x.Bar (1 node)"; empty when it can run. */
vqc_status vqc_program_missing(const vqc_graph *graph, vqc_messages *missing, vqc_error *error);

#endif
