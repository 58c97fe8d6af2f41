/*
 * Raises the opset of models, for tests/oracle/test_opset.py.
 *
 *     opset_tool IN OUT TARGET    raises IN and writes OUT; blockers on stderr, exit code 3
 *     opset_tool --batch          the same for every line "IN<TAB>OUT<TAB>TARGET" of stdin; prints
 * one line each: "ok" or "blocked<TAB>line<TAB>line..." or "error<TAB>message" opset_tool --steps
 * the reviewed steps: operator, version, kind, note, TAB-separated opset_tool --doc docs/OPSETS.md
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/emit/opset_internal.h"
#include "formats/onnx_file.h"

static vqc_status raise_file(const char *in, const char *out, int64_t target,
                             vqc_messages *blockers, vqc_error *error)
{
    vqc_model *model = NULL;
    vqc_graph *graph = NULL;
    vqc_onnx_write_options options = {.overwrite = true};
    vqc_status status = vqc_onnx_open(in, &model, error);

    if (status == VQC_OK) {
        status = vqc_graph_create(model, &graph, error);
    }
    if (status == VQC_OK) {
        status = vqc_opset_check(graph, target, blockers, error);
    }
    if (status == VQC_OK) {
        status = vqc_opset_raise(graph, target, error);
    }
    if (status == VQC_OK) {
        status = vqc_onnx_save(model, out, &options, NULL, error);
    }
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
    return status;
}

static int batch(void)
{
    char line[8192];

    while (fgets(line, sizeof line, stdin) != NULL) {
        vqc_messages blockers = {NULL, 0, 0};
        vqc_error error;
        char *in = strtok(line, "\t");
        char *out = strtok(NULL, "\t");
        char *target = strtok(NULL, "\t\n");
        if (target == NULL) {
            return 2;
        }
        if (raise_file(in, out, strtoll(target, NULL, 10), &blockers, &error) == VQC_OK) {
            (void)puts("ok");
        } else if (blockers.count == 0) {
            (void)printf("error\t%s\n", error.message);
        } else {
            (void)fputs("blocked", stdout);
            for (size_t i = 0; i < blockers.count; i++) {
                (void)printf("\t%s", blockers.items[i]);
            }
            (void)puts("");
        }
        (void)fflush(stdout);
        vqc_messages_clear(&blockers);
    }
    return 0;
}

static const char *step_kind(const vqc_opset_step *step)
{
    if (step->adapt != NULL) {
        return "adapted";
    }
    return step->blocker != NULL ? "checked" : "same";
}

static void print_steps(void)
{
    for (size_t i = 0; i < vqc_opset_step_count; i++) {
        const vqc_opset_step *step = &vqc_opset_steps[i];
        (void)printf("%s\t%d\t%s\t%s\n", step->op, step->since, step_kind(step), step->note);
    }
}

static void print_doc_rows(const char *wanted)
{
    (void)puts("| operator | to version | how |\n|---|---|---|");
    for (size_t i = 0; i < vqc_opset_step_count; i++) {
        const vqc_opset_step *step = &vqc_opset_steps[i];
        bool conditional = step->blocker != NULL;
        bool same = step->adapt == NULL && !conditional;
        if (same == (strcmp(wanted, "same") == 0)) {
            (void)printf("| %s | %d | %s |\n", step->op, step->since, step->note);
        }
    }
}

static void print_doc(void)
{
    size_t versions = 0;

    for (size_t i = 0; i < vqc_opset_op_count; i++) {
        for (size_t k = 0; vqc_opset_ops[i].since[k] != 0; k++) {
            versions++;
        }
    }
    (void)printf(
        "# Raising the opset\n"
        "\n"
        "<!-- printed by `opset_tool --doc` from core/emit/opset_steps.c; a test compares it -->\n"
        "\n"
        "vqc raises the ai.onnx opset of a model only when the chosen pattern needs a newer one, "
        "from "
        "opset %d on, up to %d.\nIt knows %zu operators in %zu versions. Subgraphs and function "
        "bodies are "
        "raised with the model; nodes of other\noperator sets are left alone. Constants that a new "
        "form "
        "needs are shared between nodes: initializers of the main\ngraph (IR version 4 and newer), "
        "Constant nodes elsewhere. The IR version stays.\n"
        "\n"
        "A step that is in neither table below only allows more data types, or is worded anew.\n"
        "\n"
        "A node that cannot be raised is named, with the reason. The model then keeps its own "
        "opset and "
        "is given a pattern\nthat works there.\n"
        "\n"
        "## Steps with an adapter or a condition\n"
        "\n",
        VQC_OPSET_OLDEST, VQC_OPSET_NEWEST, vqc_opset_op_count, versions);
    print_doc_rows("adapted");
    (void)puts(
        "\nAll of these are refused for nodes of a function whose attributes are arguments of the "
        "function.\n\n## Steps that look like a change and keep the meaning\n");
    print_doc_rows("same");
    (void)puts("\n## Never raised\n\n"
               "- models of opset 1 to 6\n"
               "- operators that vqc does not find in ai.onnx, or not in the opset that the model "
               "imports\n- experimental operators that ai.onnx dropped with opset 10:");
    (void)fputs(" ", stdout);
    for (size_t i = 0; vqc_opset_dropped_ops[i] != NULL; i++) {
        (void)printf("%s %s", i == 0 ? "" : ",", vqc_opset_dropped_ops[i]);
    }
    (void)puts(
        "\n\n## How far to raise\n\n"
        "In every case that tests/oracle/test_opset.py runs, ONNX Runtime 1.32 has a CPU kernel at "
        "opset 21 where it has one\nat the older opset. At 22 it has none for Bernoulli, "
        "GlobalLpPool, MaxRoiPool, Multinomial, the Random operators and\nRoiAlign, at 28 none for "
        "QuantizeLinear, DequantizeLinear, OptionalGetElement and OptionalHasElement. So a model "
        "is\nraised to what its pattern needs (13 or 21), not to the newest opset.");
}

int main(int argc, char **argv)
{
    vqc_messages blockers = {NULL, 0, 0};
    vqc_error error;
    vqc_status status;

    if (argc == 2 && strcmp(argv[1], "--batch") == 0) {
        return batch();
    }
    if (argc == 2 && strcmp(argv[1], "--steps") == 0) {
        print_steps();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--doc") == 0) {
        print_doc();
        return 0;
    }
    if (argc != 4) {
        (void)fputs("usage: opset_tool IN OUT TARGET | --batch | --steps | --doc\n", stderr);
        return 2;
    }
    status = raise_file(argv[1], argv[2], strtoll(argv[3], NULL, 10), &blockers, &error);
    for (size_t i = 0; i < blockers.count; i++) {
        (void)fprintf(stderr, "%s\n", blockers.items[i]);
    }
    if (status != VQC_OK && blockers.count == 0) {
        (void)fprintf(stderr, "%s\n", error.message);
    }
    vqc_messages_clear(&blockers);
    return (int)status;
}
