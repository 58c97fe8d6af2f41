/* The executor of whole models: fusion, If, Loop, Scan and functions. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/program.h"
#include "tests/unit/model_builder.h"

typedef struct setup {
    vqc_model *model;
    vqc_graph *graph;
    vqc_program *program;
    vqc_runner *runner;
} setup;

static setup make(vqc_model *model, bool no_fusion)
{
    vqc_program_options options = {.no_fusion = no_fusion};
    setup s = {.model = model, .graph = mb_index(model)};
    vqc_error error = {0};

    cr_assert_eq(vqc_program_create(s.graph, &options, &s.program, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(vqc_runner_create(s.program, 1, &s.runner, &error), VQC_OK, "%s", error.message);
    return s;
}

static void drop(setup *s)
{
    vqc_runner_destroy(&s->runner);
    vqc_program_destroy(&s->program);
    vqc_graph_destroy(&s->graph);
    vqc_model_destroy(&s->model);
}

static vqc_buffer *filled(const int64_t *dims, size_t rank, uint64_t seed)
{
    vqc_buffer *buffer = vqc_buffer_create(VQC_DTYPE_FLOAT, dims, rank);
    mb_random random = {seed};

    cr_assert_not_null(buffer);
    mb_random_fill(&random, (float *)(void *)buffer->data, buffer->elements, 1.0f, 0.0f);
    return buffer;
}

static float value_at(const vqc_buffer *buffer, size_t i)
{
    float value;

    memcpy(&value, buffer->data + i * sizeof value, sizeof value);
    return value;
}

static vqc_status try_run(const setup *s, const vqc_buffer *x, vqc_buffer **y, vqc_error *error)
{
    return vqc_runner_run(s->runner, &x, y, NULL, error);
}

static vqc_buffer *run(const setup *s, const vqc_buffer *x)
{
    vqc_buffer *y = NULL;
    vqc_error error = {0};

    cr_assert_eq(try_run(s, x, &y, &error), VQC_OK, "%s", error.message);
    return y;
}

static bool has_step(const setup *s, const char *op)
{
    size_t count;
    const vqc_step_profile *steps = vqc_runner_profile_steps(s->runner, &count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(steps[i].op, op) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- fusion ---- */

enum { BATCH = 3, WIDTH = 8 };

/* y = tail(x W): `tail` adds nodes from "h" to "y". */
static vqc_model *dense(void (*tail)(vqc_model *model))
{
    vqc_model *model = mb_model(17, 8);

    mb_input(model, NULL, "x");
    mb_matrix(model, "W", WIDTH, WIDTH, 5);
    mb_node(model, NULL, "MatMul", "x W", "h");
    tail(model);
    mb_output(model, NULL, "y");
    return model;
}

static void tail_relu(vqc_model *model)
{
    mb_node(model, NULL, "Relu", "h", "y");
}

static void tail_clip(vqc_model *model)
{
    const float low = -0.25f;
    const float high = 0.5f;

    mb_initializer(model, NULL, mb_float_tensor(model, "low", VQC_DTYPE_FLOAT, NULL, 0, &low));
    mb_initializer(model, NULL, mb_float_tensor(model, "high", VQC_DTYPE_FLOAT, NULL, 0, &high));
    mb_node(model, NULL, "Clip", "h low high", "y");
}

static void tail_silu(vqc_model *model)
{
    mb_node(model, NULL, "Sigmoid", "h", "g");
    mb_node(model, NULL, "Mul", "h g", "y");
}

static void tail_residual(vqc_model *model)
{
    mb_node(model, NULL, "Neg", "x", "r");
    mb_node(model, NULL, "Add", "r h", "s");
    mb_node(model, NULL, "Relu", "s", "y");
}

/* The addend is of another shape: found out while running. */
static void tail_broadcast(vqc_model *model)
{
    const int64_t axis = 0;
    Onnx__NodeProto *node;

    mb_initializer(model, NULL,
                   mb_tensor(model, "axis", VQC_DTYPE_INT64, (const int64_t[]){1}, 1, &axis));
    node = mb_node(model, NULL, "ReduceSum", "x axis", "r");
    cr_assert(vqc_node_add_int(model->arena, node, "keepdims", 1));
    mb_node(model, NULL, "Add", "h r", "s");
    mb_node(model, NULL, "Relu", "s", "y");
}

