/* The validated recipe: plain data with bounds and defaults. formats/recipe_yaml.c fills it. */
#ifndef VQC_CORE_RECIPE_H
#define VQC_CORE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/calibrate/observer.h"
#include "core/data/samples_request.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/prune/prune_options.h"
#include "core/vq/vq_types.h"

typedef enum vqc_operators { VQC_OPERATORS_STANDARD, VQC_OPERATORS_ONNXRUNTIME } vqc_operators;
typedef enum vqc_objective { VQC_OBJECTIVE_SIZE, VQC_OBJECTIVE_SPEED } vqc_objective;
typedef enum vqc_granularity {
    VQC_GRANULARITY_TENSOR,
    VQC_GRANULARITY_CHANNEL,
    VQC_GRANULARITY_BLOCK
} vqc_granularity;
typedef enum vqc_range_method {
    VQC_RANGE_AUTO, /* mse below 8 bits in layers of up to 4 Mi weights, else minmax */
    VQC_RANGE_MINMAX,
    VQC_RANGE_PERCENTILE,
    VQC_RANGE_MSE
} vqc_range_method;
/* How weights are rounded to codes; AUTO: balanced for convolutions and all but very large
 * matrices. */
typedef enum vqc_rounding {
    VQC_ROUNDING_AUTO,
    VQC_ROUNDING_NEAREST,
    VQC_ROUNDING_BALANCED
} vqc_rounding;
typedef enum vqc_activations {
    VQC_ACTIVATIONS_NONE,
    VQC_ACTIVATIONS_DYNAMIC,
    VQC_ACTIVATIONS_STATIC
} vqc_activations;
/* How much of the graph static quantization takes; AUTO measures which is better. */
typedef enum vqc_static_operators {
    VQC_STATIC_OPERATORS_AUTO,
    VQC_STATIC_OPERATORS_CHAINS,
    VQC_STATIC_OPERATORS_LINEAR
} vqc_static_operators;
typedef enum vqc_static_format { VQC_STATIC_QDQ, VQC_STATIC_QOPERATOR } vqc_static_format;
typedef enum vqc_activation_type {
    VQC_ACTIVATION_UINT8,
    VQC_ACTIVATION_INT8,
    VQC_ACTIVATION_UINT16,
    VQC_ACTIVATION_INT16
} vqc_activation_type;
/* Weight codes of static layers: int8 with the range cut so that no CPU overflows 16 bits, full
 * int8, or uint8 around 128. */
typedef enum vqc_weight_codes {
    VQC_WEIGHT_CODES_INT8_SAFE,
    VQC_WEIGHT_CODES_INT8,
    VQC_WEIGHT_CODES_UINT8
} vqc_weight_codes;
typedef enum vqc_equalize {
    VQC_EQUALIZE_AUTO,
    VQC_EQUALIZE_NONE,
    VQC_EQUALIZE_CROSS_LAYER,
    VQC_EQUALIZE_SMOOTH
} vqc_equalize;
typedef enum vqc_switch { VQC_SWITCH_AUTO, VQC_SWITCH_OFF, VQC_SWITCH_ON } vqc_switch;
/* What sub-vectors of a weight run along; AUTO picks by operator. */
typedef enum vqc_vq_along {
    VQC_VQ_ALONG_AUTO,
    VQC_VQ_ALONG_INPUT,  /* input channels */
    VQC_VQ_ALONG_OUTPUT, /* output channels */
    VQC_VQ_ALONG_KERNEL  /* positions of a convolution's kernel; without one: input channels */
} vqc_vq_along;
/* How much of the second moment of its inputs a layer is coded with, where it can be observed. */
typedef enum vqc_vq_feedback {
    VQC_VQ_FEEDBACK_AUTO,
    VQC_VQ_FEEDBACK_OFF,
    VQC_VQ_FEEDBACK_DIAGONAL,
    VQC_VQ_FEEDBACK_FULL
} vqc_vq_feedback;
/* How a coded weight is written into the graph; AUTO picks by operator, opset and objective. */
typedef enum vqc_pattern {
    VQC_PATTERN_AUTO,
    VQC_PATTERN_DEQUANTIZE_LINEAR, /* DequantizeLinear; raises the opset when it must */
    VQC_PATTERN_FOLDABLE,          /* Cast/BitShift/Gather/Mul, folded to float at load */
    VQC_PATTERN_MATMUL_NBITS       /* com.microsoft MatMulNBits / GatherBlockQuantized */
} vqc_pattern;

