/*
 * vqc: the zstd of neural networks. The one public header of libvqc.
 *
 *     vqc_recipe *recipe = NULL;
 *     vqc_report *report = NULL;
 *     vqc_error error;
 *     if (vqc_recipe_load("int8.yaml", NULL, 0, &recipe, NULL, &error) == VQC_OK &&
 *         vqc_compress_file("model.onnx", "model.int8.onnx", recipe, NULL, &report, &error) ==
 * VQC_OK)
 *         ... report->after.file_size_bytes ...
 *     vqc_report_destroy(&report);
 *     vqc_recipe_destroy(&recipe);
 */
#ifndef VQC_H
#define VQC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ---- */

/* Result of every fallible function. The values are the process exit codes and never change. */
typedef enum vqc_status {
    VQC_OK = 0,
    VQC_ERR_INTERNAL = 1, /* a broken invariant, or out of memory */
    VQC_ERR_USAGE = 2,    /* command line or recipe */
    VQC_ERR_MODEL = 3,    /* bad or unsupported model or data */
    VQC_ERR_IO = 4,       /* a file could not be read or written */
    VQC_ERR_GATE = 5      /* a quality or size gate of the recipe was missed */
} vqc_status;

/* One error: what, where, got, wanted, in one line of UTF-8 without a trailing newline. */
typedef struct vqc_error {
    vqc_status code;
    char message[1024];
} vqc_error;

/* A growing list of one-line messages. */
typedef struct vqc_messages {
    char **items; /* [count], each malloc'ed */
    size_t count;
    size_t capacity;
} vqc_messages;

/* Frees the lines; the list is empty afterwards. */
void vqc_messages_clear(vqc_messages *list);

/* "0.1.0" */
const char *vqc_version(void);

/* ---- recipes ---- */

typedef struct vqc_recipe vqc_recipe;

/*
 * Loads the YAML recipe at `path` (NULL: the built-in default, weight-only int8 per channel) and
 * applies `sets` ("weights.bits=4", [set_count]) over it. `problems` (may be NULL) gets every
 * problem as "file:line:column: message". Errors: VQC_ERR_USAGE, VQC_ERR_IO.
 */
vqc_status vqc_recipe_load(const char *path, const char *const *sets, size_t set_count,
                           vqc_recipe **out, vqc_messages *problems, vqc_error *error);

/* Frees; accepts NULL; sets *recipe to NULL. */
void vqc_recipe_destroy(vqc_recipe **recipe);

/* ---- reports: plain data, owned by the vqc_report they hang on ---- */

/* Error of a decoded weight against its reference; formulas in core/metrics.h. */
typedef struct vqc_metrics {
    uint64_t count;       /* elements compared; 0: nothing measured */
    double mse;           /* mean (w - w')^2 */
    double sqnr_db;       /* 10 log10(sum w^2 / sum (w - w')^2); +INFINITY when equal */
    double max_abs_error; /* max |w - w'| */
    double cosine;        /* sum w w' / sqrt(sum w^2 sum w'^2); 1 when both are zero */
    double sum_ref2;      /* sum w^2, to add layers up */
    double sum_err2;      /* sum (w - w')^2 */
} vqc_metrics;

typedef enum vqc_layer_status {
    VQC_LAYER_CODED,  /* written in another form */
    VQC_LAYER_KEPT,   /* a weight that stayed as it was; `reason` says why */
    VQC_LAYER_MISSING /* report --ref: no counterpart found in the compressed model */
} vqc_layer_status;

/* How a weight is vector quantized; dim 0: it is not. */
typedef struct vqc_codebook_report {
    size_t dim;            /* weights per codeword */
    size_t codebook_size;  /* codewords per codebook */
    size_t stages;         /* codewords that are added up */
    size_t codebooks;      /* of one stage: groups of outputs or inputs with one of their own */
    const char *type;      /* of codewords: "float32", "float16", "int8" */
    bool is_scaled;        /* a scale per output channel */
    bool is_masked;        /* a bit per weight keeps zeros exact */
    size_t index_bytes;    /* payload of the indices */
    size_t codebook_bytes; /* payload of all codebooks */
} vqc_codebook_report;

