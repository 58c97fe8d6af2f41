/*
 * Fuzz target of the whole compression. The first byte chooses the recipe (0xFF: all of them, one
 * after the other; bit 5: the opset is never raised), the rest is the model. Whatever is accepted
 * must come out as a model that reads back, no larger than the report says, and a dry run must
 * have said the same.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pipeline.h"
#include "core/report.h"
#include "formats/onnx_file.h"
#include "formats/recipe_yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ALL_RECIPES = 0xFF, KEEP_OPSET = 0x20, RECIPE_MASK = 0x1F };

/* Begins a recipe that changes the model besides its layers: their bytes say less of the file's. */
#define RESHAPES "version: 1 # reshapes\n"

static const char *const recipes[] = {
    "version: 1\n",
    "version: 1\nweights: {bits: 4, granularity: block, block_size: 16, symmetric: false,"
    " min_elements: 0}\n",
    "version: 1\nweights: {bits: 3, granularity: channel, pattern: foldable, min_elements: 1}\n",
    "version: 1\nweights: {codec: float8e4m3fn, min_elements: 0}\n",
    "version: 1\nweights: {codec: bfloat16, min_elements: 1}\n",
    "version: 1\nactivations: dynamic\nweights: {min_elements: 0}\n",
    "version: 1\ntarget: {operators: onnxruntime}\n"
    "weights: {bits: 4, granularity: block, pattern: matmul_nbits, min_elements: 0}\n",
    "version: 1\ntarget: {objective: speed}\nweights: {bits: 6, symmetric: false, range: mse,"
    " min_elements: 1}\n",
    "version: 1\ntarget: {operators: onnxruntime}\nactivations: dynamic\n"
    "weights: {symmetric: false, min_elements: 0}\n",
    "version: 1\nweights: {bits: 5, granularity: block, block_size: 7, symmetric: false,"
    " pattern: foldable, range: percentile, min_elements: 0}\n",
    "version: 1\nweights: {bits: 16, granularity: tensor, pattern: dequantize_linear,"
    " min_elements: 0}\nlayers: [{match: {name: '*'}, codec: int}]\n",
    "version: 1\nweights: {codec: float16, min_elements: 0}\n",
    "version: 1\nweights: {bits: 2, granularity: block, block_size: 4, pattern: dequantize_linear,"
    " min_elements: 0}\nlayers: [{match: {name: '*', rank: 1}, codec: float16},"
    " {match: {op: Conv, first: 2, last: 1}, bits: 8}]\n",
    "version: 1\nweights: {bits: 4, granularity: block, block_size: 8,"
    " pattern: dequantize_linear, symmetric: false, min_elements: 0}\n",
    "version: 1\ntarget: {operators: onnxruntime}\nactivations: dynamic\n"
    "weights: {granularity: tensor, min_elements: 0, reduce_range: true}\n",
    "version: 1\nweights: {codec: vq, dim: 2, codebook_size: 5, min_elements: 0}\n",
    "version: 1\nweights: {codec: vq, dim: 1, codebook_size: 4, codebook_type: int8,"
    " shared_codebook: a, min_elements: 0}\n",
    "version: 1\ntarget: {objective: speed}\nweights: {codec: vq, dim: 3, codebook_size: 16,"
    " channel_scale: 'on', along: output, output_groups: 2, min_elements: 1}\n",
    "version: 1\nweights: {codec: vq, dim: 4, codebook_size: 4, stages: 2, along: kernel,"
    " codebook_type: float32, input_groups: 2, min_elements: 1}\nvq: {sweeps: 1, seed: 7}\n",
    "version: 1\nweights: {codec: vq, bits_per_weight: 2.5, min_elements: 1}\n",
    "version: 1\nprune: {sparsity: 0.7}\nweights: {min_elements: 0}\n",
    "version: 1\nprune: {sparsity: 0.8, scope: global}\n"
    "weights: {codec: vq, dim: 1, codebook_size: 4, min_elements: 0}\n",
    "version: 1\nprune: {pattern: '2:4'}\n"
    "weights: {bits: 4, granularity: block, block_size: 4, symmetric: false, min_elements: 1}\n",
    "version: 1\nprune: {pattern: block, block: [2, 3], sparsity: 0.6}\n"
    "weights: {codec: float16, min_elements: 0}\n",
    "version: 1\nprune: {threshold: 0.5}\nweights: {codec: keep}\n",
    "version: 1\nprune: {sparsity: 0.5}\n"
    "weights: {codec: vq, dim: 2, codebook_size: 4, min_elements: 0}\n",
    RESHAPES "prune: {pattern: channels, sparsity: 0.5}\nweights: {codec: keep}\n",
    RESHAPES "prune: {pattern: channels, sparsity: 0.3, multiple_of: 2, min_channels: 2}\n"
             "weights: {min_elements: 0}\n",
    RESHAPES "fold: true\nweights: {min_elements: 1}\n",
};
enum { RECIPES = sizeof recipes / sizeof recipes[0] };

