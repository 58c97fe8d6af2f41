#include "core/prune/prune_options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

vqc_prune_options vqc_prune_options_default(void)
{
    return (vqc_prune_options){.sparsity = (double)NAN,
                               .threshold = (double)NAN,
                               .output_sqnr_db = (double)NAN,
                               .multiple_of = 1,
                               .min_channels = 1};
}

/* A run of one or two digits; 0 when there is none. */
static size_t small_number(const char **text)
{
    size_t value = 0;

    for (size_t i = 0; i < 2 && **text >= '0' && **text <= '9'; i++) {
        value = value * 10 + (size_t)(*(*text)++ - '0');
    }
    return value;
}

static bool parse_groups(const char *text, vqc_prune_pattern *out)
{
    out->kind = VQC_PRUNE_N_OF_M;
    out->keep = small_number(&text);
    if (*text++ != ':') {
        return false;
    }
    out->of = small_number(&text);
    return *text == '\0' && out->keep >= 1 && out->keep < out->of && out->of <= VQC_PRUNE_MAX_GROUP;
}

bool vqc_prune_options_pattern(const vqc_prune_options *options, vqc_prune_pattern *out,
                               const char **fault)
{
    const char *ignored;
    const char **why = fault != NULL ? fault : &ignored;

    memset(out, 0, sizeof *out);
    if (options->pattern == NULL || strcmp(options->pattern, "unstructured") == 0) {
        out->kind = VQC_PRUNE_UNSTRUCTURED;
        return true;
    }
    if (strcmp(options->pattern, "channels") == 0) {
        out->kind = VQC_PRUNE_CHANNELS;
        return true;
    }
    if (strcmp(options->pattern, "block") != 0) {
        *why = "unstructured, block, channels, or \"N:M\" with 1 <= N < M <= 64";
        return parse_groups(options->pattern, out);
    }
    *why = "two sizes of 1 to 128: [rows, columns]";
    out->kind = VQC_PRUNE_BLOCK;
    if (options->block == NULL || options->block_rank != 2) {
        return false;
    }
    for (size_t i = 0; i < 2; i++) {
        if (options->block[i] < 1 || options->block[i] > VQC_PRUNE_MAX_BLOCK) {
            return false;
        }
    }
    out->block_rows = (size_t)options->block[0];
    out->block_cols = (size_t)options->block[1];
    return true;
}
