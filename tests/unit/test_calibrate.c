/* Calibration: exact sums, collecting from several threads, fingerprints. */
#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/calibrate/calibrate.h"
#include "core/calibrate/calibrate_collect.h"
#include "core/calibrate/calibrate_sum.h"
#include "tests/unit/model_builder.h"
#include "tests/unit/same_stats.h"

Test(calibrate, exact_sums)
{
    const double terms[] = {1e30, 3.5,   -1e30,     0x1p-140, -7.25, 1e30, 0x1p-160, 1e-300,
                            0.1,  -1e30, -0x1p-140, 1e40,     -0.0,  3.75, -1e40,    -0x1p-160};
    enum { N = sizeof terms / sizeof *terms };
    for (size_t start = 0; start < N; start++) {
        int64_t sum[VQC_SUM_LIMBS] = {0}, small[VQC_SUM_LIMBS_FLOATS] = {0};
        for (size_t i = 0; i < N; i++) {
            vqc_sum_add(sum, VQC_SUM_LIMBS, terms[(start + i * 5) % N]);
            vqc_sum_add(small, VQC_SUM_LIMBS_FLOATS, terms[(start + i * 5) % N]);
        }
        cr_assert_eq(vqc_sum_value(sum, VQC_SUM_LIMBS), 0.1);
        cr_assert_eq(vqc_sum_value(small, VQC_SUM_LIMBS_FLOATS), 0.1);
    }
    int64_t one[VQC_SUM_LIMBS] = {0};
    const double singles[] = {-1.5, 1e77, -1e-30, 0x1.fffffffffffffp200, -0x1p-149};
    double total = 0.0;
    cr_assert_eq(vqc_sum_value(one, VQC_SUM_LIMBS), 0.0);
    for (size_t i = 0; i < 5; i++) {
        vqc_sum_add(one, VQC_SUM_LIMBS, singles[i]);
        if (i == 0)
            cr_assert_eq(vqc_sum_value(one, VQC_SUM_LIMBS), -1.5);
        total += singles[i];
    }
    cr_assert_float_eq(vqc_sum_value(one, VQC_SUM_LIMBS), total, 1e62);
    int64_t many[VQC_SUM_LIMBS] = {0};
    for (int i = 0; i < 100000; i++)
        vqc_sum_add(many, VQC_SUM_LIMBS,
                    i % 2 == 0 ? -0x1.fffffffffffffp31 : -0x1.fffffffffffffp31);
    cr_assert_float_eq(vqc_sum_value(many, VQC_SUM_LIMBS), -100000.0 * 0x1.fffffffffffffp31,
                       0.0625);
}

/* ---- the collector by itself ---- */

/* A model whose main graph has the values "conv" (read by Conv), "gemm" (read by MatMul), "both".
 */
static vqc_model *three_values(void)
{
    vqc_model *model = mb_model(17, 8);
    mb_input(model, NULL, "x");
    mb_matrix(model, "w", 3, 3, 1);
    mb_node(model, NULL, "Relu", "x", "conv");
    mb_node(model, NULL, "Conv", "conv w", "both");
    mb_node(model, NULL, "Sigmoid", "both", "gemm");
    mb_node(model, NULL, "MatMul", "gemm w", "y");
    mb_output(model, NULL, "y");
    return model;
}

static vqc_buffer *buffer_of(vqc_dtype dtype, const int64_t *dims, size_t rank, uint64_t seed)
{
    vqc_buffer *buffer = vqc_buffer_create((int32_t)dtype, dims, rank);
    mb_random random = {seed};
    cr_assert_not_null(buffer);
    for (size_t i = 0; i < buffer->elements; i++) {
        float value = mb_random_gauss(&random) * (float)(1 + seed % 5);
        const double wide = (double)value;
        if (seed % 4 == 1 && i == 5)
            value = NAN;
        if (dtype == VQC_DTYPE_FLOAT)
            memcpy(buffer->data + 4 * i, &value, 4);
        else
            memcpy(buffer->data + 8 * i, &wide, 8);
    }
    return buffer;
}