/* One compressible weight. */
typedef struct vqc_layer_report {
    const char *name;    /* tensor name */
    const char *scope;   /* "" main graph, "If_3/then_branch", "function F" */
    const char *node;    /* name of the first node that uses it */
    const char *op;      /* operator of that node, "domain.Op" outside ai.onnx */
    const char *dtype;   /* data type of the source tensor, "float32" */
    const int64_t *dims; /* [rank] */
    size_t rank;
    uint64_t elements;
    uint64_t zeros;   /* weights that are exactly zero; compress: when the recipe prunes, else 0 */
    size_t use_count; /* nodes that read it; > 1: tied */
    vqc_layer_status status;
    const char *codec;      /* "int8 channel", "int4 block 32 asym", "float16", "keep" */
    const char *pattern;    /* "DequantizeLinear", "foldable", "MatMulNBits", "MatMulInteger", "" */
    const char *reason;     /* why it was kept or handled otherwise than asked; "" */
    size_t before_bytes;    /* serialized tensor with its tags, external payload included */
    size_t after_bytes;     /* everything that replaced it: tensors and nodes */
    double bits_per_weight; /* 8 * after_bytes / elements */
    size_t dense_bytes;     /* after_bytes if every zero were stored; 0: not known */
    vqc_codebook_report codebook;
    vqc_metrics metrics; /* against the original weight, also of a pruned one */
    vqc_metrics
        coding_metrics; /* of a pruned weight: what coding it changed; count 0: not pruned */
} vqc_layer_report;

typedef struct vqc_file_size {
    size_t total_bytes;     /* file + external data */
    size_t file_size_bytes; /* the .onnx file */
    size_t external_bytes;  /* its external data */
} vqc_file_size;

/* One missed gate: what was limited, where, the limit and the value measured. */
typedef struct vqc_gate_miss {
    const char *gate;  /* "max_size_ratio", "per_layer.min_weight_sqnr_db", ... */
    const char *layer; /* "" for the whole model */
    double limit;
    double value;
} vqc_gate_miss;

typedef struct vqc_stage_time {
    const char *stage;
    uint64_t time_ns;
} vqc_stage_time;

/* One quantized activation. */
typedef struct vqc_activation_report {
    const char *name;     /* of the tensor */
    const char *node;     /* that computes it, "" for an input of the graph */
    const char *op;       /* of that node */
    const char *type;     /* "uint8", ... */
    const char *observer; /* that made the range */
    double min, max;      /* range that the codes cover */
    double seen_min, seen_max;
    double scale;
    int64_t zero_point;
} vqc_activation_report;

/* One output of the model, or one value inside it, in the original and the written model. */
typedef struct vqc_value_error {
    const char *name;
    const char *node; /* that computes it */
    const char *op;
    double sqnr_db;       /* 10 log10(sum ref^2 / sum (ref - got)^2), over all samples */
    double cosine;        /* NAN for values inside the model */
    double max_abs_error; /* the same */
    double agreement;     /* outputs: share of samples with the same top-1; NAN otherwise */
    double added_db;      /* values inside: the same ratio for the noise that the node adds to that
                             of its noisiest input; INFINITY: none. NAN for outputs */
} vqc_value_error;

/* Both models run on the same samples. Percentages and shares are NAN where they do not apply. */
typedef struct vqc_verification {
    const char *data;  /* path of the samples; NULL when nothing was run */
    bool held_out;     /* calibration samples that calibration did not see */
    bool is_synthetic; /* random inputs: says little */
    size_t samples;
    vqc_value_error *outputs; /* [output_count] */
    size_t output_count;
    vqc_value_error *values; /* [value_count] inside the model, in its order; few samples */
    size_t value_count;
    size_t value_samples;
    double min_sqnr_db;             /* of the worst output */
    double top1_before, top1_after; /* percent, with labels */
    double top5_before, top5_after;
    double mse_before, mse_after; /* mean squared error to targets */
    double perplexity_before, perplexity_after;
    size_t nonfinite; /* NaN and infinities in outputs of the written model only */
} vqc_verification;

/* What a compression did (or, after a dry run, would do). */
typedef struct vqc_report {
    void *arena; /* owns everything below */
    const char *input;
    const char *output; /* "" for a dry run */
    const char *recipe;
    bool dry_run;
    bool unchanged;    /* nothing was to be gained: the output is a byte-for-byte copy */
    bool file_removed; /* a gate was missed and the recipe said remove_file */
    vqc_file_size before;
    vqc_file_size after;
    int64_t opset_before;
    int64_t opset_after;
    int64_t ir_before;
    int64_t ir_after;
    uint64_t weight_elements; /* all layers */
    uint64_t
        weight_zeros; /* of these exactly zero, when the recipe prunes or has vq.zeros; else 0 */
    size_t weight_before_bytes;
    size_t weight_after_bytes;
    size_t coded_count;
    size_t kept_count;
    vqc_metrics metrics;        /* all coded or pruned layers together (count 0 after a dry run) */
    vqc_metrics coding_metrics; /* the same without what pruning changed; count 0: none is pruned */
    vqc_layer_report *layers;   /* [layer_count], model order */
    size_t layer_count;
    vqc_activation_report *activations; /* [activation_count] static quantization, model order */
    size_t activation_count;
    size_t folded;           /* nodes that folding took away */
    size_t removed_channels; /* that pruning took away */
    size_t integer_layers;   /* layers that compute with static integer activations */
    size_t possible_layers;  /* and those that could */
    vqc_verification verification;
    const char **notes; /* [note_count] things the user should know */
    size_t note_count;
    vqc_gate_miss *misses; /* [miss_count] */
    size_t miss_count;
    vqc_stage_time *stages; /* [stage_count] */
    size_t stage_count;
    uint64_t time_ns;         /* wall time of the whole run */
    size_t peak_memory_bytes; /* resident set high-water mark of the process, 0 when unknown */
} vqc_report;

