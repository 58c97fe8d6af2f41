/* vqc eval: accuracy of a model, and its distance to another one. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/model_data.h"
#include "cli/show.h"
#include "cli/table.h"
#include "cli/term.h"
#include "cli/text.h"
#include "core/dtype.h"
#include "core/evaluate.h"

enum {
    OPT_REF = 256,
    OPT_LABELS,
    OPT_OFFSET,
    OPT_IMAGE,
    OPT_JSON,
    OPT_SAMPLES,
    MAX_THREADS = 1024
};

static const struct option options[] = {
    {"data", required_argument, NULL, 'd'},
    {"labels", required_argument, NULL, OPT_LABELS},
    {"label-offset", required_argument, NULL, OPT_OFFSET},
    {"ref", required_argument, NULL, OPT_REF},
    {"image", required_argument, NULL, OPT_IMAGE},
    {"samples", required_argument, NULL, OPT_SAMPLES},
    {"json", no_argument, NULL, OPT_JSON},
    {"threads", required_argument, NULL, 'j'},
    {"jobs", required_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: vqc eval MODEL --data PATH [options]\n"
    "\n"
    "Measures what a model is worth on samples: top-1 and top-5 where there are labels, the mean\n"
    "squared error where there are targets, the perplexity of token models; with --ref also how\n"
    "far its outputs are from another model's.\n"
    "\n"
    "  -d, --data PATH         a .npz or .npy file, a folder of these or of pictures, ONNX\n"
    "                          test_data_set_N folders, or 'synthetic' for random numbers\n"
    "      --labels FILE       classes for a folder: lines of file<TAB>class or file,class\n"
    "      --label-offset N    add N to every class (a model with a background class: 1)\n"
    "      --ref MODEL2        the model to compare with, for example the original\n"
    "      --image OPTIONS     how pictures become inputs, see below\n"
    "      --samples N         use N samples, evenly spread (default: all)\n"
    "      --json              print the result as JSON\n"
    "  -j, --threads N         use N threads (default: one per core); same result at any number\n"
    "  -h, --help              this text\n"
    "\n"
    "The keys of a .npz file are the model's inputs; `labels` (integers) and `target` (floats) "
    "may\n"
    "go with them. Labels and targets are compared with the first output. The classes are its\n"
    "last axis of more than one element. Perplexity needs integer tokens [batch, seq] as input\n"
    "and a first output [batch, seq, vocabulary]; it is exp of the mean cross entropy of the next\n"
    "token.\n"
    "\n" VQC_IMAGE_HELP "\n"
    "SQNR is 10 log10(sum ref^2 / sum (ref - got)^2) over all values of all samples.\n"
    "\n"
    "Exit codes: 0 ok, 1 internal error or out of memory, 2 usage, 3 bad or unsupported model or\n"
    "data (operators that vqc lacks are listed), 4 input or output.\n"
    "\n"
    "  vqc eval model.onnx -d test.npz                              accuracy\n"
    "  vqc eval model.int8.onnx --ref model.onnx -d test.npz        and what was lost\n"
    "  vqc eval squeezenet.onnx -d pictures/ --labels labels.tsv \\\n"
    "      --image resize=256,crop=224,order=bgr,mean=104:117:123\n";

typedef struct eval_args {
    const char *model;
    const char *data;
    const char *labels;
    const char *offset;
    const char *ref;
    const char *samples;
    const char *threads;
    long offset_value;
    long sample_count;
    long thread_count;
    bool json;
    vqc_image_options image;
} eval_args;

static bool parse_offset(const char *text, long *value)
{
    char *end = NULL;
    errno = 0;
    *value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || *value < -1000000 || *value > 1000000) {
        vqc_args_error("eval",
                       "--label-offset: got \"%s\", expected a whole number from -1000000 "
                       "to 1000000",
                       text);
        return false;
    }
    return true;
}

static int check_args(int argc, char **argv, eval_args *args)
{
    if (optind == argc)
        return vqc_args_error("eval", "needs a model");
    if (argc - optind > 1)
        return vqc_args_error("eval", "evaluates one model at a time, got %d", argc - optind);
    args->model = argv[optind];
    if (args->data == NULL)
        return vqc_args_error("eval", "needs --data PATH");
    if (args->offset != NULL && !parse_offset(args->offset, &args->offset_value))
        return VQC_ERR_USAGE;
    if (args->samples != NULL &&
        !vqc_args_integer("eval", "--samples", args->samples, 1, 1000000000, &args->sample_count))
        return VQC_ERR_USAGE;
    if (args->threads != NULL &&
        !vqc_args_integer("eval", "--threads", args->threads, 1, MAX_THREADS, &args->thread_count))
        return VQC_ERR_USAGE;
    return VQC_OK;
}

/* False when the command is over already, with *code to exit with. */
static bool parse_args(int argc, char **argv, eval_args *args, int *code)
{
    opterr = 0;
    optind = 1;
    int option;
    bool good = true;
    while (good && (option = getopt_long(argc, argv, ":hd:j:", options, NULL)) != -1) {
        switch (option) {
        case 'h':
            fputs(help_text, stdout);
            *code = VQC_OK;
            return false;
        case 'd':
            good = vqc_args_once("eval", "--data", &args->data, optarg);
            break;
        case 'j':
            good = vqc_args_once("eval", "--threads", &args->threads, optarg);
            break;
        case OPT_LABELS:
            good = vqc_args_once("eval", "--labels", &args->labels, optarg);
            break;
        case OPT_OFFSET:
            good = vqc_args_once("eval", "--label-offset", &args->offset, optarg);
            break;
        case OPT_REF:
            good = vqc_args_once("eval", "--ref", &args->ref, optarg);
            break;
        case OPT_SAMPLES:
            good = vqc_args_once("eval", "--samples", &args->samples, optarg);
            break;
        case OPT_IMAGE:
            good = vqc_args_image("eval", optarg, &args->image);
            break;
        case OPT_JSON:
            args->json = true;
            break;
        default:
            *code = vqc_args_bad_option("eval", options, argv, option);
            return false;
        }
    }
    *code = good ? check_args(argc, argv, args) : VQC_ERR_USAGE;
    return *code == VQC_OK;
}

