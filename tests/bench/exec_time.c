/*
 * Times core/exec on one model, for exec_speed.py.
 *
 *     exec_time MODEL THREADS RUNS PROFILE_LINES INPUT.raw...
 *
 * INPUT.raw holds "DTYPE RANK DIM...\n" and then the values. Prints "best_ms NUMBER" over RUNS runs
 * after two that are not counted, then the PROFILE_LINES steps that took longest (the best of RUNS
 * runs of their own for each) as "step MS PERCENT OP LABEL". With EXEC_TIME_CPU in the environment
 * best_ms is processor time of the calling thread: for one thread on a machine that others use.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/exec/program.h"
#include "formats/onnx_file.h"

enum { MAX_INPUTS = 16, MAX_OUTPUTS = 64 };

static clockid_t clock_id = CLOCK_MONOTONIC;

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(clock_id, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static vqc_buffer *read_input(const char *path)
{
    int64_t dims[VQC_EXEC_MAX_RANK];
    int32_t dtype;
    size_t rank;
    vqc_buffer *buffer = NULL;
    FILE *file = fopen(path, "rb");

    if (file != NULL && fscanf(file, "%" SCNd32 " %zu", &dtype, &rank) == 2 &&
        rank <= VQC_EXEC_MAX_RANK) {
        for (size_t i = 0; i < rank; i++) {
            if (fscanf(file, "%" SCNd64, &dims[i]) != 1) {
                dims[i] = -1;
            }
        }
        buffer = fgetc(file) == '\n' ? vqc_buffer_create(dtype, dims, rank) : NULL;
    }
    if (buffer != NULL &&
        fread(buffer->data, buffer->width, buffer->elements, file) != buffer->elements) {
        vqc_buffer_destroy(&buffer);
    }
    if (file != NULL) {
        fclose(file);
    }
    return buffer;
}

static int compare(const void *a, const void *b)
{
    const vqc_step_profile *x = a, *y = b;

    return x->time_ns < y->time_ns ? 1 : x->time_ns > y->time_ns ? -1 : 0;
}

/* Lowers best[i].time_ns to what the last run added to step i; before: what was there. */
static void keep_best(const vqc_runner *runner, vqc_step_profile *best, uint64_t *before)
{
    size_t count;
    const vqc_step_profile *steps = vqc_runner_profile_steps(runner, &count);

    for (size_t i = 0; i < count; i++) {
        const uint64_t took = steps[i].time_ns - before[i];

        before[i] = steps[i].time_ns;
        if (best[i].calls == 0 || took < best[i].time_ns) {
            best[i] = steps[i];
            best[i].time_ns = took;
        }
    }
}

static void print_profile(vqc_step_profile *best, size_t count, size_t lines)
{
    double total = 0.0;

    for (size_t i = 0; i < count; i++) {
        total += (double)best[i].time_ns;
    }
    qsort(best, count, sizeof *best, compare);
    for (size_t i = 0; i < count && i < lines && best[i].calls > 0; i++) {
        printf("step %.4f %.1f %s %s\n", (double)best[i].time_ns * 1e-6,
               100.0 * (double)best[i].time_ns / total, best[i].op, best[i].label);
    }
}

static vqc_status run_once(vqc_runner *runner, const vqc_buffer *const *inputs, size_t outputs,
                           vqc_error *error)
{
    vqc_buffer *made[MAX_OUTPUTS] = {NULL};
    vqc_status status = vqc_runner_run(runner, inputs, made, NULL, error);

    for (size_t i = 0; i < outputs; i++) {
        vqc_buffer_destroy(&made[i]);
    }
    return status;
}

static vqc_status profile(vqc_runner *runner, const vqc_buffer *const *inputs, size_t outputs,
                          int runs, size_t lines, vqc_error *error)
{
    size_t count;
    vqc_status status = VQC_OK;
    vqc_step_profile *best;
    uint64_t *before;

    (void)vqc_runner_profile_steps(runner, &count);
    best = calloc(count + 1, sizeof *best);
    before = calloc(count + 1, sizeof *before);
    for (int i = 0; status == VQC_OK && best != NULL && before != NULL && i < runs; i++) {
        status = run_once(runner, inputs, outputs, error);
        keep_best(runner, best, before);
    }
    if (status == VQC_OK && best != NULL && before != NULL) {
        print_profile(best, count, lines);
    }
    free(best);
    free(before);
    return status;
}

int main(int argc, char **argv)
{
    const vqc_buffer *inputs[MAX_INPUTS] = {NULL};
    vqc_model *model = NULL;
    vqc_graph *graph = NULL;
    vqc_program *program = NULL;
    vqc_runner *runner = NULL;
    vqc_error error = {0};
    size_t outputs = 0;
    double best = 1e30;
    int runs = argc > 3 ? atoi(argv[3]) : 0;
    vqc_status status;

    if (argc < 6 || argc - 5 > MAX_INPUTS || runs < 1) {
        fprintf(stderr, "usage: exec_time MODEL THREADS RUNS PROFILE_LINES INPUT.raw...\n");
        return 2;
    }
    if (getenv("EXEC_TIME_CPU") != NULL) {
        clock_id = CLOCK_THREAD_CPUTIME_ID;
    }
    for (int i = 5; i < argc; i++) {
        inputs[i - 5] = read_input(argv[i]);
        if (inputs[i - 5] == NULL) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 2;
        }
    }
    status = vqc_onnx_open(argv[1], &model, &error);
    if (status == VQC_OK) {
        status = vqc_graph_create(model, &graph, &error);
    }
    if (status == VQC_OK) {
        status = vqc_program_create(graph, NULL, &program, &error);
    }
    if (status == VQC_OK) {
        (void)vqc_program_outputs(program, &outputs);
        status = outputs > MAX_OUTPUTS ? VQC_ERR_MODEL
                                       : vqc_runner_create(program, atoi(argv[2]), &runner, &error);
    }
    for (int i = -2; status == VQC_OK && i < runs; i++) {
        const double start = now_ms();

        status = run_once(runner, inputs, outputs, &error);
        if (i >= 0 && now_ms() - start < best) {
            best = now_ms() - start;
        }
    }
    if (status == VQC_OK) {
        printf("best_ms %.4f\n", best);
        vqc_runner_profile(runner, true);
    }
    if (status == VQC_OK && atoi(argv[4]) > 0) {
        status = profile(runner, inputs, outputs, runs, (size_t)atoi(argv[4]), &error);
    }
    if (status != VQC_OK) {
        printf("error %s\n", error.message);
    }
    vqc_runner_destroy(&runner);
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
    return status == VQC_OK ? 0 : 1;
}