enum { SAMPLES = 40 };

/* Stats of SAMPLES samples seen in an order and by a number of threads. */
static vqc_stats *collect(const vqc_graph *graph, int threads, size_t stride)
{
    static const int64_t dims[3][4] = {{2, 3, 5, 7}, {4, 6, 8, 0}, {2, 3, 5, 7}};
    const vqc_value *values[] = {mb_value(graph, "gemm"), mb_value(graph, "conv"),
                                 mb_value(graph, "gemm"), mb_value(graph, "both")};
    vqc_collector *c = NULL;
    vqc_error error = {0};
    size_t count;
    const vqc_calibrate_options options = {.no_channels = false};
    cr_assert_eq(vqc_collector_create(values, 4, (size_t)threads, SAMPLES, &options, &c, &error),
                 VQC_OK);
    const vqc_value *const *taps = vqc_collector_values(c, &count);
    cr_assert_eq(count, 3);
    cr_assert_str_eq(taps[0]->name, "both");
    cr_assert_str_eq(taps[1]->name, "conv");
    cr_assert_str_eq(taps[2]->name, "gemm");
    int bad = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) reduction(+ : bad)
    for (size_t i = 0; i < SAMPLES; i++) {
        const size_t position = i * stride % SAMPLES;
        const size_t order[3] = {1, 2, 0};
        for (size_t k = 0; k < 3; k++) {
            /* "both" changes its channel count */
            int64_t shape[4];
            memcpy(shape, dims[k], sizeof shape);
            if (k == 2)
                shape[1] = position % 2 == 0 ? 3 : 4;
            vqc_error problem = {0};
            vqc_buffer *b = buffer_of(k == 1 ? VQC_DTYPE_DOUBLE : VQC_DTYPE_FLOAT, shape,
                                      k == 1 ? 3 : 4, position * 3 + k + 1);
            bad += vqc_collector_see(c, (size_t)omp_get_thread_num(), position, order[k], b,
                                     &problem) != VQC_OK;
            vqc_buffer_destroy(&b);
        }
    }
    cr_assert_eq(bad, 0);
    vqc_stats *stats = vqc_collector_finish(c);
    vqc_collector_destroy(&c);
    cr_assert_not_null(stats);
    return stats;
}

