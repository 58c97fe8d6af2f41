/* The executor of whole models: slots, constants, memory, taps, errors, threads. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program.h"
#include "tests/unit/model_builder.h"

enum { N = 6 };

static const float A[N] = {1, -2, 3, -4, 5, -6};
static const float W[N] = {0.5f, 1, 2, 4, 8, 16};

static vqc_buffer input_of(const float *values, int64_t n)
{
    union {
        const float *constant;
        unsigned char *data;
    } cast = {.constant = values};

    return (vqc_buffer){.dtype = VQC_DTYPE_FLOAT,
                        .rank = 1,
                        .dims = {n},
                        .elements = (size_t)n,
                        .width = sizeof(float),
                        .data = cast.data};
}

static vqc_program *compile(const vqc_graph *graph, const vqc_program_options *options)
{
    vqc_program *program = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_program_create(graph, options, &program, &error), VQC_OK, "%s", error.message);
    return program;
}

static vqc_runner *runner_of(const vqc_program *program)
{
    vqc_runner *runner = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_runner_create(program, 1, &runner, &error), VQC_OK, "%s", error.message);
    return runner;
}

static vqc_buffer *run_one(vqc_runner *runner, const vqc_buffer *input, const vqc_tap *tap)
{
    vqc_buffer *output = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_runner_run(runner, &input, &output, tap, &error), VQC_OK, "%s", error.message);
    return output;
}

static float value_at(const vqc_buffer *buffer, size_t i)
{
    float value;

    memcpy(&value, buffer->data + i * sizeof value, sizeof value);
    return value;
}

/* y = (x + (w + w)) * x - w: one part of it is constant, one name is used twice. */
static vqc_model *small_model(void)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t dims[] = {N};

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_float_tensor(model, "w", VQC_DTYPE_FLOAT, dims, 1, W));
    mb_node(model, NULL, "Add", "w w", "w2");
    mb_node(model, NULL, "Add", "x w2", "s");
    mb_node(model, NULL, "Mul", "s x", "m");
    mb_node(model, NULL, "Sub", "m w", "y");
    mb_node(model, NULL, "Sub", "m s", "unused");
    mb_output(model, NULL, "y");
    return model;
}

static float small_result(size_t i)
{
    return (A[i] + 2 * W[i]) * A[i] - W[i];
}