/* Bits of vqc_weight_spec.set: which keys a rule names. One bit per recipe key. */
enum {
    VQC_SPEC_CODEC = 1u << 0,
    VQC_SPEC_BITS = 1u << 1,
    VQC_SPEC_GRANULARITY = 1u << 2,
    VQC_SPEC_BLOCK_SIZE = 1u << 3,
    VQC_SPEC_SYMMETRIC = 1u << 4,
    VQC_SPEC_RANGE = 1u << 5,
    VQC_SPEC_PERCENTILE = 1u << 6,
    VQC_SPEC_REDUCE_RANGE = 1u << 7,
    VQC_SPEC_MIN_ELEMENTS = 1u << 8,
    VQC_SPEC_PATTERN = 1u << 9,
    VQC_SPEC_ACTIVATIONS = 1u << 10,
    VQC_SPEC_ROUNDING = 1u << 11,
    VQC_SPEC_OBSERVER = 1u << 12,
    VQC_SPEC_DIM = 1u << 13,
    VQC_SPEC_CODEBOOK_SIZE = 1u << 14,
    VQC_SPEC_BITS_PER_WEIGHT = 1u << 15,
    VQC_SPEC_ALONG = 1u << 16,
    VQC_SPEC_CODEBOOK_TYPE = 1u << 17,
    VQC_SPEC_STAGES = 1u << 18,
    VQC_SPEC_CHANNEL_SCALE = 1u << 19,
    VQC_SPEC_OUTPUT_GROUPS = 1u << 20,
    VQC_SPEC_INPUT_GROUPS = 1u << 21,
    VQC_SPEC_SHARED_CODEBOOK = 1u << 22,
    VQC_SPEC_SPARSITY = 1u << 23,
    VQC_SPEC_SPARSE = 1u << 24
};

/* How to code one weight. Defaults are those of vqc_weight_spec_default(). */
typedef struct vqc_weight_spec {
    unsigned set;   /* VQC_SPEC_* of the keys named in the recipe */
    char codec[24]; /* a row of the codec table: keep, float16, bfloat16, float8e4m3fn,
                       float8e5m2, int, vq */
    int bits;       /* int: 2, 3, 4, 5, 6, 8 or 16 */
    vqc_granularity granularity;
    int64_t block_size; /* granularity block: elements per scale along the reduction axis, >= 2 */
    bool symmetric;     /* zero_point fixed at the middle code */
    vqc_range_method range;
    double percentile; /* range percentile: 50 < p <= 100, of |w| (symmetric) or both tails */
    bool reduce_range; /* one bit less than the storage (x86 without VNNI) */
    vqc_rounding rounding;
    int64_t min_elements; /* smaller weights stay as they are */
    vqc_pattern pattern;
    vqc_switch sparse; /* weights with zeros stored sparse where that is smaller */
    vqc_activations activations;
    vqc_observer_kind observer; /* activations static: of the layer's input and output */
    /* codec vq */
    int dim;                      /* weights per sub-vector, 1..32; 0: auto */
    int codebook_size;            /* codewords, 2..65536; 0: from bits_per_weight */
    double bits_per_weight;       /* 2^round(bits_per_weight * dim / stages) codewords */
    vqc_vq_along along;           /* what a sub-vector runs along */
    vqc_vq_storage codebook_type; /* how codewords are stored */
    int stages;                   /* codebooks whose codewords are added up */
    vqc_switch channel_scale;     /* a scale per output channel, taken out before clustering */
    int output_groups;            /* runs of output channels with a codebook of their own */
    int input_groups;             /* runs of input sub-vectors with a codebook of their own */
    char *shared_codebook;        /* layers of one name share a codebook; NULL or "none": no */
    double sparsity;              /* share of zeros in place of prune's; only when set */
} vqc_weight_spec;

