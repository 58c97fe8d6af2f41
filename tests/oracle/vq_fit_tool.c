/*
 * Codes matrices for test_vq_fit.py and tests/bench/vq_layers.py. Reads commands from standard
 * input, one per line, words separated by blanks; files hold raw float32 (int32, uint8), "-" is
 * none. Prints one line for each: "ok LOSS SECONDS" or "error MESSAGE".
 *
 *     fit ROWS COLS GROUPS W H MASK DIM DOWN K STAGES LINE_GROUPS BLOCK_GROUPS SCALES STORAGE
 *         SWEEPS ITERATIONS SEED THREADS OUT
 *     uniform ROWS COLS GROUPS W H SCALES ZEROS BLOCK LO HI SWEEPS THREADS CODES
 *     adjust ROWS COLS GROUPS W H CROSS DAMPING THREADS OUT
 *     waterfill ROWS COLS GROUPS H VARIANCES BITS
 *
 * OUT: the decoded matrix; OUT.codebooks, OUT.indices, OUT.scales beside it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/vq/vq_fit.h"
#include "tests/oracle/raw_files.h"

enum { MAX_WORDS = 24, MAX_LINE = 8192 };

typedef struct command {
    char *words[MAX_WORDS];
    size_t count;
    size_t rows, cols, groups;
    vqc_error error;
    double loss;
} command;

static size_t number(const command *c, size_t word)
{
    return (size_t)strtoull(c->words[word], NULL, 10);
}

static vqc_status fit(command *c)
{
    size_t elements = c->rows * c->cols;
    float *w = raw_read(c->words[4], elements * sizeof(float));
    float *h = raw_read(c->words[5], c->groups * c->cols * c->cols * sizeof(float));
    uint8_t *mask = raw_read(c->words[6], elements);
    vqc_vq_shape shape = {.rows = c->rows,
                          .cols = c->cols,
                          .dim = number(c, 7),
                          .down_rows = number(c, 8) != 0,
                          .codebook_size = number(c, 9),
                          .stages = number(c, 10),
                          .line_groups = number(c, 11),
                          .block_groups = number(c, 12),
                          .row_scales = number(c, 13) != 0,
                          .storage = (vqc_vq_storage)number(c, 14)};
    vqc_vq_effort effort = vqc_vq_effort_default();
    vqc_arena *arena = vqc_arena_create();
    vqc_vq_code code;
    vqc_status status;

    if (strcmp(c->words[15], "-") != 0) {
        effort.sweeps = (int)number(c, 15);
    }
    if (strcmp(c->words[16], "-") != 0) {
        effort.kmeans_iterations = (int)number(c, 16);
    }
    effort.seed = number(c, 17);
    effort.threads = (int)number(c, 18);
    status = vqc_vq_fit(&shape, w, h, c->groups, mask, &effort, arena, &code, &c->loss, &c->error);
    if (status == VQC_OK) {
        float *out = malloc(elements * sizeof *out + 1);
        size_t books = code.books * shape.stages;

        if (out == NULL) {
            exit(2);
        }
        vqc_vq_decode(&code, out);
        raw_write(c->words[19], "", out, elements * sizeof *out);
        raw_write(c->words[19], ".codebooks", code.codebooks,
                  books * shape.codebook_size * shape.dim * sizeof(float));
        raw_write(c->words[19], ".indices", code.indices,
                  shape.stages * code.vectors * sizeof *code.indices);
        raw_write(c->words[19], ".scales", code.row_scales, c->rows * sizeof(float));
        free(out);
    }
    vqc_arena_destroy(&arena);
    free(w);
    free(h);
    free(mask);
    return status;
}

static vqc_status uniform(command *c)
{
    size_t elements = c->rows * c->cols;
    size_t block = number(c, 8);
    size_t blocks = block > 0 ? (c->cols + block - 1) / block : 1;
    float *w = raw_read(c->words[4], elements * sizeof(float));
    float *h = raw_read(c->words[5], c->groups * c->cols * c->cols * sizeof(float));
    float *scales = raw_read(c->words[6], c->rows * blocks * sizeof(float));
    int32_t *zeros = raw_read(c->words[7], c->rows * blocks * sizeof(int32_t));
    int32_t *codes = malloc(elements * sizeof *codes + 1);
    vqc_status status;

    if (codes == NULL) {
        exit(2);
    }
    status = vqc_uniform_fit(w, c->rows, c->cols, h, c->groups, scales, zeros, block,
                             (int32_t)strtol(c->words[9], NULL, 10),
                             (int32_t)strtol(c->words[10], NULL, 10), (int)number(c, 11),
                             (int)number(c, 12), codes, &c->loss, &c->error);
    raw_write(c->words[13], "", codes, elements * sizeof *codes);
    free(w);
    free(h);
    free(scales);
    free(zeros);
    free(codes);
    return status;
}

static vqc_status adjust(command *c)
{
    size_t elements = c->rows * c->cols;
    size_t squares = c->groups * c->cols * c->cols * sizeof(float);
    float *w = raw_read(c->words[4], elements * sizeof(float));
    float *h = raw_read(c->words[5], squares);
    float *cross = raw_read(c->words[6], squares);
    vqc_status status = vqc_vq_adjust(w, c->rows, c->cols, c->groups, h, cross,
                                      strtod(c->words[7], NULL), (int)number(c, 8), w, &c->error);

    raw_write(c->words[9], "", w, elements * sizeof *w);
    free(w);
    free(h);
    free(cross);
    return status;
}

static vqc_status waterfill(command *c)
{
    float *h = raw_read(c->words[4], c->groups * c->cols * c->cols * sizeof(float));
    float *narrow = raw_read(c->words[5], c->rows * sizeof(float));
    double *variances = malloc(c->rows * sizeof *variances + 1);
    vqc_status status;

    if (variances == NULL) {
        exit(2);
    }
    for (size_t i = 0; i < c->rows; i++) {
        variances[i] = (double)narrow[i];
    }
    status = vqc_vq_waterfill(h, c->groups, variances, c->rows, c->cols, strtod(c->words[6], NULL),
                              &c->loss, &c->error);
    free(h);
    free(narrow);
    free(variances);
    return status;
}

static void run(command *c)
{
    struct timespec from, to;
    vqc_status status;

    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    if (strcmp(c->words[0], "fit") == 0 && c->count == 20) {
        status = fit(c);
    } else if (strcmp(c->words[0], "uniform") == 0 && c->count == 14) {
        status = uniform(c);
    } else if (strcmp(c->words[0], "adjust") == 0 && c->count == 10) {
        status = adjust(c);
    } else if (strcmp(c->words[0], "waterfill") == 0 && c->count == 7) {
        status = waterfill(c);
    } else {
        fprintf(stderr, "no command \"%s\" of %zu words\n", c->words[0], c->count);
        exit(2);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    if (status != VQC_OK) {
        printf("error %s\n", c->error.message);
    } else {
        printf("ok %.17g %.6f\n", c->loss,
               (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec));
    }
    (void)fflush(stdout);
}

int main(void)
{
    char line[MAX_LINE];

    while (fgets(line, sizeof line, stdin) != NULL) {
        command c = {0};
        char *rest = line, *word;

        while (c.count < MAX_WORDS && (word = strtok_r(rest, " \n", &rest)) != NULL) {
            c.words[c.count++] = word;
        }
        if (c.count >= 4) {
            c.rows = number(&c, 1);
            c.cols = number(&c, 2);
            c.groups = number(&c, 3);
            run(&c);
        }
    }
    return 0;
}
