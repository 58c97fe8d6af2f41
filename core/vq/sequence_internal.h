/* A walk over the layers of a model, as its parts see it: sequence_graph.c (what depends on what),
 * sequence_run.c (running a piece of both models), sequence_moments.c. */
#ifndef VQC_CORE_VQ_SEQUENCE_INTERNAL_H
#define VQC_CORE_VQ_SEQUENCE_INTERNAL_H

#include "core/exec/buffer.h"
#include "core/exec/program.h"
#include "core/vq/bias_site.h"
#include "core/vq/sequence.h"

#define VQC_SEQUENCE_NONE SIZE_MAX

/* Bytes of kept values, unless the caller says otherwise, and the most for one layer's moments. */
#define VQC_SEQUENCE_MEMORY ((size_t)1 << 30)

/* A value of the main graph. */
typedef struct vqc_sequence_value {
    const char *name;
    size_t producer;             /* node, or VQC_SEQUENCE_NONE */
    Onnx__TensorProto *tensor;   /* stored under this name; NULL: computed, given or sparse */
    Onnx__TensorProto *replaced; /* what the coded model has instead; NULL: the same */
    bool is_stored;              /* tensor, or a sparse one */
    bool is_given;               /* by samples */
    bool is_constant;            /* the same in every run */
    bool differs;                /* between the models */
    size_t pending;              /* needed nodes not run yet, and layers without a turn yet */
    vqc_buffer **x;              /* [samples] in the original; NULL: not kept */
    vqc_buffer **y;              /* [samples] in the coded model; NULL: as in the original */
} vqc_sequence_value;

typedef struct vqc_sequence_node {
    Onnx__NodeProto *proto;
    size_t *inputs; /* [input_count] values that it or its bodies read, each once */
    size_t input_count;
    size_t *outputs; /* [output_count] values; VQC_SEQUENCE_NONE: without a name */
    size_t output_count;
    bool is_constant;
    bool is_needed; /* for the input of some layer */
    bool is_done;   /* its outputs were computed; those still needed are kept */
    /* What the coded model has instead, with its own bias; NULL: the same. */
    Onnx__NodeProto *replaced;
    Onnx__TensorProto *bias;
} vqc_sequence_node;

typedef struct vqc_sequence_layer {
    const vqc_layer *layer;
    size_t value;  /* of its tensor */
    size_t node;   /* whose input is observed; VQC_SEQUENCE_NONE: none */
    size_t input;  /* that value */
    bool had_turn; /* was in a batch */
    bool is_open;  /* is in the last batch */
    vqc_bias_site bias;
} vqc_sequence_layer;

/* Input moments that layers of a batch share. */
typedef struct vqc_sequence_site {
    size_t layer; /* one of them */
    vqc_moments moments;
    size_t samples;
    bool is_valid;
} vqc_sequence_site;

struct vqc_sequence {
    const vqc_graph *graph;
    vqc_arena *arena;
    vqc_samples *source;
    int threads;
    size_t memory_limit;
    size_t max_vectors; /* 0: as many as moments gain by */
    vqc_sequence_value *values;
    size_t value_count;
    size_t value_capacity;
    size_t *buckets; /* [bucket_count] hash of names: value + 1 */
    size_t bucket_count;
    vqc_sequence_node *nodes;
    size_t node_count;
    size_t *order;      /* [node_count] nodes, producers first */
    size_t *order_rank; /* [node_count] place in it */
    vqc_sequence_layer *layers;
    size_t layer_count;
    size_t *turns; /* [layer_count] layers with moments in graph order */
    size_t turn_count;
    bool began;
    bool recomputes;
    size_t wanted_samples;
    size_t sample_count;
    size_t *ports; /* [port_count] values of the model's inputs, in the order of samples */
    size_t port_count;
    vqc_sequence_item *items; /* [layer_count] */
    vqc_sequence_site *sites; /* [layer_count] */
    size_t site_count;
};

/* ---- sequence_graph.c ---- */

/* Fills values, nodes, order, and ports. */
vqc_status vqc_sequence_index(vqc_sequence *self, vqc_error *error);

/* Decides which values are constant (is_given is set) and which layers have moments; fills turns.
 */
vqc_status vqc_sequence_classify(vqc_sequence *self, vqc_error *error);

/* The value with that name, or VQC_SEQUENCE_NONE. */
size_t vqc_sequence_lookup(const vqc_sequence *self, const char *name);

/* Counts vqc_sequence_value.pending anew. */
void vqc_sequence_count_pending(vqc_sequence *self);

/* Sets vqc_sequence_value.differs of constants, and of what `nodes` [count] (in order) compute. */
void vqc_sequence_mark_differing(vqc_sequence *self, const size_t *nodes, size_t count);

/* Nodes that have to run before value `target` is there, in order, into nodes [node_count]. */
vqc_status vqc_sequence_segment(const vqc_sequence *self, size_t target, size_t *nodes,
                                size_t *count, vqc_error *error);

/* ---- sequence_run.c ---- */

/* Reads self->sample_count samples; their inputs become values. */
vqc_status vqc_sequence_read(vqc_sequence *self, vqc_error *error);

/* Computes `target` for all samples in both models. May lower the number of samples. */
vqc_status vqc_sequence_reach(vqc_sequence *self, size_t target, vqc_error *error);

/* Drops what nothing needs any more, apart from `keep`. */
void vqc_sequence_drop_dead(vqc_sequence *self, size_t keep);
void vqc_sequence_drop_all(vqc_sequence *self);

/* ---- sequence_moments.c ---- */

/* Moments of one site from the values that are kept. */
vqc_status vqc_sequence_measure(const vqc_sequence *self, vqc_sequence_site *site,
                                vqc_error *error);
void vqc_sequence_site_clear(vqc_sequence_site *site);

/* Whether the nodes of two layers take the same vectors out of the same input. */
bool vqc_sequence_same_vectors(const vqc_layer *a, const vqc_layer *b);

#endif