/* What a layers: rule applies to; an unset key matches everything, all set keys must match. */
typedef struct vqc_match {
    char **names; /* [name_count] globs (* ? [set]) against node names and tensor names */
    size_t name_count;
    char **ops; /* [op_count] operators: Conv, or with a domain "com.microsoft.Attention" */
    size_t op_count;
    int64_t min_elements; /* -1: unset */
    int64_t max_elements; /* -1: unset */
    int rank;             /* -1: unset */
    int64_t *shape;       /* [shape_rank], -1 = any ("*"); NULL: unset */
    size_t shape_rank;
    int64_t first; /* the first N layers of the model; 0: unset */
    int64_t last;  /* the last N layers; 0: unset; with first: either end */
} vqc_match;

typedef struct vqc_layer_rule {
    vqc_match match;
    vqc_weight_spec spec; /* only the keys in spec.set count */
    int line;             /* in the recipe file, for messages; 0 = from --set or API */
    int column;
} vqc_layer_rule;

/* Static quantization of activations, for all layers with activations: static. */
typedef struct vqc_static_options {
    vqc_static_format format;
    vqc_activation_type type;
    bool symmetric; /* zero point at the middle */
    vqc_static_operators operators;
    double percentile; /* observer percentile: share of values inside the range, 50 < p <= 100 */
    vqc_weight_codes weight_codes;
    vqc_switch bias_correction;
    vqc_equalize equalize;
    vqc_match *exclude; /* [exclude_count] nodes that stay float: names, ops, first, last */
    size_t exclude_count;
} vqc_static_options;

/* The accuracy that a static model must keep on samples of its own; unset: NAN. */
typedef struct vqc_accuracy_target {
    double output_sqnr_db;    /* of the worst output */
    double max_accuracy_drop; /* points of top-1 */
    bool wide_fallback;       /* what hurts gets 16-bit activations instead of float */
} vqc_accuracy_target;

/* How codebooks are trained. What needs calibration data has no effect without. */
typedef struct vqc_vq_options {
    int sweeps;      /* of coordinate descent over the indices, each followed by a refit */
    int64_t samples; /* of the calibration data, at most; 0: all */
    int64_t seed;    /* of everything drawn at random */
    double damping;  /* added to second moments, as a share of their mean diagonal */
    vqc_vq_feedback error_feedback;
    vqc_switch sequential; /* code each layer against what the coded ones feed it: AUTO or OFF */
    vqc_switch allocate;   /* share bits_per_weight out among the layers: AUTO or OFF */
    vqc_switch zeros;      /* sub-vectors become 0 where that is worth it: AUTO or OFF */
} vqc_vq_options;

/* Where samples come from; path NULL: nothing given. */
typedef struct vqc_data_options {
    vqc_samples_request calibrate; /* also from --calib */
    vqc_samples_request evaluate;  /* also from --eval; path NULL: held-out calibration samples */
    char *cache;                   /* calibration cache to read when it is there, else to write */
} vqc_data_options;

/* Unset limits are NAN. */
typedef struct vqc_gates {
    double max_size_ratio;           /* file bytes after / before */
    double min_weight_sqnr_db;       /* all coded weights together */
    double layer_max_size_ratio;     /* any coded layer */
    double layer_min_weight_sqnr_db; /* any coded layer */
    double min_output_sqnr_db;       /* measured by running both models: the worst output */
    double min_cosine;               /* the same */
    double min_top1_agreement;       /* share of samples, 0..1 */
    double max_accuracy_drop;        /* points of top-1, needs labels */
    double min_accuracy;             /* top-1 in percent, needs labels */
    bool remove_file;                /* on_miss: remove_file (default keep_file) */
} vqc_gates;

typedef enum vqc_report_sort { VQC_SORT_MODEL, VQC_SORT_BYTES, VQC_SORT_ERROR } vqc_report_sort;

typedef struct vqc_report_options {
    vqc_report_sort sort; /* order of the layer table */
    int64_t top;          /* layers shown; 0 = all */
    char *file;           /* JSON report path, or NULL */
} vqc_report_options;