Test(calibrate, same_bits_in_any_order_and_at_every_thread_count)
{
    vqc_model *model = three_values();
    vqc_graph *graph = mb_index(model);
    vqc_stats *one = collect(graph, 1, 1), *mixed = collect(graph, 1, 17);
    vqc_stats *four = collect(graph, 4, 7);
    same_stats_assert(one, mixed);
    same_stats_assert(one, four);
    vqc_stats_destroy(&one);
    vqc_stats_destroy(&mixed);
    vqc_stats_destroy(&four);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

Test(calibrate, equals_a_plain_observer)
{
    vqc_model *model = three_values();
    vqc_graph *graph = mb_index(model);
    vqc_stats *stats = collect(graph, 3, 3);
    vqc_observation *o = malloc(sizeof *o);
    const int64_t dims[4] = {2, 3, 5, 7};
    double sums[3] = {0}, counts[3] = {0};
    float largest[3] = {0};
    cr_assert_not_null(o);
    vqc_observation_init(o);
    for (size_t p = 0; p < SAMPLES; p++) {
        vqc_buffer *b = buffer_of(VQC_DTYPE_FLOAT, dims, 4, p * 3 + 1);
        const float *x = (const float *)(const void *)b->data;
        vqc_observe(o, x, b->elements);
        for (size_t i = 0; i < b->elements; i++) {
            if (!isfinite(x[i]))
                continue;
            const size_t c = i / 35 % 3;
            sums[c] += (double)x[i];
            counts[c] += 1.0;
            largest[c] = fmaxf(largest[c], fabsf(x[i]));
        }
        vqc_buffer_destroy(&b);
    }
    cr_assert_eq(stats->count, 3);
    cr_assert_eq(stats->samples, SAMPLES);
    const vqc_tensor_stats *t = vqc_stats_find(stats, "conv");
    cr_assert_not_null(t);
    cr_assert_arr_eq(t->all.bins, o->bins, sizeof o->bins);
    cr_assert_eq(t->all.samples, o->samples);
    cr_assert_eq(t->all.elements, o->elements);
    cr_assert_eq(t->all.nan_count, o->nan_count);
    cr_assert(o->nan_count > 0);
    cr_assert(t->all.min == o->min && t->all.max == o->max && t->all.limit == o->limit);
    cr_assert_float_eq(t->all.sum, o->sum, 1e-3);
    cr_assert_float_eq(t->all.sum_squares, o->sum_squares, 1e-6 * o->sum_squares);
    cr_assert_float_eq(t->all.average_min, o->average_min, 1e-9);
    cr_assert_float_eq(t->all.average_max, o->average_max, 1e-9);
    cr_assert_eq(t->all.first_max, o->first_max);
    cr_assert_eq(t->channels, 3);
    cr_assert_eq(t->channel_axis, 1);
    for (size_t c = 0; c < 3; c++) {
        cr_assert_eq((double)t->channel_elements[c], counts[c]);
        cr_assert_float_eq(t->channel_mean[c], sums[c] / counts[c], 1e-6);
        cr_assert_eq(t->channel_absmax[c], largest[c]);
    }
    /* Read by MatMul: the last axis; double is observed as float. */
    t = vqc_stats_find(stats, "gemm");
    cr_assert_not_null(t);
    cr_assert_eq(t->channels, 8);
    cr_assert_eq(t->channel_axis, 2);
    cr_assert_eq(t->channel_elements[3], 24 * SAMPLES);
    /* Different channel counts give none. */
    t = vqc_stats_find(stats, "both");
    cr_assert_not_null(t);
    cr_assert_eq(t->channels, 0);
    cr_assert_null(vqc_stats_find(stats, "x"));
    vqc_messages lines = {0};
    cr_assert_eq(vqc_stats_report_nonfinite(stats, &lines), VQC_OK);
    cr_assert_eq(lines.count, 2);
    cr_assert_eq(strncmp(lines.items[1], "value 'conv': ", 14), 0, "%s", lines.items[1]);
    vqc_messages_clear(&lines);
    free(o);
    vqc_stats_destroy(&stats);
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
}

static vqc_model *relu_model(void)
{
    vqc_model *model = mb_model(17, 8);
    mb_input(model, NULL, "x");
    mb_matrix(model, "w", 1, 3, 9);
    mb_node(model, NULL, "Relu", "x", "r");
    mb_node(model, NULL, "Mul", "r w", "y");
    mb_output(model, NULL, "y");
    return model;
}

Test(calibrate, fingerprint_sees_weights_and_structure)
{
    vqc_model *a = relu_model(), *b = relu_model(), *c = three_values();
    cr_assert_eq(vqc_stats_fingerprint(a), vqc_stats_fingerprint(b));
    cr_assert_neq(vqc_stats_fingerprint(a), vqc_stats_fingerprint(c));
    b->proto->graph->initializer[0]->raw_data.data[3] ^= 1;
    cr_assert_neq(vqc_stats_fingerprint(a), vqc_stats_fingerprint(b));
    b->proto->graph->initializer[0]->raw_data.data[3] ^= 1;
    b->proto->graph->node[0]->op_type = (char *)"Abs";
    cr_assert_neq(vqc_stats_fingerprint(a), vqc_stats_fingerprint(b));
    vqc_model_destroy(&a);
    vqc_model_destroy(&b);
    vqc_model_destroy(&c);
}