static vqc_recipe *parsed[RECIPES];

#define REQUIRE(condition) require(condition, #condition, __LINE__)

static void require(int condition, const char *text, int line)
{
    if (!condition) {
        (void)fprintf(stderr, "fuzz_compress.c:%d: not so: %s\n", line, text);
        abort();
    }
}

static const vqc_recipe *recipe_at(size_t index)
{
    vqc_error error = {VQC_OK, ""};

    if (parsed[index] == NULL &&
        vqc_recipe_parse(recipes[index], strlen(recipes[index]), "fuzz.yaml", NULL, 0,
                         &parsed[index], NULL, &error) != VQC_OK) {
        (void)fprintf(stderr, "recipe %zu: %s\n", index, error.message);
        abort();
    }
    return parsed[index];
}

/* What a run gave. */
typedef struct outcome {
    vqc_model *model; /* NULL: the run failed */
    vqc_report *report;
    size_t size_bytes;
    vqc_error error;
} outcome;

static outcome compress(const uint8_t *data, size_t size, const vqc_recipe *recipe, bool dry,
                        bool keep_opset)
{
    const vqc_run_options run = {.threads = 1, .dry_run = dry};
    const vqc_pipeline_options options = {.run = &run, .keep_opset = keep_opset};
    outcome out = {.error = {VQC_OK, ""}};
    vqc_onnx_written written;

    REQUIRE(vqc_onnx_parse(data, size, "fuzz", &out.model, &out.error) == VQC_OK);
    REQUIRE(vqc_report_create(&out.report, &out.error) == VQC_OK);
    out.report->before.total_bytes = size;
    if (vqc_pipeline_run(out.model, recipe, &options, out.report, &out.error) != VQC_OK) {
        REQUIRE(out.error.code == VQC_ERR_MODEL && out.error.message[0] != '\0');
        vqc_model_destroy(&out.model);
        return out;
    }
    REQUIRE(vqc_onnx_measure(out.model, NULL, &written, &out.error) == VQC_OK);
    out.size_bytes = written.file_size_bytes;
    return out;
}

static void drop(outcome *out)
{
    vqc_model_destroy(&out->model);
    vqc_report_destroy(&out->report);
}

static void check_layer(const vqc_layer_report *layer, bool dry, bool reshapes)
{
    REQUIRE(layer->name != NULL && layer->scope != NULL && layer->node != NULL);
    REQUIRE(layer->op != NULL && layer->dtype != NULL && layer->codec != NULL);
    REQUIRE(layer->pattern != NULL && layer->reason != NULL);
    if (layer->status == VQC_LAYER_KEPT) {
        REQUIRE(layer->after_bytes == layer->before_bytes || reshapes);
        REQUIRE(layer->reason[0] != '\0');
        return;
    }
    REQUIRE(layer->status == VQC_LAYER_CODED);
    REQUIRE(layer->after_bytes < layer->before_bytes);
    REQUIRE(layer->elements > 0);
    if (!dry) {
        REQUIRE(layer->metrics.count == layer->elements);
        REQUIRE(layer->metrics.mse >= 0 && isfinite(layer->metrics.max_abs_error));
    }
}

