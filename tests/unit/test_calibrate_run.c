/* Calibration of a model over samples: every thread count, ranges of samples, errors. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/calibrate/calibrate.h"
#include "tests/unit/model_builder.h"
#include "tests/unit/same_stats.h"

enum { RUNS = 24, WIDTH = 3 };

typedef struct fake_samples {
    vqc_samples base;
    float values[8][2 * WIDTH]; /* by slot */
    vqc_buffer *inputs[8];
    const vqc_buffer *pointers[8][1];
    bool fail_at_7;
} fake_samples;

static vqc_status fake_read(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                            vqc_error *error)
{
    fake_samples *f = (fake_samples *)self;
    if (f->fail_at_7 && index == 7)
        return vqc_fail(error, VQC_ERR_IO, "sample 7 cannot be read");
    const int64_t dims[2] = {1 + (int64_t)(index % 2), WIDTH};
    f->inputs[slot] = vqc_buffer_create(VQC_DTYPE_FLOAT, dims, 2);
    if (f->inputs[slot] == NULL)
        return vqc_fail_memory(error, 0);
    for (size_t i = 0; i < f->inputs[slot]->elements; i++) {
        const float value = (float)index - 10.0f + (float)i * 0.25f;
        memcpy(f->inputs[slot]->data + 4 * i, &value, 4);
    }
    f->pointers[slot][0] = f->inputs[slot];
    *out = (vqc_sample){.index = index, .inputs = f->pointers[slot]};
    return VQC_OK;
}

static void fake_release(vqc_samples *self, size_t slot)
{
    vqc_buffer_destroy(&((fake_samples *)self)->inputs[slot]);
}

static void count_progress(void *context, const char *stage, size_t done, size_t total)
{
    cr_assert_str_eq(stage, "calibrate");
    cr_assert(done <= total);
    ++*(size_t *)context;
}

static vqc_status calibrate(const vqc_graph *graph, vqc_calibrate_options options, bool fail,
                            vqc_stats **stats, vqc_error *error)
{
    static fake_samples f;
    memset(&f, 0, sizeof f);
    f.base =
        (vqc_samples){.count = RUNS, .path = "fake", .read = fake_read, .release = fake_release};
    f.fail_at_7 = fail;
    const vqc_value *values[] = {mb_value(graph, "r"), mb_value(graph, "y"), mb_value(graph, "x")};
    return vqc_calibrate(graph, values, 3, &f.base, &options, stats, error);
}

static vqc_model *small_network(void)
{
    vqc_model *model = mb_model(17, 8);
    mb_input(model, NULL, "x");
    mb_matrix(model, "w", 1, WIDTH, 9);
    mb_node(model, NULL, "Relu", "x", "r");
    mb_node(model, NULL, "Concat", "r w", "y");
    cr_assert(vqc_node_add_int(model->arena, model->proto->graph->node[1], "axis", 0));
    mb_output(model, NULL, "y");
    return model;
}

Test(calibrate_run, runs_a_model)
{
    vqc_model *model = small_network();
    vqc_graph *graph = mb_index(model);
    vqc_stats *one = NULL, *two = NULL;
    vqc_error error = {0};
    size_t calls = 0;
    const vqc_calibrate_options single = {
        .threads = 1, .progress = count_progress, .progress_context = &calls};
    cr_assert_eq(calibrate(graph, single, false, &one, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(calls, RUNS);
    cr_assert_eq(calibrate(graph, (vqc_calibrate_options){.threads = 4}, false, &two, &error),
                 VQC_OK, "%s", error.message);
    same_stats_assert(one, two);
    cr_assert_eq(one->count, 3);
    cr_assert_eq(one->samples, RUNS);
    cr_assert_eq(one->fingerprint, vqc_stats_fingerprint(model));
    const vqc_tensor_stats *x = vqc_stats_find(one, "x"), *r = vqc_stats_find(one, "r");
    cr_assert(x != NULL && r != NULL);
    cr_assert(x->all.min == -10.0f && x->all.max == 13.0f + 1.25f);
    cr_assert(r->all.min == 0.0f && r->all.max == 13.0f + 1.25f && r->channels == WIDTH);
    cr_assert(r->all.zeros > 0);
    vqc_stats_destroy(&one);
    vqc_stats_destroy(&two);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(calibrate_run, halves_merge_to_the_whole)
{
    vqc_model *model = small_network();
    vqc_graph *graph = mb_index(model);
    vqc_stats *all = NULL, *first = NULL, *rest = NULL;
    vqc_error error = {0};
    cr_assert_eq(calibrate(graph, (vqc_calibrate_options){.threads = 2}, false, &all, &error),
                 VQC_OK);
    cr_assert_eq(
        calibrate(graph, (vqc_calibrate_options){.threads = 2, .limit = 9}, false, &first, &error),
        VQC_OK);
    cr_assert_eq(
        calibrate(graph, (vqc_calibrate_options){.threads = 1, .first = 9}, false, &rest, &error),
        VQC_OK);
    cr_assert_eq(first->samples, 9);
    cr_assert_eq(vqc_stats_merge(first, rest, &error), VQC_OK);
    cr_assert_eq(first->samples, RUNS);
    for (size_t i = 0; i < all->count; i++) {
        const vqc_tensor_stats *t = &all->tensors[i], *u = &first->tensors[i];
        cr_assert_arr_eq(t->all.bins, u->all.bins, sizeof t->all.bins);
        cr_assert_float_eq(t->all.average_max, u->all.average_max, 1e-9);
        cr_assert_float_eq(t->all.sum, u->all.sum, 1e-9);
        cr_assert_eq(t->channels, u->channels);
        for (size_t c = 0; c < t->channels; c++)
            cr_assert_float_eq(t->channel_mean[c], u->channel_mean[c], 1e-9);
    }
    first->fingerprint ^= 1;
    cr_assert_eq(vqc_stats_merge(first, rest, &error), VQC_ERR_MODEL);
    cr_assert(strstr(error.message, "fingerprints") != NULL);
    cr_assert_eq(first->samples, RUNS);
    vqc_stats_destroy(&all);
    vqc_stats_destroy(&first);
    vqc_stats_destroy(&rest);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(calibrate_run, errors_end_it)
{
    vqc_model *model = small_network();
    vqc_graph *graph = mb_index(model);
    vqc_stats *stats = NULL;
    vqc_error error = {0};
    cr_assert_eq(calibrate(graph, (vqc_calibrate_options){.threads = 2}, true, &stats, &error),
                 VQC_ERR_IO);
    cr_assert_str_eq(error.message, "sample 7 cannot be read");
    cr_assert_null(stats);
    cr_assert_eq(calibrate(graph, (vqc_calibrate_options){.threads = 2, .first = RUNS}, false,
                           &stats, &error),
                 VQC_ERR_USAGE);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}
