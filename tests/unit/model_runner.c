#include "tests/unit/model_runner.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program.h"

/* ---- samples ---- */

static vqc_buffer view_of(const int64_t *dims, size_t rank, const float *values)
{
    union {
        const float *constant;
        unsigned char *data;
    } cast = {.constant = values};
    vqc_buffer view = {
        .dtype = VQC_DTYPE_FLOAT, .rank = rank, .elements = 1, .width = sizeof(float)};

    view.data = cast.data;
    for (size_t i = 0; i < rank; i++) {
        view.dims[i] = dims[i];
        view.elements *= (size_t)dims[i];
    }
    return view;
}

static vqc_status read_sample(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                              vqc_error *error)
{
    runner_samples *s = self->state;

    (void)error;
    cr_assert_lt(index, self->count * (self->views > 1 ? self->views : 1));
    cr_assert_lt(slot, sizeof s->views / sizeof s->views[0]);
    s->views[slot] = view_of(s->dims, s->rank, s->values + index * s->elements);
    s->pointers[slot] = &s->views[slot];
    *out = (vqc_sample){.index = index, .inputs = &s->pointers[slot]};
    if (s->labels != NULL) {
        out->labels = &s->labels[index];
        out->label_count = 1;
    }
#pragma omp atomic
    s->reads[index]++;
    return VQC_OK;
}

static void release_sample(vqc_samples *self, size_t slot)
{
    (void)self;
    (void)slot;
}

runner_samples *runner_samples_make(size_t count, const int64_t *dims, size_t rank, uint64_t seed)
{
    runner_samples *s = calloc(1, sizeof *s);
    mb_random random = {seed};

    cr_assert_not_null(s);
    s->source = (vqc_samples){.count = count,
                              .path = "memory",
                              .read = read_sample,
                              .release = release_sample,
                              .state = s};
    s->rank = rank;
    s->elements = 1;
    for (size_t i = 0; i < rank; i++) {
        s->dims[i] = dims[i];
        s->elements *= (size_t)dims[i];
    }
    s->values = calloc(count * s->elements + 1, sizeof *s->values);
    s->reads = calloc(count + 1, sizeof *s->reads);
    cr_assert(s->values != NULL && s->reads != NULL);
    mb_random_fill(&random, s->values, count * s->elements, 1.0f, 0.0f);
    return s;
}

void runner_samples_end(runner_samples *s)
{
    free(s->values);
    free(s->labels);
    free(s->reads);
    free(s);
}

/* ---- running ---- */

vqc_buffer *runner_run(vqc_model *model, const int64_t *dims, size_t rank, const float *x,
                       size_t output)
{
    vqc_graph *graph = mb_index(model);
    vqc_program *program = NULL;
    vqc_runner *runner = NULL;
    vqc_buffer *outputs[8] = {NULL};
    vqc_buffer view = view_of(dims, rank, x);
    const vqc_buffer *input = &view;
    vqc_buffer *result;
    vqc_buffer *copy;
    vqc_error error = {0};
    size_t count;

    cr_assert_eq(vqc_program_create(graph, NULL, &program, &error), VQC_OK, "%s", error.message);
    (void)vqc_program_outputs(program, &count);
    cr_assert(output < count && count <= 8);
    cr_assert_eq(vqc_runner_create(program, 1, &runner, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(vqc_runner_run(runner, &input, outputs, NULL, &error), VQC_OK, "%s",
                 error.message);
    result = outputs[output];
    copy = vqc_buffer_create(result->dtype, result->dims, result->rank);
    cr_assert_not_null(copy);
    memcpy(copy->data, result->data, result->elements * result->width);
    for (size_t i = 0; i < count; i++) {
        vqc_buffer_destroy(&outputs[i]);
    }
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    return copy;
}

size_t runner_run_random(vqc_model *model, const int64_t *dims, size_t rank, uint64_t seed,
                         float mean, float *out, size_t capacity)
{
    vqc_buffer *input = vqc_buffer_create(VQC_DTYPE_FLOAT, dims, rank);
    vqc_buffer *output;
    mb_random random = {seed};
    size_t n;

    cr_assert_not_null(input);
    mb_random_fill(&random, (float *)(void *)input->data, input->elements, 1.0f, mean);
    output = runner_run(model, dims, rank, (const float *)(const void *)input->data, 0);
    n = output->elements;
    cr_assert_leq(n, capacity);
    memcpy(out, output->data, n * sizeof *out);
    vqc_buffer_destroy(&output);
    vqc_buffer_destroy(&input);
    return n;
}

void runner_assert_same(vqc_model *a, vqc_model *b, const int64_t *dims, size_t rank, uint64_t seed,
                        double tolerance)
{
    runner_samples *s = runner_samples_make(1, dims, rank, seed);
    vqc_buffer *y[2] = {runner_run(a, dims, rank, s->values, 0),
                        runner_run(b, dims, rank, s->values, 0)};
    double most = 0.0;
    double worst = 0.0;

    cr_assert_eq(y[0]->elements, y[1]->elements);
    cr_assert(y[0]->dtype == VQC_DTYPE_FLOAT && y[1]->dtype == VQC_DTYPE_FLOAT);
    for (size_t i = 0; i < y[0]->elements; i++) {
        float v[2];
        memcpy(&v[0], y[0]->data + i * sizeof(float), sizeof(float));
        memcpy(&v[1], y[1]->data + i * sizeof(float), sizeof(float));
        cr_assert(isfinite(v[0]) && isfinite(v[1]));
        most = fmax(most, fabs((double)v[0]));
        worst = fmax(worst, fabs((double)v[0] - (double)v[1]));
    }
    cr_assert(most > 0.0, "the outputs are all zero: nothing is compared");
    cr_assert(worst <= tolerance * most, "outputs differ by %g of %g", worst, most);
    vqc_buffer_destroy(&y[0]);
    vqc_buffer_destroy(&y[1]);
    runner_samples_end(s);
}

size_t runner_count_nodes(const vqc_model *model, const char *op)
{
    size_t count = 0;

    for (size_t i = 0; i < model->proto->graph->n_node; i++) {
        count += strcmp(model->proto->graph->node[i]->op_type, op) == 0 ? 1 : 0;
    }
    return count;
}