/* ---- text ---- */

/* "61.20% (306 of 500)" */
static char *show_share(vqc_arena *arena, uint64_t hits, uint64_t all)
{
    return vqc_text_printf(arena, "%.2f%% (%s of %s)", 100.0 * (double)hits / (double)all,
                           vqc_text_count(arena, hits), vqc_text_count(arena, all));
}

typedef enum figure { TOP1, TOP5, MSE, PERPLEXITY, NONFINITE, FIGURES } figure;

/* One figure as text, NULL when it was not measured. */
static char *show_figure(vqc_arena *arena, const vqc_evaluation *e, figure which)
{
    switch (which) {
    case TOP1:
        return e->labelled > 0 ? show_share(arena, e->top1_hits, e->labelled) : NULL;
    case TOP5:
        return e->labelled > 0 && !isnan(e->top5) ? show_share(arena, e->top5_hits, e->labelled)
                                                  : NULL;
    case MSE:
        return e->target_values > 0 ? vqc_text_printf(arena, "%.6g (%s values)", e->mse,
                                                      vqc_text_count(arena, e->target_values))
                                    : NULL;
    case PERPLEXITY:
        return e->tokens > 0 ? vqc_text_printf(arena, "%.4g (%s tokens)", e->perplexity,
                                               vqc_text_count(arena, e->tokens))
                             : NULL;
    default:
        return e->nonfinite > 0 ? vqc_text_printf(arena, "%s values of the outputs",
                                                  vqc_text_count(arena, e->nonfinite))
                                : NULL;
    }
}

/* The accuracy of one model, with that of its reference beside it (NULL: none). */
static void print_accuracy(vqc_arena *arena, const vqc_evaluation *model,
                           const vqc_evaluation *reference)
{
    static const char *const names[FIGURES] = {"top-1", "top-5", "MSE", "perplexity", "NaN or inf"};
    for (int i = 0; i < FIGURES; i++) {
        char *own = show_figure(arena, model, (figure)i);
        char *other = reference != NULL ? show_figure(arena, reference, (figure)i) : NULL;
        if (own == NULL && other == NULL)
            continue;
        vqc_show_field(stdout, names[i],
                       vqc_text_printf(arena, "%s%s%s", own != NULL ? own : "none",
                                       other != NULL ? ", reference " : "",
                                       other != NULL ? other : ""));
    }
}

