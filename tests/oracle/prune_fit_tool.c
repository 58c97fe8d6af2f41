/*
 * Prunes one matrix, for test_prune.py.
 *
 *     prune_fit_tool ROWS COLS GROUPS W H SCORE PATTERN SPARSITY PER_ROW COMPENSATE STEPS THREADS
 * OUT
 *
 * W and H (or "-") hold raw float32; SCORE is magnitude, wanda or obs; PATTERN any, N:M or RxC.
 * OUT gets the pruned matrix, OUT.mask its mask. Prints "ok LOSS" or "error MESSAGE".
 */
#include "core/prune/prune.h"
#include "tests/oracle/raw_files.h"

static vqc_prune_pattern pattern_of(const char *text)
{
    vqc_prune_pattern pattern = {.kind = VQC_PRUNE_UNSTRUCTURED};
    char *end;
    size_t first = (size_t)strtoull(text, &end, 10);

    if (*end == ':') {
        pattern.kind = VQC_PRUNE_N_OF_M;
        pattern.keep = first;
        pattern.of = (size_t)strtoull(end + 1, NULL, 10);
    } else if (*end == 'x') {
        pattern.kind = VQC_PRUNE_BLOCK;
        pattern.block_rows = first;
        pattern.block_cols = (size_t)strtoull(end + 1, NULL, 10);
    }
    return pattern;
}

int main(int argc, char **argv)
{
    vqc_prune_request request = vqc_prune_request_default();
    vqc_prune_input input = {0};
    vqc_error error = {0};
    vqc_status status;
    size_t rows, cols;
    double loss = 0.0;

    if (argc != 14) {
        fprintf(stderr, "prune_fit_tool: 13 arguments\n");
        return 2;
    }
    rows = (size_t)strtoull(argv[1], NULL, 10);
    cols = (size_t)strtoull(argv[2], NULL, 10);
    input.groups = (size_t)strtoull(argv[3], NULL, 10);
    float *matrix = raw_read(argv[4], rows * cols * sizeof *matrix);
    float *second = raw_read(argv[5], input.groups * cols * cols * sizeof *second);
    uint8_t *mask = calloc(rows * cols + 1, 1);
    if (matrix == NULL || mask == NULL) {
        return 2;
    }
    input.second = second;
    request.score = strcmp(argv[6], "obs") == 0     ? VQC_PRUNE_SCORE_OBS
                    : strcmp(argv[6], "wanda") == 0 ? VQC_PRUNE_SCORE_WANDA
                                                    : VQC_PRUNE_SCORE_MAGNITUDE;
    request.pattern = pattern_of(argv[7]);
    request.sparsity = strtod(argv[8], NULL);
    request.per_row = strtol(argv[9], NULL, 10) != 0;
    request.compensate = strtol(argv[10], NULL, 10) != 0;
    request.steps = (int)strtol(argv[11], NULL, 10);
    request.threads = (int)strtol(argv[12], NULL, 10);
    status = vqc_prune_matrix(&request, &input, rows, cols, matrix, mask, &loss, &error);
    if (status == VQC_OK) {
        printf("ok %.17g\n", loss);
        raw_write(argv[13], "", matrix, rows * cols * sizeof *matrix);
        raw_write(argv[13], ".mask", mask, rows * cols);
    } else {
        printf("error %s\n", error.message);
    }
    free(matrix);
    free(second);
    free(mask);
    return 0;
}
