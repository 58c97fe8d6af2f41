/* vqc report */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/show.h"
#include "cli/term.h"
#include "cli/text.h"

enum { OPT_REF = 256, OPT_JSON, OPT_CSV, OPT_SORT, OPT_TOP };

static const struct option options[] = {
    {"ref", required_argument, NULL, OPT_REF},
    {"json", no_argument, NULL, OPT_JSON},
    {"csv", no_argument, NULL, OPT_CSV},
    {"sort", required_argument, NULL, OPT_SORT},
    {"top", required_argument, NULL, OPT_TOP},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: vqc report MODEL [options]\n"
    "\n"
    "Shows where the bytes of an ONNX model are: by kind, operator, data type and weight. Every\n"
    "table adds up to the size on disk. With --ref, decodes the weights of both models and shows\n"
    "what each one lost.\n"
    "\n"
    "      --ref ORIGINAL    the model that MODEL was made from\n"
    "      --sort ORDER      order the weights by bytes (largest first) or by error (lowest SQNR\n"
    "                        first, needs --ref); default: as in the model\n"
    "      --top N           show N weights, 0 for all (default: the 20 largest)\n"
    "      --json            print everything as JSON\n"
    "      --csv             print the weights as comma-separated values\n"
    "  -h, --help            this text\n"
    "\n"
    "  vqc report model.onnx                                            where the bytes are\n"
    "  vqc report model.int8.onnx --ref model.onnx --sort error         the weights that lost "
    "most\n";

typedef struct report_args {
    const char *model;
    const char *ref;
    const char *sort;
    const char *top;
    long top_count;
    bool json, csv;
} report_args;

static int check_args(int argc, char **argv, report_args *args)
{
    const char *command = "report";
    if (optind == argc)
        return vqc_args_error(command, "needs a model");
    if (argc - optind > 1)
        return vqc_args_error(command, "shows one model at a time, got %d", argc - optind);
    args->model = argv[optind];
    if (args->json && args->csv)
        return vqc_args_error(command, "--json and --csv exclude each other");
    if (args->json && (args->sort != NULL || args->top != NULL))
        return vqc_args_error(command, "--json prints everything in model order, without --%s",
                              args->sort != NULL ? "sort" : "top");
    if (args->sort != NULL && strcmp(args->sort, "bytes") != 0 && strcmp(args->sort, "error") != 0)
        return vqc_args_error(command, "--sort: got \"%s\", expected bytes or error", args->sort);
    if (args->sort != NULL && strcmp(args->sort, "error") == 0 && args->ref == NULL)
        return vqc_args_error(command, "--sort error needs --ref ORIGINAL to measure against");
    if (args->top != NULL &&
        !vqc_args_integer(command, "--top", args->top, 0, INT_MAX, &args->top_count))
        return VQC_ERR_USAGE;
    return VQC_OK;
}

/* False when the command is over already, with *code to exit with. */
static bool parse_args(int argc, char **argv, report_args *args, int *code)
{
    opterr = 0;
    optind = 1;
    int option;
    bool good = true;
    while (good && (option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (option) {
        case 'h':
            fputs(help_text, stdout);
            *code = VQC_OK;
            return false;
        case OPT_REF:
            good = vqc_args_once("report", "--ref", &args->ref, optarg);
            break;
        case OPT_SORT:
            good = vqc_args_once("report", "--sort", &args->sort, optarg);
            break;
        case OPT_TOP:
            good = vqc_args_once("report", "--top", &args->top, optarg);
            break;
        case OPT_JSON:
            args->json = true;
            break;
        case OPT_CSV:
            args->csv = true;
            break;
        default:
            *code = vqc_args_bad_option("report", options, argv, option);
            return false;
        }
    }
    *code = good ? check_args(argc, argv, args) : VQC_ERR_USAGE;
    return *code == VQC_OK;
}

/* Prints the inspection in the form asked for. */
static void print_inspection(const vqc_inspection *inspection, const report_args *args)
{
    vqc_show_options show = {
        .term = vqc_term_stdout(),
        .sort = args->sort == NULL                 ? VQC_SORT_MODEL
                : strcmp(args->sort, "bytes") == 0 ? VQC_SORT_BYTES
                                                   : VQC_SORT_ERROR,
        .top = (size_t)args->top_count,
        .all = args->top != NULL && args->top_count == 0,
    };
    if (args->json) {
        char *json = vqc_cli_check(vqc_inspection_to_json(inspection));
        fputs(json, stdout);
        free(json);
    } else if (args->csv) {
        vqc_show_inspection_csv(stdout, inspection, &show);
    } else {
        vqc_show_inspection(stdout, inspection, &show);
    }
}

int vqc_cmd_report(int argc, char **argv)
{
    report_args args = {0};
    int code = VQC_OK;
    if (!parse_args(argc, argv, &args, &code))
        return code;
    vqc_inspection *inspection = NULL;
    vqc_error error = {0};
    vqc_status status = vqc_file_check_input(args.model, &error);
    if (status == VQC_OK && args.ref != NULL)
        status = vqc_file_check_input(args.ref, &error);
    if (status == VQC_OK)
        status = vqc_inspect_file(args.model, args.ref, &inspection, &error);
    if (status == VQC_OK)
        print_inspection(inspection, &args);
    else
        vqc_cli_error("%s", error.message);
    vqc_inspection_destroy(&inspection);
    return (int)status;
}