void vqc_report_destroy(vqc_report **report);

/* ---- compress ---- */

typedef struct vqc_run_options {
    int threads;                   /* 0: one per core */
    const char *calibration_data;  /* samples in place of the recipe's calibrate.data, or NULL */
    const char *evaluation_data;   /* the same for evaluate.data */
    const char *calibration_cache; /* the same for calibrate.cache: read when it is there, else
                                      written. It belongs to one model. */
    bool dry_run;                  /* plan and measure sizes, write nothing */
    bool overwrite;                /* replace an existing output */
    /* Called now and then from one thread; may be NULL. */
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void *progress_context;
} vqc_run_options;

/*
 * Reads `input`, compresses by `recipe`, writes `output` atomically and reports. options may be
 * NULL. A missed gate returns VQC_ERR_GATE with *out filled and (unless the recipe says
 * remove_file) the file written.
 */
vqc_status vqc_compress_file(const char *input, const char *output, const vqc_recipe *recipe,
                             const vqc_run_options *options, vqc_report **out, vqc_error *error);

/* ---- inspect ---- */

/* One part of a file. All rows of vqc_inspection add up to size.total_bytes exactly. */
typedef struct vqc_size_row {
    const char *name; /* tensor or node name, "metadata", "graph inputs and outputs", ... */
    const char *scope;
    const char *op; /* operator the bytes belong to ("Conv"), "" when none */
    const char
        *kind; /* "weight", "constant", "node", "value_info", "metadata", "structure", "padding" */
    const char *dtype; /* data type of a tensor, "" otherwise */
    const int64_t *dims;
    size_t rank;
    uint64_t elements; /* of a tensor; 0 otherwise */
    size_t bytes;
    bool has_ref; /* --ref: a reference weight was found for it */
} vqc_size_row;

/* Sum over rows that share one key. */
typedef struct vqc_size_group {
    const char *key;
    size_t bytes;
    uint64_t elements;
    size_t rows;
} vqc_size_group;

typedef struct vqc_inspection {
    void *arena;
    const char *path;
    const char *ref_path; /* "" without --ref */
    vqc_file_size size;
    vqc_file_size ref_size;
    int64_t ir_version;
    const char *opsets; /* "ai.onnx 13, com.microsoft 1" */
    const char *producer;
    uint64_t weight_elements; /* elements of all weights, as their operators see them */
    double bits_per_weight;   /* 8 * bytes of weights and what decodes them / weight_elements */
    vqc_size_row *rows;       /* [row_count] */
    size_t row_count;
    vqc_size_group *by_kind; /* largest first */
    size_t kind_count;
    vqc_size_group *by_op;
    size_t op_count;
    vqc_size_group *by_dtype;
    size_t dtype_count;
    /* Layers: each weight as an operator sees it, with the bytes of all that decodes it. With
     * --ref, before_* is the reference's and metrics are filled by decoding both files. */
    vqc_layer_report *layers;
    size_t layer_count;
    vqc_metrics metrics; /* all layers with metrics together */
    const char **notes;
    size_t note_count;
} vqc_inspection;

/* Measures `path`, and with `ref_path` (may be NULL) the error of every weight against that model.
 */
vqc_status vqc_inspect_file(const char *path, const char *ref_path, vqc_inspection **out,
                            vqc_error *error);
void vqc_inspection_destroy(vqc_inspection **inspection);

/* JSON texts (malloc'ed, NUL-terminated, newline at the end); free with free(). NULL: out of
 * memory. */
char *vqc_report_to_json(const vqc_report *report);
char *vqc_inspection_to_json(const vqc_inspection *inspection);

#ifdef __cplusplus
}
#endif

#endif
