/* Keys of pruning. */
#include "core/recipe.h"
#include "formats/recipe_yaml_keys.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char *const score_choices[] = {[VQC_PRUNE_SCORE_AUTO] = "auto",
                                            [VQC_PRUNE_SCORE_MAGNITUDE] = "magnitude",
                                            [VQC_PRUNE_SCORE_WANDA] = "wanda",
                                            [VQC_PRUNE_SCORE_OBS] = "obs",
                                            NULL};
static const char *const scope_choices[] = {[VQC_PRUNE_SCOPE_LAYER] = "layer",
                                            [VQC_PRUNE_SCOPE_GLOBAL] = "global",
                                            [VQC_PRUNE_SCOPE_OUTPUT] = "output",
                                            NULL};
static const char *const compensate_choices[] = {
    [VQC_PRUNE_COMPENSATE_AUTO] = "auto", [VQC_PRUNE_COMPENSATE_OFF] = "off", NULL};

static const vqc_key_row target_rows[] = {
    {.name = "output_sqnr_db",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_recipe, prune.output_sqnr_db),
     .min = 0,
     .max = 200,
     .help = "Prune as much as keeps this output signal-to-noise ratio in dB on calibration "
             "samples kept apart; sparsity is then the most that is tried."},
};
static const vqc_key_group target_group = {target_rows, COUNT_OF(target_rows), NULL, 0};

static const vqc_key_row prune_rows[] = {
    {.name = "sparsity",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_recipe, prune.sparsity),
     .min = 0,
     .max = 1,
     .help = "Share of the weights that become zero, rounded to a whole number of weights."},
    {.name = "threshold",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_recipe, prune.threshold),
     .min = 0,
     .max = 1e30,
     .help = "In place of sparsity: as many weights of a layer become zero as have a magnitude of "
             "at most this."},
    {.name = "pattern",
     .type = VQC_KEY_STRING,
     .offset = offsetof(vqc_recipe, prune.pattern),
     .fallback = "unstructured",
     .help = "unstructured; \"N:M\": of every M neighbouring inputs of an output N stay; block: "
             "whole blocks of the matrix [outputs, inputs]; channels: whole channels, filters, "
             "hidden units and heads, and all that depends on them becomes smaller."},
    {.name = "block",
     .type = VQC_KEY_SIZES,
     .offset = offsetof(vqc_recipe, prune.block),
     .count_offset = offsetof(vqc_recipe, prune.block_rank),
     .min = 1,
     .max = VQC_PRUNE_MAX_BLOCK,
     .help = "With pattern block: outputs and inputs of a block, [rows, columns]."},
    {.name = "multiple_of",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_recipe, prune.multiple_of),
     .min = 1,
     .max = 1024,
     .fallback = "1",
     .help =
         "With pattern channels: the number of channels that stay is divisible by this; runtimes "
         "compute 8 or 16 at a time."},
    {.name = "min_channels",
     .type = VQC_KEY_INT,
     .offset = offsetof(vqc_recipe, prune.min_channels),
     .min = 1,
     .max = 1000000,
     .fallback = "1",
     .help = "With pattern channels: so many of a layer stay at least."},
    {.name = "score",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, prune.score),
     .choices = score_choices,
     .fallback = "auto",
     .help = "What says how much a weight is missed: its magnitude; wanda: magnitude times the "
             "root mean square of its input; obs: what its absence costs after the others have "
             "made up for it; auto: obs with calibration data, else magnitude."},
    {.name = "scope",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, prune.scope),
     .choices = scope_choices,
     .fallback = "layer",
     .help = "layer: every layer loses the same share; global: all layers together, where the "
             "magnitude relative to the layer's norm is least; output: with calibration data each "
             "layer the share at which the model's output loses least, measured layer by layer."},
    {.name = "compensate",
     .type = VQC_KEY_ENUM,
     .offset = offsetof(vqc_recipe, prune.compensate),
     .choices = compensate_choices,
     .fallback = "auto",
     .help = "auto: with calibration data the weights that stay and the biases make up for those "
             "that go, and outputs get back what this takes of their scale where that helps."},
    {.name = "target",
     .type = VQC_KEY_GROUP,
     .group = &target_group,
     .help = "What has to be kept."},
};
const vqc_key_group vqc_prune_keys = {prune_rows, COUNT_OF(prune_rows), NULL, 0};

static const vqc_key_row sparsity_rows[] = {
    {.name = "sparsity",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_weight_spec, sparsity),
     .min = 0,
     .max = 1,
     .spec_bit = VQC_SPEC_SPARSITY,
     .help = "Share of these layers' weights that become zero in place of what prune says; 0: none "
             "is pruned."},
};
const vqc_key_group vqc_sparsity_keys = {sparsity_rows, COUNT_OF(sparsity_rows), NULL, 0};
