/* Keys of the vq codec: those of a weight, and those of training. */
#include "core/recipe.h"
#include "formats/recipe_yaml_keys.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_INT64_EXACT 9007199254740992.0 /* 2^53: larger integers are not exact in a double */

static const char *const switch_choices[] = {
    [VQC_SWITCH_AUTO] = "auto", [VQC_SWITCH_OFF] = "off", [VQC_SWITCH_ON] = "on", NULL};
static const char *const along_choices[] = {[VQC_VQ_ALONG_AUTO] = "auto",
                                            [VQC_VQ_ALONG_INPUT] = "input",
                                            [VQC_VQ_ALONG_OUTPUT] = "output",
                                            [VQC_VQ_ALONG_KERNEL] = "kernel",
                                            NULL};
static const char *const codebook_type_choices[] = {[VQC_VQ_STORAGE_FLOAT32] = "float32",
                                                    [VQC_VQ_STORAGE_FLOAT16] = "float16",
                                                    [VQC_VQ_STORAGE_INT8] = "int8",
                                                    NULL};
static const char *const feedback_choices[] = {[VQC_VQ_FEEDBACK_AUTO] = "auto",
                                               [VQC_VQ_FEEDBACK_OFF] = "off",
                                               [VQC_VQ_FEEDBACK_DIAGONAL] = "diagonal",
                                               [VQC_VQ_FEEDBACK_FULL] = "full",
                                               NULL};
static const char *const sequential_choices[] = {
    [VQC_SWITCH_AUTO] = "auto", [VQC_SWITCH_OFF] = "off", NULL};

static const vqc_key_row codebook_rows[] = {
    {.name = "dim",
     .type = VQC_KEY_INT_AUTO,
     .offset = offsetof(vqc_weight_spec, dim),
     .min = 1,
     .max = VQC_VQ_MAX_DIM,
     .spec_bit = VQC_SPEC_DIM,
     .fallback = "auto",
     .help = "Codec vq: weights per sub-vector; auto: by the bits and the size of the layer."},
    {.name = "codebook_size",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_weight_spec, codebook_size),
     .min = 2,
     .max = VQC_VQ_MAX_CODEBOOK,
     .spec_bit = VQC_SPEC_CODEBOOK_SIZE,
     .help = "Codec vq: codewords of a codebook, in place of bits_per_weight."},
    {.name = "bits_per_weight",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_weight_spec, bits_per_weight),
     .min = 0,
     .min_exclusive = true,
     .max = 16,
     .spec_bit = VQC_SPEC_BITS_PER_WEIGHT,
     .fallback = "4",
     .help = "Codec vq: bits of indices per weight, also fractions; an index has bits_per_weight "
             "times dim bits, rounded to a whole number and shared among the stages."},
    {.name = "along",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, along),
     .choices = along_choices,
     .spec_bit = VQC_SPEC_ALONG,
     .fallback = "auto",
     .help = "Codec vq: what a sub-vector runs along: input channels, output channels or the "
             "positions of a convolution's kernel."},
    {.name = "codebook_type",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, codebook_type),
     .choices = codebook_type_choices,
     .spec_bit = VQC_SPEC_CODEBOOK_TYPE,
     .fallback = "float16",
     .help = "Codec vq: how codewords are stored; int8 has a scale per codebook and is the default "
             "with objective: speed."},
    {.name = "stages",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_weight_spec, stages),
     .min = 1,
     .max = VQC_VQ_MAX_STAGES,
     .spec_bit = VQC_SPEC_STAGES,
     .fallback = "1",
     .help = "Codec vq: codebooks whose codewords are added up, each with an index of its own."},
    {.name = "channel_scale",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_weight_spec, channel_scale),
     .choices = switch_choices,
     .spec_bit = VQC_SPEC_CHANNEL_SCALE,
     .fallback = "auto",
     .help = "Codec vq: a float16 scale per output channel that is taken out before the codebook "
             "is trained; auto: where channels differ much in size."},
    {.name = "output_groups",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_weight_spec, output_groups),
     .min = 1,
     .max = 4096,
     .spec_bit = VQC_SPEC_OUTPUT_GROUPS,
     .fallback = "1",
     .help = "Codec vq: groups of output channels with a codebook of their own."},
    {.name = "input_groups",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_weight_spec, input_groups),
     .min = 1,
     .max = 4096,
     .spec_bit = VQC_SPEC_INPUT_GROUPS,
     .fallback = "1",
     .help = "Codec vq: groups of input columns with a codebook of their own."},
    {.name = "shared_codebook",
     .type = VQC_KEY_STRING,
     .offset = offsetof(vqc_weight_spec, shared_codebook),
     .spec_bit = VQC_SPEC_SHARED_CODEBOOK,
     .help = "Codec vq: a name; layers of the same name have one codebook, trained over all of "
             "them. none: one of its own again."},
};
const vqc_key_group vqc_codebook_keys = {codebook_rows, COUNT_OF(codebook_rows), NULL, 0};

static const vqc_key_row vq_rows[] = {
    {.name = "sweeps",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_vq_options, sweeps),
     .min = 0,
     .max = 1000,
     .fallback = "4",
     .help = "Times that every index is chosen anew and the codebook fitted to them, after the "
             "first choice."},
    {.name = "samples",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_vq_options, samples),
     .min = 0,
     .max = MAX_INT64_EXACT,
     .fallback = "0",
     .help = "With calibration data: samples that are used, at most; 0: all."},
    {.name = "seed",
     .type = VQC_KEY_INT64,
     .offset = offsetof(vqc_vq_options, seed),
     .min = 0,
     .max = MAX_INT64_EXACT,
     .fallback = "0",
     .help = "Of everything that is drawn at random while codebooks are trained."},
    {.name = "damping",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_vq_options, damping),
     .min = 0,
     .min_exclusive = true,
     .max = 1,
     .fallback = "0.01",
     .help = "With calibration data: added to the second moments of a layer's input, as a share of "
             "their mean."},
    {.name = "error_feedback",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_vq_options, error_feedback),
     .choices = feedback_choices,
     .fallback = "auto",
     .help = "With calibration data: weights coded later make up for the errors of those before "
             "(full), errors are weighted by the power of their input (diagonal), or neither."},
    {.name = "sequential",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_vq_options, sequential),
     .choices = sequential_choices,
     .fallback = "auto",
     .help = "With calibration data: each layer is coded against what the layers coded before it "
             "feed it (auto), or against what the original ones do (off)."},
    {.name = "allocate",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_vq_options, allocate),
     .choices = sequential_choices,
     .fallback = "auto",
     .help = "With calibration data: bits_per_weight is an average, and layers get more or fewer "
             "by what their errors do to the output (auto), or all the same (off)."},
    {.name = "zeros",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_vq_options, zeros),
     .choices = sequential_choices,
     .fallback = "off",
     .help = "With calibration data: sub-vectors become 0 and are left out of the file where the "
             "bytes that saves are worth more than the error (auto), or only where all their "
             "weights are 0 already (off)."},
};
const vqc_key_group vqc_vq_keys = {vq_rows, COUNT_OF(vq_rows), NULL, 0};