/* h has a reader besides: nothing may be fused away. */
static void tail_shared(vqc_model *model)
{
    mb_node(model, NULL, "Relu", "h", "a");
    mb_node(model, NULL, "Add", "a h", "y");
}

static void compare_fusion(void (*tail)(vqc_model *model), const char *fused)
{
    const int64_t dims[] = {BATCH, WIDTH};
    vqc_buffer *x = filled(dims, 2, 9);
    setup with = make(dense(tail), false);
    setup without = make(dense(tail), true);
    vqc_buffer *a = run(&with, x);
    vqc_buffer *b = run(&without, x);

    cr_assert_eq(a->elements, (size_t)(BATCH * WIDTH));
    for (size_t i = 0; i < a->elements; i++) {
        cr_assert_float_eq(value_at(a, i), value_at(b, i), 2e-6f, "element %zu: %g and %g", i,
                           (double)value_at(a, i), (double)value_at(b, i));
    }
    if (fused != NULL) {
        cr_assert(has_step(&with, fused), "%s was not fused", fused);
        cr_assert_not(has_step(&without, fused));
    } else {
        cr_assert(has_step(&with, "MatMul"));
    }
    vqc_buffer_destroy(&a);
    vqc_buffer_destroy(&b);
    vqc_buffer_destroy(&x);
    drop(&with);
    drop(&without);
}

Test(program_fusion, activations_and_residuals)
{
    compare_fusion(tail_relu, "MatMul+Relu");
    compare_fusion(tail_clip, "MatMul+Clip");
    compare_fusion(tail_silu, "MatMul+Sigmoid+Mul");
    compare_fusion(tail_residual, "MatMul+Add+Relu");
    compare_fusion(tail_broadcast, "MatMul+Add+Relu");
    compare_fusion(tail_shared, NULL);
}

static vqc_status count_tap(void *context, size_t index, const vqc_buffer *buffer, vqc_error *error)
{
    (void)index;
    (void)error;
    *(float *)context = value_at(buffer, 0);
    return VQC_OK;
}