/* The parts add up to the whole, and the whole to what is written. */
static void check_report(const outcome *out, size_t size_before, bool dry, bool reshapes)
{
    const vqc_report *report = out->report;
    size_t before = 0;
    size_t after = 0;
    uint64_t elements = 0;

    for (size_t i = 0; i < report->layer_count; i++) {
        check_layer(&report->layers[i], dry, reshapes);
        before += report->layers[i].before_bytes;
        after += report->layers[i].after_bytes;
        elements += report->layers[i].elements;
    }
    REQUIRE(report->weight_before_bytes == before && report->weight_after_bytes == after);
    REQUIRE(report->weight_elements == elements);
    REQUIRE(report->coded_count + report->kept_count == report->layer_count);
    if (!reshapes && report->opset_before == report->opset_after &&
        report->ir_before == report->ir_after) {
        /* Besides: lengths of enclosing messages, an import of com.microsoft. */
        size_t slack = 256 + 8 * report->layer_count;
        REQUIRE(out->size_bytes <= size_before - before + after + slack);
        REQUIRE(out->size_bytes + slack >= size_before - before + after);
    }
}

static size_t measure(const uint8_t *data, size_t size)
{
    vqc_model *model = NULL;
    vqc_onnx_written written;
    vqc_error error;

    REQUIRE(vqc_onnx_parse(data, size, "fuzz", &model, &error) == VQC_OK);
    REQUIRE(vqc_onnx_measure(model, NULL, &written, &error) == VQC_OK);
    vqc_model_destroy(&model);
    return written.file_size_bytes;
}

/* What was written reads back, and can be planned again. */
static void check_written(const outcome *out, const vqc_recipe *recipe)
{
    uint8_t *packed = malloc(out->size_bytes + 1);
    outcome again;

    REQUIRE(packed != NULL);
    REQUIRE(onnx__model_proto__pack(out->model->proto, packed) == out->size_bytes);
    again = compress(packed, out->size_bytes, recipe, true, false);
    if (again.model == NULL) {
        (void)fprintf(stderr, "%s\n", again.error.message);
    }
    REQUIRE(again.model != NULL);
    drop(&again);
    free(packed);
}

static void try_recipe(const uint8_t *data, size_t size, size_t index, bool keep_opset)
{
    const vqc_recipe *recipe = recipe_at(index);
    bool reshapes = strncmp(recipes[index], RESHAPES, sizeof RESHAPES - 1) == 0;
    size_t size_before = measure(data, size);
    outcome dry = compress(data, size, recipe, true, keep_opset);
    outcome real = compress(data, size, recipe, false, keep_opset);

    REQUIRE((dry.model == NULL) == (real.model == NULL));
    if (real.model == NULL) {
        REQUIRE(strcmp(dry.error.message, real.error.message) == 0);
    } else {
        check_report(&dry, size_before, true, reshapes);
        check_report(&real, size_before, false, reshapes);
        REQUIRE(dry.report->layer_count == real.report->layer_count);
        for (size_t i = 0; i < real.report->layer_count; i++) {
            const vqc_layer_report *said = &dry.report->layers[i];
            const vqc_layer_report *is = &real.report->layers[i];
            REQUIRE(said->status == is->status && said->after_bytes == is->after_bytes);
            REQUIRE(strcmp(said->codec, is->codec) == 0 && strcmp(said->pattern, is->pattern) == 0);
        }
        REQUIRE(dry.size_bytes == real.size_bytes);
        check_written(&real, recipe);
    }
    drop(&dry);
    drop(&real);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vqc_model *model = NULL;
    vqc_error error;

    if (size < 1 || vqc_onnx_parse(data + 1, size - 1, "fuzz", &model, &error) != VQC_OK) {
        return 0;
    }
    vqc_model_destroy(&model);
    if (data[0] == ALL_RECIPES) {
        for (size_t i = 0; i < RECIPES; i++) {
            try_recipe(data + 1, size - 1, i, false);
        }
    } else {
        try_recipe(data + 1, size - 1, (data[0] & RECIPE_MASK) % RECIPES,
                   (data[0] & KEEP_OPSET) != 0);
    }
    return 0;
}
