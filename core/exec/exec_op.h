/*
 * Operators of the executor. A new one is a row in the table of its family's file (exec_ops_*.c); a
 * new family is a new file and a row in exec_table.c.
 */
#ifndef VQC_CORE_EXEC_EXEC_OP_H
#define VQC_CORE_EXEC_EXEC_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <onnx/onnx.pb-c.h>

#include "core/error.h"
#include "core/exec/activation.h"
#include "core/exec/buffer.h"
#include "core/exec/element.h"
#include "core/exec/view.h"

enum { VQC_EXEC_MAX_OUTPUTS = 64 };

/* What a shape rule says about one output. */
typedef struct vqc_exec_type {
    int32_t dtype;
    size_t rank;
    int64_t dims[VQC_EXEC_MAX_RANK];
    bool alias; /* same data as input 0, other dims: nothing is computed for this output */
} vqc_exec_type;

/* One node being executed. */
typedef struct vqc_exec_call {
    const Onnx__NodeProto *node;
    const char *op;                  /* as in the table */
    int64_t opset;                   /* version of the operator's domain in force */
    const vqc_buffer *const *inputs; /* [input_count], NULL where absent */
    size_t input_count;
    size_t output_count;
    vqc_exec_type types[VQC_EXEC_MAX_OUTPUTS]; /* [output_count], filled by the shape rule */
    vqc_buffer **outputs;                      /* [output_count], made from types before run */
    const void *detail;                        /* from the table row */
    void *state;           /* what the shape rule found out and leaves for run, in scratch memory */
    void *prepared;        /* what the row's prepare made of this node; NULL without one */
    vqc_epilogue epilogue; /* VQC_ACT_NONE unless the row says `fuses` */
    int threads; /* threads that run may use; 1 in calibration, where samples are parallel */
    struct vqc_exec_frame *frame; /* the executor's: scratch memory, subgraphs */
    vqc_error *error;
} vqc_exec_call;

typedef vqc_status vqc_exec_fn(vqc_exec_call *call);

/* One operator from one version of its domain on, up to the next row with the same name. */
typedef struct vqc_exec_op {
    const char *op;
    const char *domain; /* "" = ai.onnx */
    int64_t since;
    size_t min_inputs;  /* inputs that must be there, from the first on */
    vqc_exec_fn *shape; /* checks the inputs and sets types; every error belongs here or in run */
    vqc_exec_fn *run;   /* fills outputs that are not aliases; NULL: all of them are */
    const void *detail;
    /*
     * Optional. Called once when the program is made, with those inputs that are constant (the
     * others are NULL, also when present): packs weights, builds tables. Sets call->prepared, which
     * later runs (of several threads at a time) only read, or complete under a lock; release frees
     * it.
     */
    vqc_exec_fn *prepare;
    void (*release)(void *prepared);
    bool fuses;    /* run applies call->epilogue to output 0 (float32) */
    bool in_place; /* output 0 may be input 0's memory (same type and shape, which dies here) */
    bool makes_outputs; /* run allocates every output itself (If, Loop, Scan); shape only checks */
} vqc_exec_op;

/* A row; what follows run_fn are designated members: ".detail = &x, .fuses = true". */
#define VQC_EXEC_ROW(name, of_domain, version, least, shape_fn, run_fn, ...)                       \
    {                                                                                              \
        .op = name, .domain = of_domain, .since = version, .min_inputs = least, .shape = shape_fn, \
        .run = run_fn, __VA_ARGS__                                                                 \
    }

typedef struct vqc_exec_family {
    const vqc_exec_op *ops;
    size_t count;
} vqc_exec_family;

/* The row for an operator at a version of its domain, or NULL. */
const vqc_exec_op *vqc_exec_find(const char *domain, const char *op, int64_t version);