static void print_comparison(vqc_arena *arena, const vqc_comparison *comparison)
{
    static const vqc_column columns[] = {
        {"output", false, 20, 0},   {"SQNR dB", true, 0, 0}, {"cosine", true, 0, 2},
        {"max error", true, 0, 1},  {"equal", true, 0, 0},   {"same top-1", true, 0, 0},
        {"NaN or inf", true, 0, 0},
    };
    vqc_term term = vqc_term_stdout();
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    for (size_t o = 0; o < comparison->output_count; o++) {
        const vqc_output_comparison *row = &comparison->outputs[o];
        bool floats = row->metrics.count > 0;
        const char *cells[] = {
            vqc_text_clean(arena, row->name),
            floats ? vqc_text_db(arena, row->metrics.sqnr_db) : NULL,
            floats ? vqc_text_printf(arena, "%.6f", row->metrics.cosine) : NULL,
            floats ? vqc_text_real(arena, row->metrics.max_abs_error) : NULL,
            row->values > 0 ? vqc_text_percent(arena, row->equal, row->values) : NULL,
            row->rows > 0 ? vqc_text_percent(arena, row->top1_equal, row->rows) : NULL,
            row->nonfinite + row->nonfinite_ref > 0
                ? vqc_text_printf(arena, "%s (ref %s)", vqc_text_count(arena, row->nonfinite),
                                  vqc_text_count(arena, row->nonfinite_ref))
                : NULL,
        };
        vqc_table_add(table, VQC_STYLE_NONE, cells);
    }
    vqc_table_print(table, stdout, &term);
}

static void print_text(const eval_args *args, const vqc_evaluation *model,
                       const vqc_comparison *comparison, uint64_t time_ns)
{
    vqc_arena *arena = vqc_cli_arena();
    printf("%s", vqc_text_clean(arena, args->model));
    if (args->ref != NULL)
        printf(" against %s", vqc_text_clean(arena, args->ref));
    printf(": %s sample%s of %s\n", vqc_text_count(arena, model->samples),
           model->samples == 1 ? "" : "s", vqc_text_clean(arena, args->data));
    print_accuracy(arena, model, comparison != NULL ? &comparison->reference : NULL);
    vqc_show_field(stdout, "time", vqc_text_time(arena, time_ns));
    if (comparison != NULL) {
        printf("\n");
        print_comparison(arena, comparison);
    }
    vqc_arena_destroy(&arena);
}

/* ---- JSON ---- */

/* "NAME": VALUE with null for what is not finite; +infinity of an SQNR (equal) is "exact". */
static void json_real(const char *name, double value, const char *after)
{
    if (isfinite(value))
        printf("\"%s\": %.9g%s", name, value, after);
    else
        printf("\"%s\": %s%s", name, isinf(value) && value > 0 ? "\"inf\"" : "null", after);
}

static void json_evaluation(const char *name, const vqc_evaluation *e, const char *after)
{
    printf("  \"%s\": {\"samples\": %zu, \"nonfinite\": %llu", name, e->samples,
           (unsigned long long)e->nonfinite);
    if (e->labelled > 0) {
        printf(", \"labelled\": %llu, \"top1_hits\": %llu, ", (unsigned long long)e->labelled,
               (unsigned long long)e->top1_hits);
        json_real("top1", e->top1, ", ");
        json_real("top5", e->top5, "");
    }
    if (e->target_values > 0) {
        printf(", \"target_values\": %llu, ", (unsigned long long)e->target_values);
        json_real("mse", e->mse, "");
    }
    if (e->tokens > 0) {
        printf(", \"tokens\": %llu, ", (unsigned long long)e->tokens);
        json_real("cross_entropy", e->cross_entropy, ", ");
        json_real("perplexity", e->perplexity, "");
    }
    printf("}%s\n", after);
}

static void json_comparison(vqc_arena *arena, const vqc_comparison *comparison)
{
    printf("  \"outputs\": [");
    for (size_t o = 0; o < comparison->output_count; o++) {
        const vqc_output_comparison *row = &comparison->outputs[o];
        printf("%s\n    {\"name\": %s, \"dtype\": \"%s\", \"nonfinite\": %llu, "
               "\"nonfinite_ref\": %llu",
               o > 0 ? "," : "", vqc_text_json(arena, row->name),
               vqc_dtype_describe(row->dtype)->name, (unsigned long long)row->nonfinite,
               (unsigned long long)row->nonfinite_ref);
        if (row->values > 0)
            printf(", \"values\": %llu, \"equal\": %llu", (unsigned long long)row->values,
                   (unsigned long long)row->equal);
        if (row->metrics.count > 0) {
            printf(", \"values\": %llu, ", (unsigned long long)row->metrics.count);
            json_real("sqnr_db", row->metrics.sqnr_db, ", ");
            json_real("mse", row->metrics.mse, ", ");
            json_real("cosine", row->metrics.cosine, ", ");
            json_real("max_abs_error", row->metrics.max_abs_error, "");
        }
        if (row->rows > 0)
            printf(", \"rows\": %llu, \"top1_equal\": %llu", (unsigned long long)row->rows,
                   (unsigned long long)row->top1_equal);
        printf("}");
    }
    printf("\n  ],\n");
}

