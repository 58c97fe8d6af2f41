/* A compiled program, as its makers (program_compile.c, program_fold.c, program_fuse.c,
 * program_live.c) and the runner see it. */
#ifndef VQC_CORE_EXEC_PROGRAM_INTERNAL_H
#define VQC_CORE_EXEC_PROGRAM_INTERNAL_H

#include "core/exec/exec_op.h"
#include "core/exec/frame.h"
#include "core/exec/program.h"
#include "core/pointer_map.h"

#define VQC_NO_SLOT SIZE_MAX

enum {
    VQC_PROGRAM_MAX_DEPTH = 40,     /* nested bodies, and nested function calls */
    VQC_PROGRAM_MAX_STEPS = 1 << 20 /* functions that call functions twice grow exponentially */
};

typedef struct vqc_step vqc_step;

/* A node list made ready: the main graph with its functions expanded, or a body. */
typedef struct vqc_block {
    size_t index; /* 0: main */
    vqc_step *steps;
    size_t count;
    size_t capacity;
    size_t *inputs; /* [input_count] slots that are filled before it runs */
    size_t input_count;
    size_t *outputs; /* [output_count] */
    size_t output_count;
    size_t *slots; /* [slot_count] that are defined here and not constant */
    size_t slot_count;
} vqc_block;

typedef struct vqc_step_body {
    const char *name; /* attribute */
    vqc_block *block;
} vqc_step_body;

/* A value that a tap wants to see when the step has run. */
typedef struct vqc_step_tap {
    size_t index; /* of options.taps */
    size_t slot;
} vqc_step_tap;

/* One operator. Slots are numbered through the whole program, so that a body reads a value of an
 * enclosing graph like one of its own. */
struct vqc_step {
    const Onnx__NodeProto *node; /* with a function's attributes filled in */
    const vqc_exec_op *op;
    int64_t opset;
    size_t *inputs;  /* [node->n_input] slots or VQC_NO_SLOT */
    size_t *outputs; /* [node->n_output] slots */
    vqc_step_body *bodies;
    size_t body_count;
    size_t *captures; /* [capture_count] slots of enclosing blocks that the bodies read */
    size_t capture_count;
    size_t *dead; /* [dead_count] slots whose last use this is */
    size_t dead_count;
    vqc_step_tap *taps;
    size_t tap_count;
    void *prepared;
    vqc_epilogue epilogue; /* residual is set while running */
    size_t residual;       /* slot or VQC_NO_SLOT */
    vqc_step *rest;        /* [rest_count] what was fused, to run alone when it does not fit */
    size_t rest_count;
    size_t plain; /* slot of the operator's own result when `rest` is run */
    bool reuses;  /* output 0 may take input 0's memory */
    bool removed; /* constant, or fused into another */
    size_t id;    /* row of the profile */
};

typedef struct vqc_slot {
    const char *name;
    size_t block;         /* where it is defined */
    vqc_buffer *constant; /* the program's, or NULL */
    size_t readers;
} vqc_slot;

struct vqc_program {
    const vqc_graph *graph;
    vqc_arena *arena;
    vqc_slot *slots;
    size_t slot_count;
    size_t slot_capacity;
    vqc_block main;
    size_t block_count;
    size_t step_count;
    vqc_program_port *inputs;
    size_t input_count;
    vqc_program_port *outputs;
    size_t output_count;
    vqc_buffer **defaults; /* [input_count] of inputs with an initializer */
    const vqc_value *const *taps;
    size_t tap_count;
    size_t *tap_slots; /* [tap_count] */
    size_t max_bytes;
    size_t widest; /* most inputs of a step */
    size_t depth;  /* of nested blocks */
    const char **profile_ops;
    const char **profile_labels;
    Onnx__AttributeProto **unpacked; /* [unpacked_count] attribute defaults of functions */
    size_t unpacked_count;
};

/* What a step needs while it runs; one per nesting depth. */
typedef struct vqc_level {
    vqc_exec_call *call;
    const vqc_buffer **inputs;
    vqc_buffer **outputs;
    const vqc_step *step;
} vqc_level;

struct vqc_runner {
    const vqc_program *program;
    vqc_exec_frame frame;
    vqc_buffer **values; /* [program->slot_count]; constants are the program's */
    vqc_level *levels;
    size_t level_count;
    size_t depth; /* of the step that runs */
    int threads;
    const vqc_tap *tap;
    bool profiling;
    vqc_step_profile *profile; /* [program->step_count] */
    uint64_t work_left;
    vqc_error *error;
};

/* A list of missing operators with how often each is there. */
typedef struct vqc_missing {
    struct vqc_missing_entry {
        const char *domain;
        const char *op;
        size_t nodes;
    } * entries;
    size_t count;
    size_t capacity;
} vqc_missing;

/* Counts one node. false: no memory. */
bool vqc_missing_add(vqc_missing *missing, const Onnx__NodeProto *node);
/* "Foo (2 nodes)" */
void vqc_missing_text(const vqc_missing *missing, size_t index, char *text, size_t capacity);
void vqc_missing_clear(vqc_missing *missing);

/* A new slot of a value `name` in block `block`; VQC_NO_SLOT: no memory. */
size_t vqc_program_add_slot(vqc_program *program, const char *name, size_t block);

/* Compiles the main graph from its outputs and taps backwards. */
vqc_status vqc_program_compile(vqc_program *program, vqc_error *error);

/*
 * The node with the attributes that refer to a function's filled in from the calling node (which
 * itself is filled in) and the function's defaults; the node itself when there are none.
 */
vqc_status vqc_function_bind(vqc_program *program, const Onnx__FunctionProto *function,
                             const Onnx__NodeProto *call, const Onnx__NodeProto *node,
                             const Onnx__NodeProto **out, vqc_error *error);

/* "overload" of a node or function, "" without. It is copied to text [capacity]. */
void vqc_node_overload(const ProtobufCMessage *message, unsigned tag, char *text, size_t capacity);

/* Computes the steps whose inputs are constant. */
vqc_status vqc_program_fold(vqc_program *program, vqc_error *error);

/* Joins operators with what follows them. */
vqc_status vqc_program_fuse(vqc_program *program, vqc_error *error);

/* Finds captures, last uses and what may be computed in place; drops unused constants. */
vqc_status vqc_program_live(vqc_program *program, vqc_error *error);

/* Counts vqc_slot.readers in all blocks, outputs and taps included. */
void vqc_program_count_readers(vqc_program *program);

/* Runs one step of a block on the runner's values. */
vqc_status vqc_runner_step(vqc_runner *runner, const vqc_step *step);

#endif
