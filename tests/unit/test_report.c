/* Reports: totals, and gates with their edges. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/report.h"

static vqc_report *make_report(size_t layers)
{
    vqc_report *report = NULL;
    vqc_error error;

    cr_assert_eq(vqc_report_create(&report, &error), VQC_OK);
    report->layers = vqc_arena_calloc(report->arena, layers + 1, sizeof *report->layers);
    cr_assert_not_null(report->layers);
    report->layer_count = layers;
    for (size_t i = 0; i < layers; i++) {
        report->layers[i].name = i == 0 ? "a" : i == 1 ? "b" : "c";
        report->layers[i].status = VQC_LAYER_CODED;
        report->layers[i].elements = 100;
        report->layers[i].before_bytes = 400;
        report->layers[i].after_bytes = 100;
        report->layers[i].metrics.count = 100;
        report->layers[i].metrics.sqnr_db = 30.0;
    }
    report->before.total_bytes = 1000;
    report->after.total_bytes = 500;
    report->metrics.count = 100 * layers;
    report->metrics.sqnr_db = 30.0;
    return report;
}

static vqc_gates no_gates(void)
{
    const double unset = (double)NAN;
    return (vqc_gates){unset, unset, unset, unset, unset, unset, unset, unset, unset, false};
}

static void check(vqc_report *report, const vqc_gates *gates, size_t misses)
{
    vqc_error error;
    report->miss_count = 0;
    cr_assert_eq(vqc_report_check_gates(report, gates, &error), VQC_OK);
    cr_assert_eq(report->miss_count, misses, "%zu misses, wanted %zu", report->miss_count, misses);
}

Test(report, totals)
{
    vqc_report *report = make_report(3);

    report->layers[1].status = VQC_LAYER_KEPT;
    report->layers[1].after_bytes = 400;
    report->layers[2].elements = 0;
    report->layers[2].after_bytes = 7;
    vqc_report_total(report);
    cr_assert_eq(report->weight_elements, 200);
    cr_assert_eq(report->weight_before_bytes, 1200);
    cr_assert_eq(report->weight_after_bytes, 507);
    cr_assert_eq(report->coded_count, 2);
    cr_assert_eq(report->kept_count, 1);
    cr_assert_eq(report->layers[0].bits_per_weight, 8.0);
    cr_assert_eq(report->layers[1].bits_per_weight, 32.0);
    cr_assert_eq(report->layers[2].bits_per_weight, 0.0, "no division by no elements");
    vqc_report_total(report);
    cr_assert_eq(report->weight_elements, 200, "adding up twice changes nothing");
    vqc_report_destroy(&report);
    cr_assert_null(report);
    vqc_report_destroy(&report);
}

Test(report, without_gates_nothing_is_missed)
{
    vqc_report *report = make_report(2);
    vqc_gates gates = no_gates();

    report->metrics.sqnr_db = (double)NAN;
    report->layers[0].metrics.sqnr_db = (double)NAN;
    check(report, &gates, 0);
    vqc_report_destroy(&report);
}

Test(report, size_gate)
{
    vqc_report *report = make_report(1);
    vqc_gates gates = no_gates();

    gates.max_size_ratio = 0.5;
    check(report, &gates, 0); /* the limit itself is allowed */
    gates.max_size_ratio = 0.4999;
    check(report, &gates, 1);
    cr_assert_str_eq(report->misses[0].gate, "max_size_ratio");
    cr_assert_str_eq(report->misses[0].layer, "");
    cr_assert_eq(report->misses[0].limit, 0.4999);
    cr_assert_eq(report->misses[0].value, 0.5);
    report->after.total_bytes = report->before.total_bytes = 0;
    gates.max_size_ratio = 1.0;
    check(report, &gates, 0);
    vqc_report_destroy(&report);
}

Test(report, quality_gate)
{
    static const double values[] = {30.0,        29.999,           -5.0,
                                    (double)NAN, (double)INFINITY, -(double)INFINITY};
    static const size_t misses[] = {0, 1, 1, 1, 0, 1};
    vqc_report *report = make_report(1);
    vqc_gates gates = no_gates();

    gates.min_weight_sqnr_db = 30.0;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        report->metrics.sqnr_db = values[i];
        check(report, &gates, misses[i]);
        if (misses[i] == 1) {
            cr_assert_str_eq(report->misses[0].gate, "min_weight_sqnr_db");
        }
    }
    vqc_report_destroy(&report);
}