static void print_json(const eval_args *args, const vqc_evaluation *model,
                       const vqc_comparison *comparison, bool synthetic, uint64_t time_ns)
{
    vqc_arena *arena = vqc_cli_arena();
    printf("{\n  \"format\": 1,\n  \"kind\": \"eval\",\n  \"model\": %s,\n",
           vqc_text_json(arena, args->model));
    if (args->ref != NULL)
        printf("  \"ref\": %s,\n", vqc_text_json(arena, args->ref));
    printf("  \"data\": %s,\n  \"synthetic\": %s,\n", vqc_text_json(arena, args->data),
           synthetic ? "true" : "false");
    json_evaluation("accuracy", model, ",");
    if (comparison != NULL) {
        json_evaluation("ref_accuracy", &comparison->reference, ",");
        json_comparison(arena, comparison);
    }
    printf("  \"time_ns\": %llu\n}\n", (unsigned long long)time_ns);
    vqc_arena_destroy(&arena);
}

/* ---- the command ---- */

static bool has_figures(const vqc_evaluation *e)
{
    return e->labelled > 0 || e->target_values > 0 || e->tokens > 0;
}

static vqc_status evaluate(const eval_args *args, const vqc_ready_model *model,
                           const vqc_ready_model *reference, vqc_samples *samples)
{
    vqc_arena *arena = vqc_cli_arena();
    vqc_progress progress;
    vqc_error error = {VQC_OK, ""};
    vqc_evaluation alone = {0};
    vqc_comparison *comparison = NULL;
    vqc_evaluate_options run = {.threads = (int)args->thread_count};
    uint64_t start = vqc_cli_now_ns();
    vqc_progress_start(&progress, vqc_text_clean(arena, args->model), args->json);
    vqc_status status =
        args->ref != NULL
            ? vqc_compare(reference->program, model->program, samples, &run, &comparison, &error)
            : vqc_evaluate(model->program, samples, &run, &alone, &error);
    vqc_progress_finish(&progress);
    uint64_t time_ns = vqc_cli_now_ns() - start;
    const vqc_evaluation *result = comparison != NULL ? &comparison->model : &alone;
    if (status != VQC_OK) {
        vqc_cli_error("%s: %s", args->model, error.message);
    } else if (comparison == NULL && !has_figures(result)) {
        vqc_cli_error("%s: has no labels and no targets, and the model is no token model; give "
                      "--labels FILE, or a model to compare with --ref",
                      args->data);
        status = VQC_ERR_USAGE;
    } else if (args->json) {
        print_json(args, result, comparison, samples->is_synthetic, time_ns);
    } else {
        print_text(args, result, comparison, time_ns);
    }
    vqc_comparison_destroy(&comparison);
    vqc_arena_destroy(&arena);
    return status;
}

int vqc_cmd_eval(int argc, char **argv)
{
    eval_args args = {0};
    int code = VQC_OK;
    if (!parse_args(argc, argv, &args, &code))
        return code;
    vqc_samples_request request = {
        .path = args.data,
        .labels = args.labels,
        .label_offset = args.offset_value,
        .max_samples = (size_t)args.sample_count,
        .image = args.image,
    };
    vqc_ready_model model = {0};
    vqc_ready_model reference = {0};
    vqc_samples *samples = NULL;
    vqc_status status = vqc_ready_model_open(args.model, &model);
    if (status == VQC_OK && args.ref != NULL)
        status = vqc_ready_model_open(args.ref, &reference);
    if (status == VQC_OK)
        status = vqc_ready_samples_open(args.ref != NULL ? &reference : &model, &request, &samples);
    if (status == VQC_OK)
        status = evaluate(&args, &model, &reference, samples);
    vqc_samples_destroy(&samples);
    vqc_ready_model_close(&reference);
    vqc_ready_model_close(&model);
    return (int)status;
}
