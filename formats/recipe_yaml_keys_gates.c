/* Keys of gates. */
#include "core/recipe.h"
#include "formats/recipe_yaml_keys.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char *const on_miss_choices[] = {"keep_file", "remove_file", NULL};

static const vqc_key_row layer_gates_rows[] = {
    {.name = "max_size_ratio",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, layer_max_size_ratio),
     .min = 0,
     .max = 1,
     .min_exclusive = true,
     .help = "Largest bytes after / bytes before of any coded layer."},
    {.name = "min_weight_sqnr_db",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, layer_min_weight_sqnr_db),
     .min = 0,
     .max = 200,
     .help = "Smallest weight signal-to-quantization-noise ratio of any coded layer, in dB."},
};
static const vqc_key_group layer_gates_group = {layer_gates_rows, COUNT_OF(layer_gates_rows), NULL,
                                                0};

static const vqc_key_row gates_rows[] = {
    {.name = "max_size_ratio",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, max_size_ratio),
     .min = 0,
     .max = 1,
     .min_exclusive = true,
     .help = "Largest file size after / before."},
    {.name = "min_weight_sqnr_db",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, min_weight_sqnr_db),
     .min = 0,
     .max = 200,
     .help = "Smallest signal-to-quantization-noise ratio of all coded weights together, in dB."},
    {.name = "min_output_sqnr_db",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, min_output_sqnr_db),
     .min = 0,
     .max = 200,
     .help =
         "Smallest signal-to-quantization-noise ratio of any output, in dB, measured by running "
         "both models."},
    {.name = "min_cosine",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, min_cosine),
     .min = -1,
     .max = 1,
     .help = "Smallest cosine similarity of any output."},
    {.name = "min_top1_agreement",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, min_top1_agreement),
     .min = 0,
     .max = 1,
     .help = "Smallest share of samples for which both models name the same class."},
    {.name = "max_accuracy_drop",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, max_accuracy_drop),
     .min = 0,
     .max = 100,
     .help = "Most points of top-1 accuracy that may be lost; needs labels."},
    {.name = "min_accuracy",
     .type = VQC_KEY_REAL,
     .offset = offsetof(vqc_gates, min_accuracy),
     .min = 0,
     .max = 100,
     .help = "Least top-1 accuracy of the written model in percent; needs labels."},
    {.name = "per_layer",
     .type = VQC_KEY_GROUP,
     .group = &layer_gates_group,
     .help = "Limits that every coded layer must keep by itself."},
    {.name = "on_miss",
     .type = VQC_KEY_ENUM_BOOL,
     .offset = offsetof(vqc_gates, remove_file),
     .choices = on_miss_choices,
     .fallback = "keep_file",
     .help = "What becomes of the written file when a gate is missed; the exit code is 5 either "
             "way."},
};
const vqc_key_group vqc_gates_keys = {gates_rows, COUNT_OF(gates_rows), NULL, 0};
