/*
 * Walks the layers of a model as sequential calibration does, changes each a little, and leaves
 * what test_sequence.py compares with ONNX Runtime:
 *
 *     sequence_tool MODEL SAMPLES COUNT THREADS [FOLDER]
 *
 * SAMPLES: .npz file, or "synthetic". Prints one line per layer: "layer INDEX NAME INPUT OP GROUPS
 * COLS VECTORS SAMPLES" (GROUPS 0: no moments), then "time SECONDS samples N recomputes 0|1". In
 * FOLDER: INDEX.weights, and of layers with moments INDEX.mean_x, .mean_y, .power (float64),
 * .second, .cross (float32; no file: all zero).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/tensor.h"
#include "core/vq/sequence.h"
#include "formats/onnx_file.h"
#include "formats/samples_open.h"

static vqc_error error;

static void check(vqc_status status)
{
    if (status != VQC_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
}

static void dump(const char *folder, size_t index, const char *what, const void *data, size_t bytes)
{
    char path[1024];
    FILE *file;

    if (folder == NULL || data == NULL) {
        return;
    }
    (void)snprintf(path, sizeof path, "%s/%zu.%s", folder, index, what);
    file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
        fprintf(stderr, "%s: cannot be written\n", path);
        exit(1);
    }
}

static double noise(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1.0;
}

static void change(vqc_sequence *sequence, const vqc_layer *layer, size_t index, const char *folder)
{
    vqc_arena *arena = vqc_arena_create();
    const float *old = NULL;
    float *values = malloc((layer->elements + 1) * sizeof *values);
    uint64_t state = index;
    size_t count;

    if (arena == NULL || values == NULL) {
        exit(1);
    }
    check(vqc_tensor_borrow_f32(layer->tensor, arena, &old, &count, &error));
    memcpy(values, old, count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] *= (float)(1.0 + 0.2 * noise(&state));
    }
    check(vqc_sequence_commit(sequence, index, values, NULL, &error));
    dump(folder, index, "weights", values, count * sizeof *values);
    free(values);
    vqc_arena_destroy(&arena);
}

static void show(const vqc_sequence_item *item, const vqc_layer *layer, const char *folder)
{
    const vqc_moments *m = item->moments;
    size_t width = m == NULL ? 0 : m->groups * m->cols;

    printf("layer %zu %s %s %s %zu %zu %zu %zu\n", item->layer, layer->value->name,
           m == NULL ? "-" : layer->node->input[0], layer->op, m == NULL ? 0 : m->groups,
           m == NULL ? 0 : m->cols, m == NULL ? 0 : m->count, item->samples);
    if (m != NULL) {
        dump(folder, item->layer, "mean_x", m->mean_x, width * sizeof *m->mean_x);
        dump(folder, item->layer, "mean_y", m->mean_y, width * sizeof *m->mean_y);
        dump(folder, item->layer, "power", m->power, width * sizeof *m->power);
        dump(folder, item->layer, "second", m->second, width * m->cols * sizeof *m->second);
        dump(folder, item->layer, "cross", m->cross, width * m->cols * sizeof *m->cross);
    }
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 5 ? argv[5] : NULL;
    vqc_samples_request request = {.synthetic_count = 64};
    vqc_sequence_options options = {0};
    vqc_messages problems = {0};
    vqc_arena *arena = vqc_arena_create();
    vqc_model *model = NULL;
    vqc_graph *graph = NULL;
    vqc_program_port *ports;
    vqc_samples *samples = NULL;
    vqc_sequence *sequence = NULL;
    vqc_sequence_batch batch;
    vqc_layer *layers;
    const vqc_layer **list;
    size_t count, port_count, used = 0;
    double start;

    if (argc < 5 || arena == NULL) {
        fprintf(stderr, "usage: sequence_tool MODEL SAMPLES COUNT THREADS [FOLDER]\n");
        return 2;
    }
    options.max_samples = (size_t)strtoul(argv[3], NULL, 10);
    options.threads = atoi(argv[4]);
    request.path = argv[2];
    check(vqc_onnx_open(argv[1], &model, &error));
    check(vqc_graph_create(model, &graph, &error));
    check(vqc_graph_ports(graph, arena, &ports, &port_count, &error));
    check(vqc_samples_open(&request, ports, port_count, &samples, &problems, &error));
    check(vqc_layers_find(graph, arena, &layers, &count, &error));
    list = calloc(count + 1, sizeof(const vqc_layer *));
    for (size_t i = 0; list != NULL && i < count; i++) {
        if (layers[i].role == VQC_ROLE_WEIGHT && !layers[i].is_output && layers[i].rank > 1) {
            list[used++] = &layers[i];
        }
    }
    start = now();
    check(vqc_sequence_create(graph, list, used, samples, &options, &sequence, &error));
    for (;;) {
        check(vqc_sequence_next(sequence, &batch, &error));
        if (batch.count == 0) {
            break;
        }
        for (size_t i = 0; i < batch.count; i++) {
            show(&batch.items[i], list[batch.items[i].layer], folder);
            change(sequence, list[batch.items[i].layer], batch.items[i].layer, folder);
        }
    }
    printf("time %.3f samples %zu recomputes %d\n", now() - start, vqc_sequence_samples(sequence),
           vqc_sequence_recomputes(sequence));
    vqc_sequence_destroy(&sequence);
    vqc_samples_destroy(&samples);
    free(list);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
    vqc_arena_destroy(&arena);
    return 0;
}
