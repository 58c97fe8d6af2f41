/*
 * Runs models with the executor, for tests/conformance and test_zoo_exec.py.
 *
 *     run_tool [--threads N] [--repeat N] [--no-fusion] LIST
 *
 * Each line of LIST is "MODEL FOLDER": the inputs are FOLDER/input_K.pb (TensorProto; one that is
 * not there is left out), output K goes to FOLDER/got_K.raw, one element after the other as
 * core/exec keeps them. Printed are, for each model, "ok FOLDER K DTYPE RANK DIM..." per output,
 * then "done FOLDER FASTEST_NS PEAK_BYTES", or "error FOLDER MESSAGE"; "crash FOLDER SIGNAL" when
 * it ended the process that each model gets.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/exec/program.h"
#include "formats/onnx_file.h"

enum { MAX_PORTS = 64, TIME_LIMIT_S = 60 };

typedef struct settings {
    int threads;
    int repeat;
    bool no_fusion;
} settings;

typedef struct loaded {
    Onnx__TensorProto *proto;
    vqc_buffer *buffer;
} loaded;

static unsigned char *read_all(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *data = NULL;
    long end;

    if (file == NULL) {
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0 &&
        fseek(file, 0, SEEK_SET) == 0) {
        *size = (size_t)end;
        data = malloc(*size + 1);
        if (data != NULL && fread(data, 1, *size, file) != *size) {
            free(data);
            data = NULL;
        }
    }
    (void)fclose(file);
    return data;
}

static vqc_status load_input(const char *folder, size_t index, loaded *out, vqc_error *error)
{
    char path[4096];
    size_t size = 0;
    unsigned char *data;

    (void)snprintf(path, sizeof path, "%s/input_%zu.pb", folder, index);
    data = read_all(path, &size);
    if (data == NULL) {
        return VQC_OK;
    }
    out->proto = onnx__tensor_proto__unpack(NULL, size, data);
    free(data);
    if (out->proto == NULL) {
        return vqc_fail(error, VQC_ERR_IO, "%s: not a tensor", path);
    }
    return vqc_buffer_from_tensor(out->proto, &out->buffer, error);
}

static vqc_status write_output(const char *folder, size_t index, const vqc_buffer *buffer,
                               vqc_error *error)
{
    char path[4096];
    FILE *file;
    size_t size = buffer->elements * buffer->width;

    (void)snprintf(path, sizeof path, "%s/got_%zu.raw", folder, index);
    file = fopen(path, "wb");
    if (file == NULL || (size > 0 && fwrite(buffer->data, 1, size, file) != size) ||
        fclose(file) != 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot be written", path);
    }
    printf("ok %s %zu %" PRId32 " %zu", folder, index, buffer->dtype, buffer->rank);
    for (size_t i = 0; i < buffer->rank; i++) {
        printf(" %" PRId64, buffer->dims[i]);
    }
    printf("\n");
    return VQC_OK;
}

static double now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static vqc_status run(const vqc_program *program, const char *folder, const settings *set,
                      vqc_error *error)
{
    const vqc_buffer *inputs[MAX_PORTS] = {NULL};
    vqc_buffer *outputs[MAX_PORTS] = {NULL};
    loaded files[MAX_PORTS] = {{NULL, NULL}};
    vqc_runner *runner = NULL;
    size_t input_count;
    size_t output_count;
    double best = 0;
    vqc_status status = vqc_runner_create(program, set->threads, &runner, error);

    (void)vqc_program_inputs(program, &input_count);
    (void)vqc_program_outputs(program, &output_count);
    if (status == VQC_OK && (input_count > MAX_PORTS || output_count > MAX_PORTS)) {
        status = vqc_fail(error, VQC_ERR_USAGE, "more than %d inputs or outputs", MAX_PORTS);
    }
    for (size_t i = 0; status == VQC_OK && i < input_count; i++) {
        status = load_input(folder, i, &files[i], error);
        inputs[i] = files[i].buffer;
    }
    for (int r = 0; status == VQC_OK && r < set->repeat; r++) {
        double begin = now_ns();
        for (size_t i = 0; i < output_count; i++) {
            (void)vqc_buffer_destroy(&outputs[i]);
        }
        status = vqc_runner_run(runner, inputs, outputs, NULL, error);
        best = r == 0 || now_ns() - begin < best ? now_ns() - begin : best;
    }
    for (size_t i = 0; status == VQC_OK && i < output_count; i++) {
        status = write_output(folder, i, outputs[i], error);
    }
    if (status == VQC_OK) {
        printf("done %s %.0f %zu\n", folder, best, vqc_runner_peak_bytes(runner));
    }
    vqc_runner_destroy(&runner);
    for (size_t i = 0; i < MAX_PORTS; i++) {
        (void)vqc_buffer_destroy(&outputs[i]);
        (void)vqc_buffer_destroy(&files[i].buffer);
        if (files[i].proto != NULL) {
            onnx__tensor_proto__free_unpacked(files[i].proto, NULL);
        }
    }
    return status;
}

static void run_model(const char *path, const char *folder, const settings *set)
{
    vqc_program_options options = {.no_fusion = set->no_fusion};
    vqc_model *model = NULL;
    vqc_graph *graph = NULL;
    vqc_program *program = NULL;
    vqc_error error = {0};
    vqc_status status = vqc_onnx_open(path, &model, &error);

    if (status == VQC_OK) {
        status = vqc_graph_create(model, &graph, &error);
    }
    if (status == VQC_OK) {
        status = vqc_program_create(graph, &options, &program, &error);
    }
    if (status == VQC_OK) {
        status = run(program, folder, set, &error);
    }
    if (status != VQC_OK) {
        printf("error %s %s\n", folder, error.message);
    }
    vqc_program_destroy(&program);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

/* In a process of its own, so that one model cannot end the others. */
static void run_apart(const char *path, const char *folder, const settings *set)
{
    int how = 0;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        (void)alarm(TIME_LIMIT_S);
        run_model(path, folder, set);
        (void)fflush(stdout);
        exit(0); /* not _exit(): leak checkers look now */
    }
    if (child < 0 || waitpid(child, &how, 0) < 0 || how != 0) {
        printf("\ncrash %s %d\n", folder, WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
    }
}

int main(int argc, char **argv)
{
    settings set = {.threads = 1, .repeat = 1};
    const char *list = NULL;
    unsigned char *jobs;
    size_t size = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            set.threads = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) {
            set.repeat = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--no-fusion") == 0) {
            set.no_fusion = true;
        } else {
            list = argv[i];
        }
    }
    /* Read as a whole: a stream that children share would be moved by them. */
    jobs = list != NULL ? read_all(list, &size) : NULL;
    if (jobs == NULL) {
        fprintf(stderr, "usage: run_tool [--threads N] [--repeat N] [--no-fusion] LIST\n");
        return 2;
    }
    jobs[size] = '\0';
    for (char *line = (char *)jobs; *line != '\0';) {
        char *next = line + strcspn(line, "\n");
        char *space = strchr(line, ' ');
        next += *next == '\n';
        line[strcspn(line, "\n")] = '\0';
        if (space != NULL && space < next) {
            *space = '\0';
            run_apart(line, space + 1, &set);
        }
        line = next;
    }
    free(jobs);
    return 0;
}