Test(program_fusion, tapped_values_are_not_fused_away)
{
    vqc_model *model = dense(tail_relu);
    vqc_graph *graph = mb_index(model);
    const vqc_value *taps[] = {mb_value(graph, "h")};
    vqc_program_options options = {.taps = taps, .tap_count = 1};
    vqc_program *program = NULL;
    vqc_runner *runner = NULL;
    const int64_t dims[] = {1, WIDTH};
    vqc_buffer *x = filled(dims, 2, 9);
    const vqc_buffer *inputs[] = {x};
    vqc_buffer *y = NULL;
    float seen = NAN;
    vqc_tap tap = {count_tap, &seen};
    vqc_error error = {0};

    cr_assert_eq(vqc_program_create(graph, &options, &program, &error), VQC_OK);
    cr_assert_eq(vqc_runner_create(program, 1, &runner, &error), VQC_OK);
    cr_assert_eq(vqc_runner_run(runner, inputs, &y, &tap, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(value_at(y, 0), seen > 0 ? seen : 0);
    vqc_buffer_destroy(&y);
    vqc_buffer_destroy(&x);
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

/* ---- bodies ---- */

/* y = x[0] > 0 ? x + w : -x, where w is the enclosing graph's and x is captured. */
Test(program_control, if_takes_a_branch)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t dims[] = {2};
    const float zero = 0;
    const float w[] = {10, 20};
    Onnx__NodeProto *node;
    Onnx__GraphProto *branch;
    vqc_buffer *x = filled(dims, 1, 3);
    setup s;

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_float_tensor(model, "w", VQC_DTYPE_FLOAT, dims, 1, w));
    mb_initializer(model, NULL, mb_float_tensor(model, "zero", VQC_DTYPE_FLOAT, NULL, 0, &zero));
    node = mb_node(model, NULL, "ReduceMax", "x", "m");
    cr_assert(vqc_node_add_int(model->arena, node, "keepdims", 0));
    mb_node(model, NULL, "Greater", "m zero", "c");
    node = mb_node(model, NULL, "If", "c", "y");
    branch = mb_body(model, node, "then_branch");
    mb_node(model, branch, "Add", "x w", "t");
    mb_output(model, branch, "t");
    branch = mb_body(model, node, "else_branch");
    mb_node(model, branch, "Neg", "x", "e");
    mb_output(model, branch, "e");
    mb_output(model, NULL, "y");
    s = make(model, false);
    for (int positive = 0; positive < 2; positive++) {
        const float values[] = {-2, positive != 0 ? 3 : -3};
        vqc_buffer *y;
        memcpy(x->data, values, sizeof values);
        y = run(&s, x);
        cr_assert_eq(value_at(y, 0), positive != 0 ? 8.0f : 2.0f);
        cr_assert_eq(value_at(y, 1), positive != 0 ? 23.0f : 3.0f);
        vqc_buffer_destroy(&y);
    }
    vqc_buffer_destroy(&x);
    drop(&s);
}

/* Rounds of v = v + x, collecting v: outputs the last value and all of them. */
static vqc_model *looping(int64_t trips)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__NodeProto *node;
    Onnx__GraphProto *body;

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_tensor(model, "trips", VQC_DTYPE_INT64, NULL, 0, &trips));
    node = mb_node(model, NULL, "Loop", "trips - x", "last all");
    body = mb_body(model, node, "body");
    mb_input(model, body, "i");
    mb_input(model, body, "go");
    mb_input(model, body, "v");
    mb_node(model, body, "Add", "v x", "next");
    mb_node(model, body, "Identity", "go", "again");
    mb_node(model, body, "Identity", "next", "kept");
    mb_output(model, body, "again");
    mb_output(model, body, "next");
    mb_output(model, body, "kept");
    mb_node(model, NULL, "ReduceSum", "all", "y");
    mb_output(model, NULL, "y");
    return model;
}

Test(program_control, loop_carries_and_collects)
{
    const int64_t dims[] = {1};
    vqc_buffer *x = filled(dims, 1, 3);
    const float one = 1;
    setup s = make(looping(4), false);

    memcpy(x->data, &one, sizeof one);
    for (int i = 0; i < 3; i++) {
        vqc_buffer *y = run(&s, x);
        cr_assert_eq(value_at(y, 0), 2.0f + 3.0f + 4.0f + 5.0f);
        vqc_buffer_destroy(&y);
    }
    drop(&s);
    vqc_buffer_destroy(&x);
}

Test(program_control, endless_loops_end)
{
    const int64_t dims[] = {1};
    vqc_buffer *x = filled(dims, 1, 3);
    vqc_program_options options = {.max_bytes = 1 << 20};
    setup s = {.model = looping(INT64_MAX)};
    vqc_buffer *y = NULL;
    vqc_error error = {0};

    s.graph = mb_index(s.model);
    cr_assert_eq(vqc_program_create(s.graph, &options, &s.program, &error), VQC_OK);
    cr_assert_eq(vqc_runner_create(s.program, 1, &s.runner, &error), VQC_OK);
    cr_assert_eq(try_run(&s, x, &y, &error), VQC_ERR_MODEL);
    cr_assert_not_null(strstr(error.message, "limit"), "%s", error.message);
    cr_assert_null(y);
    drop(&s);
    vqc_buffer_destroy(&x);
}

