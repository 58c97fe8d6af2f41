/*
 * Observes raw float32 files as one tensor and prints what test_observer.py compares with NumPy:
 *
 *     observer_tool SAMPLE...
 *
 * "stats LIMIT ELEMENTS ZEROS NAN INFINITE MIN MAX SUM SUM_SQUARES AVERAGE_MIN AVERAGE_MAX",
 * "bin INDEX COUNT" for each bin in use, "range KIND BITS SYMMETRIC MIN MAX MSE" and
 * "divergence SYMMETRIC BINS KL" for 8 bits.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/calibrate/observer.h"

static int observe_file(const char *path, vqc_observation *o)
{
    FILE *file = fopen(path, "rb");
    float *values;
    long size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 ||
        fseek(file, 0, SEEK_SET) != 0 || (values = malloc((size_t)size + 1)) == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    size_t count = fread(values, sizeof *values, (size_t)size / sizeof *values, file);
    (void)fclose(file);
    vqc_observe(o, values, count);
    free(values);
    return 0;
}

static void print_ranges(const vqc_observation *o)
{
    for (int kind = VQC_OBSERVER_MINMAX; kind <= VQC_OBSERVER_MSE; kind++) {
        for (int i = 0; i < 4; i++) {
            vqc_observer_options options = {.kind = (vqc_observer_kind)kind,
                                            .percentile = 99.9,
                                            .bits = i < 2 ? 8 : 16,
                                            .symmetric = i % 2 == 1};
            vqc_range r = vqc_observation_range(o, &options);
            printf("range %s %d %d %.9g %.9g %.17g\n", vqc_observer_name(options.kind),
                   options.bits, options.symmetric, (double)r.min, (double)r.max,
                   vqc_observation_mse(o, r, options.bits, options.symmetric));
        }
    }
}

int main(int argc, char **argv)
{
    static vqc_observation o;

    vqc_observation_init(&o);
    for (int i = 1; i < argc; i++) {
        if (observe_file(argv[i], &o) != 0) {
            return 1;
        }
    }
    printf("stats %.9g %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
           " %.9g %.9g %.17g %.17g %.17g %.17g\n",
           (double)o.limit, o.elements, o.zeros, o.nan_count, o.infinite_count, (double)o.min,
           (double)o.max, o.sum, o.sum_squares, o.average_min, o.average_max);
    for (size_t b = 0; b < VQC_OBSERVER_BINS; b++) {
        if (o.bins[b] > 0) {
            printf("bin %zu %" PRIu64 "\n", b, o.bins[b]);
        }
    }
    print_ranges(&o);
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        for (uint32_t bins = 1; bins <= VQC_OBSERVER_HALF_BINS; bins++) {
            vqc_observer_options options = {
                .kind = VQC_OBSERVER_ENTROPY, .bits = 8, .symmetric = symmetric != 0};
            printf("divergence %d %" PRIu32 " %.17g\n", symmetric, bins,
                   vqc_observation_divergence(&o, &options, bins));
        }
    }
    return 0;
}