/* The families; each is defined in its exec_ops_*.c. */
extern const vqc_exec_family vqc_exec_ops_create;            /* Constant, Cast, Range, Shape, ... */
extern const vqc_exec_family vqc_exec_ops_elementwise;       /* Add, BitShift, Where, ... */
extern const vqc_exec_family vqc_exec_ops_elementwise_unary; /* Exp, Floor, IsNaN, BitCast, ... */
extern const vqc_exec_family vqc_exec_ops_softmax;           /* Softmax, LogSoftmax, Hardmax */
extern const vqc_exec_family vqc_exec_ops_index;             /* Gather, ScatterND, CumSum, ... */
extern const vqc_exec_family vqc_exec_ops_quantize;          /* QuantizeLinear, DequantizeLinear */
extern const vqc_exec_family vqc_exec_ops_shape;             /* Reshape, Transpose, Concat, ... */
extern const vqc_exec_family vqc_exec_ops_matmul;            /* MatMul, Gemm, Einsum */
extern const vqc_exec_family vqc_exec_ops_conv;              /* Conv, ConvTranspose, ... */
extern const vqc_exec_family vqc_exec_ops_activation;        /* Relu, Sigmoid, Softmax, Gelu, ... */
extern const vqc_exec_family vqc_exec_ops_norm;   /* BatchNormalization, LayerNormalization, ... */
extern const vqc_exec_family vqc_exec_ops_reduce; /* ReduceSum, ArgMax, ... */
extern const vqc_exec_family vqc_exec_ops_pool;   /* MaxPool, AveragePool, ... */
extern const vqc_exec_family vqc_exec_ops_rnn;    /* LSTM, GRU, RNN */
extern const vqc_exec_family vqc_exec_ops_attention;      /* Attention, RotaryEmbedding, ... */
extern const vqc_exec_family vqc_exec_ops_image;          /* Resize, GridSample, RoiAlign, ... */
extern const vqc_exec_family vqc_exec_ops_signal;         /* DFT, STFT, windows */
extern const vqc_exec_family vqc_exec_ops_select;         /* TopK, Unique, NonZero, ... */
extern const vqc_exec_family vqc_exec_ops_detect;         /* NonMaxSuppression, TfIdfVectorizer */
extern const vqc_exec_family vqc_exec_ops_scatter;        /* ScatterElements, ScatterND, ... */
extern const vqc_exec_family vqc_exec_ops_pad;            /* Pad, CenterCropPad */
extern const vqc_exec_family vqc_exec_ops_pattern;        /* EyeLike, OneHot, Trilu, ... */
extern const vqc_exec_family vqc_exec_ops_linear_algebra; /* Det, Einsum, ... */
extern const vqc_exec_family vqc_exec_ops_loss;           /* NegativeLogLikelihoodLoss, ... */
extern const vqc_exec_family
    vqc_exec_ops_legacy; /* operators that ONNX has withdrawn: Upsample, Crop, ImageScaler, ... */
extern const vqc_exec_family vqc_exec_ops_integer;   /* MatMulInteger, QLinearConv, ... */
extern const vqc_exec_family vqc_exec_ops_microsoft; /* com.microsoft: QGemm, MatMulNBits, ... */
extern const vqc_exec_family vqc_exec_ops_microsoft_qlinear; /* QLinearAdd, QLinearConcat, ... */
extern const vqc_exec_family vqc_exec_ops_microsoft_gather;  /* GatherBlockQuantized */
extern const vqc_exec_family vqc_exec_ops_microsoft_lstm;    /* DynamicQuantizeLSTM */
extern const vqc_exec_family vqc_exec_ops_microsoft_nbits;   /* MatMulNBits */
extern const vqc_exec_family vqc_exec_ops_microsoft_fused;   /* FusedConv, FusedGemm, ... */
extern const vqc_exec_family vqc_exec_ops_control;           /* If, Loop, Scan */

/* ---- helpers for shape rules and run functions ---- */

/* Memory for this run of this node, 64-byte aligned, uninitialised; freed by the executor. NULL
 * (and call->error filled) when there is none. Not from inside a parallel region. */
void *vqc_exec_scratch(vqc_exec_call *call, size_t size_bytes);

/* A new array for an output of a row that `makes_outputs`, or for its own use until it destroys it.
 * NULL (and call->error filled) when there is no memory or the limits are passed. */
vqc_buffer *vqc_exec_new_buffer(vqc_exec_call *call, int32_t dtype, const int64_t *dims,
                                size_t rank);

/* Drops an array that a row that `makes_outputs` holds (its own, or a subgraph's output); NULL is
 * allowed. */
void vqc_exec_drop(vqc_exec_call *call, vqc_buffer **buffer);

/*
 * Runs the subgraph in attribute `name` (If, Loop, Scan) with `inputs` [its inputs]; values of the
 * enclosing graphs are seen by name. outputs [its outputs] become the caller's.
 */
vqc_status vqc_exec_subgraph(vqc_exec_call *call, const char *name, const vqc_buffer *const *inputs,
                             size_t input_count, vqc_buffer **outputs, size_t output_count);

/* Fills call->error: node, operator, then the formatted text. Returns VQC_ERR_MODEL. */
vqc_status vqc_exec_fail(vqc_exec_call *call, const char *format, ...) VQC_PRINTF(2, 3);

/* Input i, or NULL when absent. */
const vqc_buffer *vqc_exec_input(const vqc_exec_call *call, size_t i);

/* Type of output 0 = dtype and dims of a buffer. */
void vqc_exec_type_like(vqc_exec_type *type, const vqc_buffer *buffer);

/* Integer contents of a buffer of rank <= 1 into values [capacity]. */
vqc_status vqc_exec_ints(vqc_exec_call *call, const vqc_buffer *buffer, int64_t *values,
                         size_t capacity, size_t *count);

/*
 * Integers given as attribute `name` (old versions) or input `input` (new ones). *given is false,
 * and nothing else is set, when neither is there.
 */
vqc_status vqc_exec_ints_of(vqc_exec_call *call, const char *name, size_t input, int64_t *values,
                            size_t capacity, size_t *count, bool *given);

/* An axis in [-rank, rank) as an index; error otherwise. */
vqc_status vqc_exec_axis(vqc_exec_call *call, int64_t axis, size_t rank, size_t *out);

#endif