/* Running sums along axis 0: state s, scanned x. */
Test(program_control, scan_takes_slices)
{
    vqc_model *model = mb_model(17, 8);
    const int64_t dims[] = {4, 2};
    const int64_t state[] = {2};
    const float zeros[] = {0, 0};
    Onnx__NodeProto *node;
    Onnx__GraphProto *body;
    vqc_buffer *x = filled(dims, 2, 3);
    vqc_buffer *y;
    setup s;

    mb_input(model, NULL, "x");
    mb_initializer(model, NULL, mb_float_tensor(model, "z", VQC_DTYPE_FLOAT, state, 1, zeros));
    node = mb_node(model, NULL, "Scan", "z x", "last y");
    cr_assert(vqc_node_add_int(model->arena, node, "num_scan_inputs", 1));
    body = mb_body(model, node, "body");
    mb_input(model, body, "s");
    mb_input(model, body, "row");
    mb_node(model, body, "Add", "s row", "sum");
    mb_node(model, body, "Identity", "sum", "out");
    mb_output(model, body, "sum");
    mb_output(model, body, "out");
    mb_output(model, NULL, "y");
    s = make(model, false);
    y = run(&s, x);
    cr_assert_eq(y->rank, 2);
    cr_assert_eq(y->dims[0], 4);
    for (size_t c = 0; c < 2; c++) {
        float sum = 0;
        for (size_t r = 0; r < 4; r++) {
            sum += value_at(x, 2 * r + c);
            cr_assert_eq(value_at(y, 2 * r + c), sum);
        }
    }
    vqc_buffer_destroy(&y);
    vqc_buffer_destroy(&x);
    drop(&s);
}

/* ---- functions ---- */

/* twice(a) = leaky(a) + leaky(a); leaky(b) = LeakyRelu(b, alpha = the caller's slope). */
Test(program_functions, nested_with_attributes)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__FunctionProto *leaky = mb_function(model, "org.example", "leaky", "b", "c", 17);
    Onnx__FunctionProto *twice = mb_function(model, "org.example", "twice", "a", "d", 17);
    Onnx__NodeProto *node = mb_free_node(model, "LeakyRelu", "b", "c");
    const int64_t dims[] = {2};
    vqc_buffer *x = filled(dims, 1, 3);
    const float values[] = {-1, 2};
    vqc_buffer *y;
    setup s;

    cr_assert(vqc_node_add_float(model->arena, node, "alpha", 0));
    node->attribute[0]->has_f = 0;
    node->attribute[0]->ref_attr_name = vqc_arena_strdup(model->arena, "slope");
    mb_function_add(model, leaky, node);
    node = mb_free_node(model, "org.example.leaky", "a", "p");
    cr_assert(vqc_node_add_float(model->arena, node, "slope", 0));
    node->attribute[0]->has_f = 0;
    node->attribute[0]->ref_attr_name = vqc_arena_strdup(model->arena, "steep");
    mb_function_add(model, twice, node);
    node = mb_free_node(model, "org.example.leaky", "a", "q");
    cr_assert(vqc_node_add_float(model->arena, node, "slope", 0.25f));
    mb_function_add(model, twice, node);
    mb_function_add(model, twice, mb_free_node(model, "Add", "p q", "d"));
    mb_input(model, NULL, "x");
    node = mb_node(model, NULL, "org.example.twice", "x", "t");
    cr_assert(vqc_node_add_float(model->arena, node, "steep", 0.5f));
    node = mb_node(model, NULL, "org.example.twice", "t", "y"); /* LeakyRelu's own default 0.01 */
    mb_output(model, NULL, "y");
    s = make(model, false);
    memcpy(x->data, values, sizeof values);
    y = run(&s, x);
    cr_assert_float_eq(value_at(y, 0), -0.75f * 0.26f, 1e-6f);
    cr_assert_float_eq(value_at(y, 1), 8.0f, 1e-6f);
    vqc_buffer_destroy(&y);
    vqc_buffer_destroy(&x);
    drop(&s);
}

Test(program_functions, recursion_is_refused)
{
    vqc_model *model = mb_model(17, 8);
    Onnx__FunctionProto *self = mb_function(model, "org.example", "self", "a", "b", 17);
    vqc_graph *graph;
    vqc_program *program = NULL;
    vqc_error error = {0};

    mb_function_add(model, self, mb_free_node(model, "org.example.self", "a", "b"));
    mb_input(model, NULL, "x");
    mb_node(model, NULL, "org.example.self", "x", "y");
    mb_output(model, NULL, "y");
    graph = mb_index(model);
    cr_assert_eq(vqc_program_create(graph, NULL, &program, &error), VQC_ERR_MODEL);
    cr_assert_not_null(strstr(error.message, "deep"), "%s", error.message);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}
