/* Codec vq over whole models: what it is given up for, shared codebooks, sizes foretold. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/pipeline.h"
#include "core/report.h"
#include "formats/onnx_file.h"
#include "tests/unit/model_builder.h"

typedef struct piped {
    vqc_model *model;
    vqc_recipe *recipe;
    vqc_report *report;
    size_t after;
} piped;

/* MatMuls in a row: A [96, 80], B [80, 120], C [120, 40]. */
static vqc_model *three_matmuls(void)
{
    vqc_model *model = mb_model(13, 8);

    mb_input(model, NULL, "x");
    (void)mb_matrix(model, "A", 96, 80, 1);
    (void)mb_matrix(model, "B", 80, 120, 2);
    (void)mb_matrix(model, "C", 120, 40, 3);
    (void)mb_node(model, NULL, "MatMul", "x A", "g");
    (void)mb_node(model, NULL, "MatMul", "g B", "h");
    (void)mb_node(model, NULL, "MatMul", "h C", "y");
    mb_output(model, NULL, "y");
    return model;
}

/* sparsity: NAN, or the share of the weights that become zero first */
static piped compress_pruned(vqc_model *model, double sparsity, int dim, int size, char *shared,
                             bool dry_run, vqc_status wanted)
{
    piped p = {.model = model};
    vqc_run_options run = {.threads = 1, .dry_run = dry_run};
    vqc_pipeline_options options = {.run = &run};
    vqc_onnx_written written;
    vqc_error error = {0};
    vqc_status status;

    cr_assert_eq(vqc_recipe_create_default(&p.recipe, &error), VQC_OK);
    (void)snprintf(p.recipe->weights.codec, sizeof p.recipe->weights.codec, "vq");
    p.recipe->weights.dim = dim;
    p.recipe->weights.codebook_size = size;
    p.recipe->weights.shared_codebook = shared;
    p.recipe->weights.min_elements = 0;
    p.recipe->prune.sparsity = sparsity;
    cr_assert_eq(vqc_report_create(&p.report, &error), VQC_OK);
    status = vqc_pipeline_run(model, p.recipe, &options, p.report, &error);
    cr_assert_eq(status, wanted, "%s", error.message);
    if (status == VQC_OK) {
        cr_assert_eq(vqc_onnx_measure(model, NULL, &written, &error), VQC_OK, "%s", error.message);
        p.after = written.file_size_bytes;
    }
    return p;
}

static piped compress(vqc_model *model, int dim, int size, char *shared, bool dry_run,
                      vqc_status wanted)
{
    return compress_pruned(model, (double)NAN, dim, size, shared, dry_run, wanted);
}

static void end(piped *p)
{
    vqc_report_destroy(&p->report);
    vqc_recipe_destroy(&p->recipe);
    vqc_model_destroy(&p->model);
}

Test(vq_pipeline, codebooks_that_do_not_pay_give_way)
{
    piped p = compress(three_matmuls(), 1, 256, NULL, false, VQC_OK);

    for (size_t i = 0; i < 3; i++) { /* 8 bits and a codebook are more than 8 bits */
        const vqc_layer_report *layer = &p.report->layers[i];
        cr_assert_str_eq(layer->codec, "int8 channel", "%s", layer->codec);
        cr_assert_not_null(strstr(layer->reason, "codec vq would take"), "%s", layer->reason);
        cr_assert_eq(layer->codebook.dim, 0);
    }
    end(&p);
    p = compress(three_matmuls(), 2, 64, NULL, false, VQC_OK);
    for (size_t i = 0; i < 3; i++) {
        const vqc_layer_report *layer = &p.report->layers[i];
        cr_assert_str_eq(layer->codec, "vq 2x64 float16", "%s", layer->codec);
        cr_assert(layer->codebook.dim == 2 && layer->codebook.codebook_size == 64 &&
                  layer->codebook.stages == 1 && layer->codebook.codebooks == 1);
        cr_assert_eq(layer->codebook.codebook_bytes, 64 * 2 * 2);
        cr_assert_eq(layer->codebook.index_bytes, layer->elements / 2 * 6 / 8);
        cr_assert_gt(layer->metrics.sqnr_db, 13.0);
    }
    end(&p);
}