struct vqc_recipe {
    vqc_arena *arena; /* owns every string and array below */
    char *path;       /* as given, or "built-in default" */
    char *name;       /* stem for the default output name: int8.yaml -> "int8" */
    int version;
    vqc_operators operators;
    vqc_objective objective;
    vqc_weight_spec weights; /* defaults, already merged with weights: and activations: */
    vqc_layer_rule *rules;   /* [rule_count], later rules win */
    size_t rule_count;
    bool fold;                /* fold BatchNormalization and constants into weights */
    bool verify;              /* run the original and the written model and compare them */
    vqc_static_options fixed; /* static quantization */
    vqc_vq_options vq;        /* training of codebooks */
    vqc_prune_options prune;
    vqc_accuracy_target accuracy;
    vqc_data_options data;
    vqc_gates gates;
    vqc_report_options report;
};

/* codec int, 8 bits, per channel, block_size 32, symmetric, range auto, percentile 99.99,
 * reduce_range off, min_elements 1024, pattern auto, activations none; of vq: dim auto, 4 bits per
 * weight, float16 codebooks, one stage, one group; set = 0. */
vqc_weight_spec vqc_weight_spec_default(void);

/* The built-in default recipe: weight-only int8 per channel, name "int8". */
vqc_status vqc_recipe_create_default(vqc_recipe **out, vqc_error *error);

/* Whether some gate can only be checked by running both models. */
bool vqc_gates_need_outputs(const vqc_gates *gates);

/* Overwrites in `base` the keys that `over` names. */
void vqc_weight_spec_merge(vqc_weight_spec *base, const vqc_weight_spec *over);

/* Whether `activations: dynamic` can be done with this spec: integer kernels take 8-bit codes with
 * a scale per tensor or per channel. */
bool vqc_weight_spec_can_be_dynamic(const vqc_weight_spec *spec);

/* Whether some layer is asked to have static activations. */
bool vqc_recipe_is_static(const vqc_recipe *recipe);

/* Whether the weights, or those of some rule, are asked to have that codec. */
bool vqc_recipe_uses_codec(const vqc_recipe *recipe, const char *codec);

/* index of a tensor that is no weight by itself: first: and last: never match it. */
#define VQC_MATCH_NO_INDEX (-1)

/* Whether the recipe prunes anything; whether it does in layers for which no rule says otherwise.
 */
bool vqc_prune_wanted(const vqc_recipe *recipe);
bool vqc_prune_by_default(const vqc_recipe *recipe);

/* Whether `activations: static` can be done with it: what `dynamic` takes, symmetric, or codec vq
 * with one int8 codeword per weight. */
bool vqc_weight_spec_can_be_static(const vqc_weight_spec *spec);

/* Facts of one layer that match: keys look at. */
typedef struct vqc_match_subject {
    const char *tensor_name;
    const char *const *node_names; /* [node_count] names of the nodes that use it */
    const char *const *node_ops;   /* [node_count] "Conv", or "domain.Op" outside ai.onnx */
    size_t node_count;
    const int64_t *dims; /* [rank] */
    size_t rank;
    int64_t index; /* place among the model's layers, 0-based */
    int64_t count; /* how many layers the model has */
} vqc_match_subject;

/* Whether every set key of `match` agrees with `subject`. */
bool vqc_match_test(const vqc_match *match, const vqc_match_subject *subject);

/* Whether `text` matches the glob (* any run, ? any one byte, [a-z] [!a] sets, \ escapes). Linear
 * backtracking: never exponential. */
bool vqc_glob_test(const char *glob, const char *text);

/* The spec of one layer: recipe->weights, then each matching rule in order. *named is set when a
 * rule with a name: key matched (it then also codes tensors outside the default set); may be NULL.
 * Sets rule_hits[i] (when not NULL, [rule_count]) for each rule that matched and leaves the others
 * alone. Dynamic activations become none where the merged spec cannot do them. */
vqc_weight_spec vqc_recipe_resolve(const vqc_recipe *recipe, const vqc_match_subject *subject,
                                   bool *named, bool *rule_hits);

#endif