Test(report, nothing_coded_misses_no_quality_gate)
{
    vqc_report *report = make_report(1);
    vqc_gates gates = no_gates();

    gates.min_weight_sqnr_db = 30.0;
    gates.layer_min_weight_sqnr_db = 30.0;
    gates.layer_max_size_ratio = 0.1;
    report->layers[0].status = VQC_LAYER_KEPT;
    report->metrics = (vqc_metrics){0};
    check(report, &gates, 0);
    vqc_report_destroy(&report);
}

Test(report, layer_gates_name_the_layers)
{
    vqc_report *report = make_report(3);
    vqc_gates gates = no_gates();

    gates.layer_min_weight_sqnr_db = 25.0;
    gates.layer_max_size_ratio = 0.25;
    check(report, &gates, 0);
    report->layers[1].metrics.sqnr_db = 24.0;
    report->layers[2].metrics.sqnr_db = (double)NAN;
    report->layers[0].after_bytes = 101;
    check(report, &gates, 3);
    cr_assert_str_eq(report->misses[0].gate, "per_layer.max_size_ratio");
    cr_assert_str_eq(report->misses[0].layer, "a");
    cr_assert_eq(report->misses[0].value, 101.0 / 400.0);
    cr_assert_str_eq(report->misses[1].gate, "per_layer.min_weight_sqnr_db");
    cr_assert_str_eq(report->misses[1].layer, "b");
    cr_assert_eq(report->misses[1].limit, 25.0);
    cr_assert_eq(report->misses[1].value, 24.0);
    cr_assert_str_eq(report->misses[2].layer, "c");
    report->layers[1].status = VQC_LAYER_KEPT;
    check(report, &gates, 2);
    vqc_report_destroy(&report);
}

Test(report, an_unchanged_file_reports_nothing_coded)
{
    vqc_report *report = make_report(2);
    vqc_gates gates = no_gates();
    vqc_error error;

    report->opset_before = 9;
    report->opset_after = 13;
    report->ir_before = 3;
    report->ir_after = 8;
    cr_assert_eq(vqc_report_note(report, &error, "opset raised from %d to %d", 9, 13), VQC_OK);
    cr_assert_eq(vqc_report_unchanged(report, "not smaller", &error), VQC_OK);
    cr_assert(report->unchanged && report->coded_count == 0 && report->kept_count == 2);
    cr_assert_str_eq(report->layers[0].reason, "not smaller");
    cr_assert_eq(report->layers[0].after_bytes, 400);
    cr_assert_eq(report->layers[0].metrics.count, 0);
    cr_assert_eq(report->metrics.count, 0);
    cr_assert(report->opset_after == 9 && report->ir_after == 3);
    cr_assert_eq(report->note_count, 1, "what was undone is not told");
    report->after = report->before;
    gates.min_weight_sqnr_db = 90.0;
    check(report, &gates, 0);
    gates.max_size_ratio = 0.9;
    check(report, &gates, 1);
    vqc_report_destroy(&report);
}

Test(report, notes_and_stages)
{
    vqc_report *report = make_report(0);
    vqc_error error;
    char text[32];

    for (int i = 0; i < 20; i++) {
        cr_assert_eq(vqc_report_note(report, &error, "note %d", i), VQC_OK);
        cr_assert_eq(vqc_report_stage(report, i % 2 == 0 ? "read" : "write", (uint64_t)i, &error),
                     VQC_OK);
    }
    cr_assert(report->note_count == 20 && report->stage_count == 2);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(text, sizeof text, "note %d", i);
        cr_assert_str_eq(report->notes[i], text);
    }
    cr_assert_str_eq(report->stages[0].stage, "read");
    cr_assert_eq(report->stages[0].time_ns, UINT64_C(90)); /* 0 + 2 + ... + 18 */
    cr_assert_eq(report->stages[1].time_ns, UINT64_C(100));
    vqc_report_destroy(&report);
}