static size_t count_tensors(const vqc_model *model, int32_t dtype)
{
    const Onnx__GraphProto *graph = model->proto->graph;
    size_t count = 0;

    for (size_t i = 0; i < graph->n_initializer; i++) {
        count += graph->initializer[i]->data_type == dtype ? 1 : 0;
    }
    return count;
}

Test(vq_pipeline, layers_of_one_name_share_a_codebook)
{
    char name[] = "all";
    piped own = compress(three_matmuls(), 2, 64, NULL, false, VQC_OK);
    piped shared = compress(three_matmuls(), 2, 64, name, false, VQC_OK);
    piped foretold = compress(three_matmuls(), 2, 64, name, true, VQC_OK);

    cr_assert_eq(count_tensors(own.model, VQC_DTYPE_FLOAT16), 3);
    cr_assert_eq(count_tensors(shared.model, VQC_DTYPE_FLOAT16), 1);
    cr_assert_leq(shared.after + 2 * 256, own.after);
    cr_assert_eq(foretold.after, shared.after, "%zu, foretold %zu", shared.after, foretold.after);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_str_eq(shared.report->layers[i].codec, "vq 2x64 float16");
        cr_assert_gt(shared.report->layers[i].metrics.sqnr_db, 12.0);
    }
    end(&own);
    end(&shared);
    end(&foretold);
}

Test(vq_pipeline, one_layer_of_a_name_is_like_any_other)
{
    char name[] = "all";
    vqc_model *model = mb_model(13, 8);
    piped p;

    mb_input(model, NULL, "x");
    (void)mb_matrix(model, "A", 96, 80, 1);
    (void)mb_node(model, NULL, "MatMul", "x A", "y");
    mb_output(model, NULL, "y");
    p = compress(model, 2, 64, name, false, VQC_OK);
    cr_assert_str_eq(p.report->layers[0].codec, "vq 2x64 float16");
    end(&p);
}

static bool has_note(const vqc_report *report, const char *text)
{
    for (size_t i = 0; i < report->note_count; i++) {
        if (strstr(report->notes[i], text) != NULL) {
            return true;
        }
    }
    return false;
}

Test(vq_pipeline, zeros_are_reported_where_they_are_in_the_file)
{
    static const char lost[] = "not all zeros of 3 pruned layers are in the file";

    char name[] = "all";

    for (int dry = 0; dry < 2; dry++) {
        piped packed = compress_pruned(three_matmuls(), 0.5, 4, 64, NULL, dry != 0, VQC_OK);
        piped scalars = compress_pruned(three_matmuls(), 0.5, 1, 16, NULL, dry != 0, VQC_OK);
        piped fours = compress_pruned(three_matmuls(), 0.5, 4, 64, name, dry != 0, VQC_OK);
        piped few = compress_pruned(three_matmuls(), 0.03125, 4, 64, NULL, dry != 0, VQC_OK);
        for (size_t i = 0; i < 3; i++) {
            const vqc_layer_report *layer = &scalars.report->layers[i];
            cr_assert_eq(layer->zeros, layer->elements / 2);
            layer = &packed.report->layers[i];
            cr_assert_eq(layer->zeros, layer->elements / 2);
            layer = &fours.report->layers[i];
            cr_assert_str_eq(layer->codec, "vq 4x64 float16 masked", "%s", layer->codec);
            cr_assert_eq(layer->zeros, layer->elements / 2, "%zu", layer->zeros);
            layer = &few.report->layers[i];
            cr_assert_lt(layer->zeros, layer->elements / 32, "%zu", layer->zeros);
        }
        cr_assert_not(has_note(scalars.report, lost));
        cr_assert_not(has_note(packed.report, lost));
        cr_assert_not(has_note(fours.report, lost));
        cr_assert(has_note(few.report, lost));
        end(&scalars);
        end(&packed);
        end(&fours);
        end(&few);
    }
}