Test(program, runs)
{
    vqc_model *model = small_model();
    vqc_graph *graph = mb_index(model);
    vqc_program *program = compile(graph, NULL);
    vqc_runner *runner = runner_of(program);
    vqc_buffer input = input_of(A, N);
    const vqc_step_profile *profile;
    size_t count;

    vqc_runner_profile(runner, true);
    for (int i = 0; i < 3; i++) {
        vqc_buffer *y = run_one(runner, &input, NULL);
        cr_assert_eq(y->elements, (size_t)N);
        for (size_t k = 0; k < N; k++) {
            cr_assert_float_eq(value_at(y, k), small_result(k), 1e-6);
        }
        vqc_buffer_destroy(&y);
    }
    profile = vqc_runner_profile_steps(runner, &count);
    cr_assert_eq(count, 3, "the constant and the unused node are not run, got %zu steps", count);
    cr_assert_str_eq(profile[0].op, "Add");
    cr_assert_str_eq(profile[2].label, "y");
    cr_assert_eq(profile[1].calls, 3);
    cr_assert_geq(vqc_runner_peak_bytes(runner), N * sizeof(float));
    cr_assert_leq(vqc_runner_peak_bytes(runner), 2 * N * sizeof(float));
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

typedef struct seen {
    size_t order[8];
    float first[8];
    size_t count;
    size_t stop_at;
} seen;

static vqc_status see(void *context, size_t index, const vqc_buffer *buffer, vqc_error *error)
{
    seen *self = context;

    self->order[self->count] = index;
    self->first[self->count++] = value_at(buffer, 0);
    return self->count == self->stop_at ? vqc_fail(error, VQC_ERR_GATE, "enough") : VQC_OK;
}

Test(program, taps_see_inputs_constants_and_values)
{
    vqc_model *model = small_model();
    vqc_graph *graph = mb_index(model);
    const vqc_value *taps[] = {mb_value(graph, "unused"), mb_value(graph, "s"),
                               mb_value(graph, "w2"), mb_value(graph, "x"), mb_value(graph, "y")};
    vqc_program_options options = {.taps = taps, .tap_count = 5};
    vqc_program *program = compile(graph, &options);
    vqc_runner *runner = runner_of(program);
    vqc_buffer input = input_of(A, N);
    seen got = {.count = 0};
    vqc_tap tap = {see, &got};
    vqc_buffer *y = run_one(runner, &input, &tap);
    const vqc_buffer *inputs[] = {&input};
    vqc_error error;

    cr_assert_eq(got.count, 5);
    cr_assert_eq(got.order[0], 2); /* constants and inputs come first */
    cr_assert_eq(got.first[0], 1.0f);
    cr_assert_eq(got.order[1], 3);
    cr_assert_eq(got.first[1], A[0]);
    cr_assert_eq(got.order[2], 1);
    cr_assert_eq(got.first[2], A[0] + 2 * W[0]);
    vqc_buffer_destroy(&y);

    got = (seen){.stop_at = 2};
    cr_assert_eq(vqc_runner_run(runner, inputs, &y, &tap, &error), VQC_ERR_GATE);
    cr_assert_str_eq(error.message, "enough");
    cr_assert_null(y);
    y = run_one(runner, &input, NULL); /* and goes on afterwards */
    cr_assert_eq(value_at(y, 1), small_result(1));
    vqc_buffer_destroy(&y);
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(program, outputs_may_be_inputs_and_constants)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t dims[] = {N};
    vqc_graph *graph;
    vqc_program *program;
    vqc_runner *runner;
    vqc_buffer input = input_of(A, N);
    const vqc_buffer *inputs[] = {&input};
    vqc_buffer *outputs[4];
    vqc_error error;

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_float_tensor(model, "w", VQC_DTYPE_FLOAT, dims, 1, W));
    mb_node(model, NULL, "Identity", "x", "i");
    mb_output(model, NULL, "x");
    mb_output(model, NULL, "w");
    mb_output(model, NULL, "i");
    mb_output(model, NULL, "x");
    graph = mb_index(model);
    program = compile(graph, NULL);
    runner = runner_of(program);
    cr_assert_eq(vqc_runner_run(runner, inputs, outputs, NULL, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(value_at(outputs[0], 1), A[1]);
    cr_assert_eq(value_at(outputs[1], 1), W[1]);
    cr_assert_eq(value_at(outputs[2], 5), A[5]);
    cr_assert_eq(value_at(outputs[3], 5), A[5]);
    cr_assert_neq(outputs[0]->data, input.data, "the caller's memory may go away");
    for (size_t i = 0; i < 4; i++) {
        vqc_buffer_destroy(&outputs[i]);
    }
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(program, memory_is_reused)
{
    vqc_model *model = mb_model(17, 8);
    vqc_graph *graph;
    vqc_program *program;
    vqc_runner *runner;
    static float values[4096];
    vqc_buffer input = input_of(values, 4096);
    vqc_buffer *y;
    char from[8] = "x";

    mb_input(model, NULL, "x");
    for (int i = 0; i < 50; i++) { /* a chain: two arrays are enough */
        char to[16];
        char both[20];
        (void)snprintf(to, sizeof to, "v%d", i);
        (void)snprintf(both, sizeof both, "%s x", from);
        mb_node(model, NULL, "Add", both, to);
        memcpy(from, to, sizeof from);
    }
    mb_output(model, NULL, "v49");
    graph = mb_index(model);
    program = compile(graph, NULL);
    runner = runner_of(program);
    values[7] = 1.0f;
    y = run_one(runner, &input, NULL);
    cr_assert_eq(value_at(y, 7), 51.0f);
    cr_assert_leq(vqc_runner_peak_bytes(runner), 2 * sizeof values);
    vqc_buffer_destroy(&y);
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(program, pool_gives_back_what_it_got)
{
    vqc_pool pool = {.used_bytes = 0};
    size_t capacity;
    size_t other;
    void *first = vqc_pool_take(&pool, 100000, &capacity);
    void *second;

    cr_assert_not_null(first);
    cr_assert_eq((uintptr_t)first % 64, 0);
    cr_assert_geq(capacity, 100000);
    cr_assert_leq(capacity, 125064);
    vqc_pool_give(&pool, first, capacity);
    second = vqc_pool_take(&pool, 99000, &other);
    cr_assert_eq(first, second);
    cr_assert_eq(other, capacity);
    cr_assert_eq(pool.fresh_count, 1);
    vqc_pool_give(&pool, second, other);
    for (size_t size = 0; size < 5000; size++) {
        void *memory = vqc_pool_take(&pool, size, &capacity);
        cr_assert_not_null(memory);
        cr_assert_geq(capacity, size);
        cr_assert_leq(capacity, size + size / 4 + 64);
        memset(memory, 1, capacity);
        vqc_pool_give(&pool, memory, capacity);
    }
    cr_assert_eq(pool.used_bytes, 0);
    cr_assert_null(vqc_pool_take(&pool, SIZE_MAX - 5, &capacity));
    vqc_pool_clear(&pool);
    cr_assert_eq(pool.cached_bytes, 0);
}

/* A run that asks for the same sizes again gets what it gave back, whatever their order. */
Test(program, pool_serves_a_second_run_from_the_first)
{
    static const size_t sizes[] = {5 << 20, 40 << 20, 9 << 20, 17 << 20, 33 << 20, 6 << 20};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    vqc_pool pool = {.used_bytes = 0};
    size_t fresh = 0;

    for (int run = 0; run < 4; run++) {
        void *before = NULL;
        size_t before_capacity = 0;
        for (size_t i = 0; i < COUNT; i++) {
            size_t capacity;
            void *memory = vqc_pool_take(&pool, sizes[i], &capacity);
            cr_assert_not_null(memory);
            cr_assert_geq(capacity, sizes[i]);
            cr_assert_leq(capacity, 5 * sizes[i]);
            vqc_pool_give(&pool, before, before_capacity);
            before = memory;
            before_capacity = capacity;
        }
        vqc_pool_give(&pool, before, before_capacity);
        cr_assert_eq(pool.used_bytes, 0);
        cr_assert_leq(pool.cached_bytes, 2 * pool.peak_bytes);
        cr_assert(run < 2 || pool.fresh_count == fresh);
        fresh = pool.fresh_count;
    }
    vqc_pool_clear(&pool);
    cr_assert_eq(pool.cached_bytes, 0);
}

static void expect_error(vqc_model *model, const vqc_program_options *options, const char *text)
{
    vqc_graph *graph = mb_index(model);
    vqc_program *program = NULL;
    vqc_error error = {0};

    cr_assert_eq(vqc_program_create(graph, options, &program, &error), VQC_ERR_MODEL);
    cr_assert_null(program);
    cr_assert_not_null(strstr(error.message, text), "%s", error.message);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(program, missing_operators_are_all_named)
{
    vqc_model *model = mb_model(17, 8);
    vqc_graph *graph;
    vqc_messages missing = {0};
    vqc_error error;

    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Foo", "x", "a");
    mb_node(model, NULL, "org.example.Bar", "a", "b");
    mb_node(model, NULL, "Foo", "b", "y");
    mb_node(model, NULL, "Unneeded", "b", "z");
    mb_output(model, NULL, "y");
    graph = mb_index(model);
    cr_assert_eq(vqc_program_missing(graph, &missing, &error), VQC_OK);
    cr_assert_eq(missing.count, 3);
    cr_assert_str_eq(missing.items[0], "Foo (2 nodes)");
    cr_assert_str_eq(missing.items[1], "org.example.Bar (1 node)");
    vqc_messages_clear(&missing);
    vqc_graph_destroy(&graph);
    expect_error(model, NULL, "lacks: Foo (2 nodes), org.example.Bar (1 node)");
}

Test(program, broken_graphs_are_refused)
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Add", "x nowhere", "y");
    mb_output(model, NULL, "y");
    expect_error(model, NULL, "\"nowhere\"");

    model = mb_model(17, 8);
    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Add", "x b", "a");
    mb_node(model, NULL, "Add", "a x", "b");
    mb_output(model, NULL, "b");
    expect_error(model, NULL, "cycle");

    model = mb_model(17, 8);
    mb_input(model, NULL, "x");
    mb_output(model, NULL, "q");
    expect_error(model, NULL, "\"q\"");
}

Test(program, nodes_may_be_out_of_order)
{
    vqc_model *model = mb_model(17, 8);
    vqc_graph *graph;
    vqc_program *program;
    vqc_runner *runner;
    vqc_buffer input = input_of(A, N);
    vqc_buffer *y;

    mb_input(model, NULL, "x");
    mb_node(model, NULL, "Mul", "a x", "y");
    mb_node(model, NULL, "Add", "x x", "a");
    mb_output(model, NULL, "y");
    graph = mb_index(model);
    program = compile(graph, NULL);
    runner = runner_of(program);
    y = run_one(runner, &input, NULL);
    cr_assert_eq(value_at(y, 2), 18.0f);
    vqc_buffer_destroy(&y);
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(program, inputs_are_checked)
{
    vqc_model *model = small_model();
    vqc_graph *graph = mb_index(model);
    vqc_program *program = compile(graph, NULL);
    vqc_runner *runner = runner_of(program);
    vqc_buffer input = input_of(A, N);
    vqc_buffer small = input_of(A, N - 1);
    const vqc_buffer *inputs[] = {NULL};
    vqc_buffer *y;
    vqc_error error;

    cr_assert_eq(vqc_runner_run(runner, inputs, &y, NULL, &error), VQC_ERR_MODEL);
    cr_assert_not_null(strstr(error.message, "\"x\": it was not given"), "%s", error.message);
    inputs[0] = &input;
    input.dtype = VQC_DTYPE_INT32;
    cr_assert_eq(vqc_runner_run(runner, inputs, &y, NULL, &error), VQC_ERR_MODEL);
    cr_assert_not_null(strstr(error.message, "\"x\": got int32 [6], expected float32"), "%s",
                       error.message);
    inputs[0] = &small; /* the ports do not say, the node finds out */
    cr_assert_eq(vqc_runner_run(runner, inputs, &y, NULL, &error), VQC_ERR_MODEL);
    cr_assert_not_null(strstr(error.message, "Add"), "%s", error.message);
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

typedef struct job {
    const vqc_program *program;
    float result[N];
} job;

static void *work(void *context)
{
    job *self = context;
    vqc_runner *runner = runner_of(self->program);
    vqc_buffer input = input_of(A, N);

    for (int i = 0; i < 200; i++) {
        vqc_buffer *y = run_one(runner, &input, NULL);
        for (size_t k = 0; k < N; k++) {
            self->result[k] = value_at(y, k);
        }
        vqc_buffer_destroy(&y);
    }
    vqc_runner_destroy(&runner);
    return NULL;
}

Test(program, runners_of_several_threads_agree)
{
    vqc_model *model = small_model();
    vqc_graph *graph = mb_index(model);
    vqc_program *program = compile(graph, NULL);
    job jobs[4];
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++) {
        jobs[i].program = program;
        cr_assert_eq(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
        for (size_t k = 0; k < N; k++) {
            cr_assert_eq(jobs[i].result[k], small_result(k));
        }
    }
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}
