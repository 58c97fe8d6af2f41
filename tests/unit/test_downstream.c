/* Scores of one changed layer by running what lies behind it, against running the whole model. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/vq/downstream.h"
#include "tests/unit/model_runner.h"

enum { SAMPLES = 5, WIDTH = 6 };

static void add_weight(vqc_model *model, const char *name, uint64_t seed)
{
    const int64_t dims[2] = {WIDTH, WIDTH};
    float values[WIDTH * WIDTH];
    mb_random random = {seed};

    mb_random_fill(&random, values, WIDTH * WIDTH, 0.4f, 0.0f);
    mb_initializer(model, NULL, mb_float_tensor(model, name, VQC_DTYPE_FLOAT, dims, 2, values));
}

/* Three layers, a branch around the second one, an output that only the first one reaches. */
static vqc_model *branches(void)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    add_weight(model, "w1", 1);
    add_weight(model, "w2", 2);
    add_weight(model, "w3", 3);
    mb_node(model, NULL, "MatMul", "x w1", "a");
    mb_node(model, NULL, "Relu", "a", "b");
    mb_node(model, NULL, "MatMul", "b w2", "c");
    mb_node(model, NULL, "Add", "c b", "d");
    mb_node(model, NULL, "MatMul", "d w3", "y");
    mb_node(model, NULL, "Sigmoid", "b", "z");
    mb_output(model, NULL, "y");
    mb_output(model, NULL, "z");
    return model;
}

typedef struct setting {
    vqc_model *model;
    vqc_graph *graph;
    vqc_arena *arena;
    const vqc_layer *layers[3];
    runner_samples *samples;
    vqc_reference *reference;
} setting;

static setting begin(void)
{
    setting s = {.model = branches(), .arena = vqc_arena_create()};
    vqc_layer *layers;
    size_t count;
    vqc_error error = {0};

    s.graph = mb_index(s.model);
    cr_assert_eq(vqc_layers_find(s.graph, s.arena, &layers, &count, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(count, 3);
    for (size_t i = 0; i < 3; i++) {
        s.layers[i] = &layers[i];
    }
    s.samples = runner_samples_make(SAMPLES, (const int64_t[]){4, WIDTH}, 2, 7);
    cr_assert_eq(vqc_reference_create(s.graph, &s.samples->source, 0, 1, 0, (size_t)1 << 20, 1,
                                      &s.reference, &error),
                 VQC_OK, "%s", error.message);
    return s;
}

static void end(setting *s)
{
    vqc_reference_destroy(&s->reference);
    runner_samples_end(s->samples);
    vqc_arena_destroy(&s->arena);
    vqc_graph_destroy(&s->graph);
    vqc_model_destroy(&s->model);
}

static vqc_downstream *open_downstream(setting *s, size_t samples, size_t max_bytes, int threads)
{
    vqc_downstream *downstream;
    vqc_error error = {0};

    cr_assert_eq(vqc_downstream_create(s->graph, s->layers, 3, &s->samples->source, s->reference,
                                       samples, max_bytes, threads, &downstream, &error),
                 VQC_OK, "%s", error.message);
    return downstream;
}

Test(downstream, as_the_whole_model)
{
    for (int threads = 1; threads <= 3; threads++) {
        setting s = begin();
        vqc_downstream *downstream = open_downstream(&s, 4, (size_t)1 << 20, threads);

        cr_assert_not_null(downstream);
        for (size_t i = 0; i < 3; i++) {
            Onnx__TensorProto *tensor = s.layers[i]->tensor;
            Onnx__TensorProto before = *tensor;
            float values[WIDTH * WIDTH];
            vqc_score whole, behind;
            vqc_error error = {0};

            memcpy(values, before.raw_data.data, sizeof values);
            values[i] += 0.25f;
            values[WIDTH + i] -= 0.5f;
            tensor->raw_data.data = (uint8_t *)values;
            cr_assert_eq(
                vqc_reference_score(s.reference, s.graph->model, 4, threads, &whole, &error),
                VQC_OK, "%s", error.message);
            cr_assert_eq(vqc_downstream_score(downstream, i, &behind, &error), VQC_OK, "%s",
                         error.message);
            *tensor = before;
            cr_assert_eq(behind.samples, 4);
            cr_assert_eq(behind.worst_output, whole.worst_output);
            cr_assert_eq(behind.values, whole.values);
            cr_assert_float_eq(behind.agreement, whole.agreement, 0.0);
            cr_assert(isfinite(whole.sqnr_db));
            cr_assert_float_eq(behind.sqnr_db, whole.sqnr_db, 1e-3, "layer %zu: %g, whole %g", i,
                               behind.sqnr_db, whole.sqnr_db);
        }
        vqc_downstream_destroy(&downstream);
        end(&s);
    }
}

Test(downstream, nothing_changed)
{
    setting s = begin();
    vqc_downstream *downstream = open_downstream(&s, 0, (size_t)1 << 20, 2);
    vqc_score score;
    vqc_error error = {0};

    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(vqc_downstream_score(downstream, i, &score, &error), VQC_OK);
        cr_assert_eq(score.samples, SAMPLES);
        cr_assert(score.sqnr_db > 120.0);
        cr_assert_float_eq(score.agreement, 1.0, 0.0);
    }
    vqc_downstream_destroy(&downstream);
    end(&s);
}

Test(downstream, more_than_may_be_kept)
{
    setting s = begin();

    cr_assert_null(open_downstream(&s, 0, 64, 2));
    end(&s);
}
