/*
 * make_lenet5 [-s SEED] [-o FOLDER]: draws digits, trains LeNet-5 on them, and writes lenet5.onnx,
 * lenet5.calib.npz and lenet5.eval.npz. The same seed gives the same model and samples on every
 * machine. Exit codes as vqc's; 5 when the network misses MIN_ACCURACY on the evaluation set.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "examples/digits.h"
#include "examples/lenet.h"
#include "examples/lenet_onnx.h"
#include "formats/npz.h"

enum {
    DEFAULT_SEED = 5,
    CALIB_SAMPLES = 128,
    EVAL_SAMPLES = 2000,
    TRAIN_STEPS = 4000, /* of LENET_BATCH new samples each: none is seen twice */
    PROGRESS_STEPS = 500,
    MIN_ACCURACY_PERCENT = 98
};

#define START_RATE 0.03f

typedef struct sample_set {
    float *images;   /* [count][1][28][28] */
    int64_t *labels; /* [count] */
    size_t count;
} sample_set;

static void free_samples(sample_set *samples)
{
    free(samples->images);
    free(samples->labels);
}

static vqc_status draw_samples(uint64_t seed, digit_set set, size_t count, sample_set *out,
                               vqc_error *error)
{
    out->count = count;
    out->images = calloc(count, DIGIT_PIXELS * sizeof(float));
    out->labels = calloc(count, sizeof(int64_t));
    if (out->images == NULL || out->labels == NULL) {
        return vqc_fail_memory(error, count * DIGIT_PIXELS * sizeof(float));
    }
    for (size_t i = 0; i < count; i++) {
        out->labels[i] = digit_draw(seed, set, i, out->images + i * DIGIT_PIXELS);
    }
    return VQC_OK;
}

static vqc_status write_samples(const sample_set *samples, const char *path, vqc_error *error)
{
    int64_t image_dims[4] = {(int64_t)samples->count, 1, DIGIT_SIDE, DIGIT_SIDE};
    int64_t label_dims[1] = {(int64_t)samples->count};
    char image_name[] = "image";
    char labels_name[] = "labels";
    vqc_array arrays[2] = {
        {image_name, VQC_DTYPE_FLOAT, image_dims, 4, samples->images,
         samples->count * DIGIT_PIXELS * sizeof(float)},
        {labels_name, VQC_DTYPE_INT64, label_dims, 1, samples->labels,
         samples->count * sizeof(int64_t)},
    };

    return vqc_npz_write(path, arrays, 2, VQC_NPZ_DEFLATED, error);
}

/* The learning rate falls in a straight line to 0. */
static void train(lenet *net, uint64_t seed)
{
    static float images[LENET_BATCH * DIGIT_PIXELS];
    int64_t labels[LENET_BATCH];
    int correct = 0;

    for (int step = 0; step < TRAIN_STEPS; step++) {
        float rate = START_RATE * (float)(TRAIN_STEPS - step) / (float)TRAIN_STEPS;
        for (size_t i = 0; i < LENET_BATCH; i++) {
            uint64_t index = (uint64_t)step * LENET_BATCH + i;
            labels[i] = digit_draw(seed, DIGIT_SET_TRAIN, index, images + i * DIGIT_PIXELS);
        }
        correct += lenet_train_step(net, images, labels, rate);
        if ((step + 1) % PROGRESS_STEPS == 0) {
            (void)printf("step %4d of %d: %.2f%% of the last %d training samples right\n", step + 1,
                         TRAIN_STEPS, 100.0 * correct / (PROGRESS_STEPS * LENET_BATCH),
                         PROGRESS_STEPS * LENET_BATCH);
            (void)fflush(stdout);
            correct = 0;
        }
    }
}

static vqc_status evaluate(lenet *net, const sample_set *samples, size_t *correct, vqc_error *error)
{
    int *classes = calloc(samples->count, sizeof *classes);

    *correct = 0;
    if (classes == NULL) {
        return vqc_fail_memory(error, samples->count * sizeof *classes);
    }
    lenet_classify(net, samples->images, samples->count, classes);
    for (size_t i = 0; i < samples->count; i++) {
        *correct += classes[i] == samples->labels[i];
    }
    free(classes);
    return VQC_OK;
}

static vqc_status write_all(const lenet *net, const sample_set *calib, const sample_set *eval,
                            const char *folder, vqc_error *error)
{
    static const char *const names[3] = {"lenet5.onnx", "lenet5.calib.npz", "lenet5.eval.npz"};
    vqc_status status = VQC_OK;

    for (int i = 0; i < 3 && status == VQC_OK; i++) {
        char path[4096];
        int length = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (length < 0 || length >= (int)sizeof path) {
            return vqc_fail(error, VQC_ERR_USAGE, "the folder's name is too long");
        }
        status = i == 0   ? lenet_write_onnx(net, path, error)
                 : i == 1 ? write_samples(calib, path, error)
                          : write_samples(eval, path, error);
        if (status == VQC_OK) {
            (void)printf("wrote %s\n", path);
        }
    }
    return status;
}

static vqc_status make(uint64_t seed, const char *folder, vqc_error *error)
{
    sample_set calib = {0};
    sample_set eval = {0};
    size_t correct = 0;
    lenet *net = lenet_create(seed);
    vqc_status status = net == NULL ? vqc_fail_memory(error, sizeof(lenet_layer)) : VQC_OK;

    if (status == VQC_OK) {
        status = draw_samples(seed, DIGIT_SET_CALIB, CALIB_SAMPLES, &calib, error);
    }
    if (status == VQC_OK) {
        status = draw_samples(seed, DIGIT_SET_EVAL, EVAL_SAMPLES, &eval, error);
    }
    if (status != VQC_OK) {
        goto done;
    }
    train(net, seed);
    status = evaluate(net, &eval, &correct, error);
    if (status != VQC_OK) {
        goto done;
    }
    (void)printf("accuracy on the evaluation set: %.2f%% (%zu of %zu)\n",
                 100.0 * (double)correct / (double)eval.count, correct, eval.count);
    if (correct * 100 < eval.count * MIN_ACCURACY_PERCENT) {
        status = vqc_fail(error, VQC_ERR_GATE,
                          "got %zu of %zu samples right, expected %d%%; nothing "
                          "was written",
                          correct, eval.count, (int)MIN_ACCURACY_PERCENT);
        goto done;
    }
    status = write_all(net, &calib, &eval, folder, error);
done:
    free_samples(&calib);
    free_samples(&eval);
    lenet_destroy(&net);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const usage = "usage: make_lenet5 [-s SEED] [-o FOLDER]\n";
    uint64_t seed = DEFAULT_SEED;
    const char *folder = ".";
    vqc_error error = {0};
    vqc_status status;
    char *end;
    int option;

    while ((option = getopt(argc, argv, "s:o:h")) != -1) {
        switch (option) {
        case 's':
            errno = 0;
            seed = strtoull(optarg, &end, 10);
            if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || errno != 0) {
                (void)fprintf(stderr, "make_lenet5: -s: got \"%s\", expected a number\n", optarg);
                return VQC_ERR_USAGE;
            }
            break;
        case 'o':
            folder = optarg;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return VQC_OK;
        default:
            (void)fputs(usage, stderr);
            return VQC_ERR_USAGE;
        }
    }
    if (optind != argc) {
        (void)fputs(usage, stderr);
        return VQC_ERR_USAGE;
    }
    status = make(seed, folder, &error);
    if (status != VQC_OK) {
        (void)fprintf(stderr, "make_lenet5: %s\n", error.message);
    }
    return (int)status;
}
