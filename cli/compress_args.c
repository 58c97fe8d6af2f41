/* Arguments of `vqc compress`. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/compress.h"
#include "cli/term.h"
#include "cli/text.h"

enum { JOBS_MAX = 1024 };
enum {
    OPT_SET = 256,
    OPT_DRY_RUN,
    OPT_REPORT,
    OPT_CPU,
    OPT_FORCE,
    OPT_JSON,
    OPT_CALIB,
    OPT_CACHE,
    OPT_EVAL
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"output", required_argument, NULL, 'o'},
    {"set", required_argument, NULL, OPT_SET},
    {"calib", required_argument, NULL, OPT_CALIB},
    {"calib-cache", required_argument, NULL, OPT_CACHE},
    {"eval", required_argument, NULL, OPT_EVAL},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"report", required_argument, NULL, OPT_REPORT},
    {"jobs", required_argument, NULL, 'j'},
    {"cpu", required_argument, NULL, OPT_CPU},
    {"force", no_argument, NULL, OPT_FORCE},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: vqc compress MODEL... [options]\n"
    "\n"
    "Writes a smaller copy of each ONNX model and prints what it cost. Without a recipe, weights\n"
    "become 8-bit integers with one scale per channel, and the model runs as before.\n"
    "\n"
    "  -c, --config RECIPE   how to compress, a YAML file\n"
    "  -o, --output PATH     file to write; for several models, or when PATH is a folder or ends\n"
    "                        in /, the folder to write into (default: beside the model, with the\n"
    "                        name of the recipe: model.onnx, int8.yaml -> model.int8.onnx)\n"
    "      --set KEY=VALUE   change one key of the recipe: --set weights.bits=4; repeatable\n"
    "      --calib PATH      samples for ranges of activations, codewords and pruning, in place "
    "of\n"
    "                        the recipe's calibrate.data: .npz, .npy, a folder of pictures, "
    "arrays\n"
    "                        or ONNX test data, synthetic\n"
    "      --calib-cache FILE  calibration to use when FILE is there, else to write to it; for "
    "one\n"
    "                        model\n"
    "      --eval PATH       samples to compare the original and the written model on, in place "
    "of\n"
    "                        the recipe's evaluate.data; with labels also their accuracy\n"
    "      --dry-run         show what would be done, with exact sizes, and write nothing\n"
    "      --force           replace an output that exists, even the model itself\n"
    "      --report FILE     also write the result to FILE as JSON\n"
    "      --json            print the result as JSON instead of text\n"
    "  -v, --verbose         show every layer, every reason and the time of each stage\n"
    "  -q, --quiet           print nothing but errors\n"
    "  -j, --jobs N          use N threads (default: one per core); same result at any number\n"
    "      --cpu NAME        use the kernels for c, avx2, avx512 or neon; same result with each\n"
    "  -h, --help            this text\n"
    "\n"
    "With several models the run goes on after one that failed. The exit code is 0 when all is\n"
    "well, 5 when all is written but a gate was missed, else that of the first model that failed:\n"
    "1 internal error or out of memory, 2 usage or recipe, 3 bad or unsupported model, 4 input or\n"
    "output.\n"
    "\n"
    "  vqc compress model.onnx                            8-bit weights -> model.int8.onnx\n"
    "  vqc compress model.onnx -c mixed.yaml --dry-run    what a recipe would do\n"
    "  vqc compress models/*.onnx -c int8.yaml -o small/  a whole folder\n"
    "  vqc compress m.onnx -c int8-static.yaml --calib c.npz   integer activations too\n"
    "  vqc compress m.onnx -c vq-4bit.yaml --calib c.npz       codewords fitted to the data\n";

/* Stores one option; false when an error was printed. */
static bool take_option(int option, vqc_compress_args *args)
{
    const char *command = "compress";
    long jobs = 0;
    switch (option) {
    case 'c':
        return vqc_args_once(command, "--config", &args->config, optarg);
    case 'o':
        return vqc_args_once(command, "--output", &args->output, optarg);
    case OPT_REPORT:
        return vqc_args_once(command, "--report", &args->report, optarg);
    case OPT_CPU:
        return vqc_args_once(command, "--cpu", &args->cpu, optarg);
    case OPT_SET:
        args->sets[args->set_count++] = optarg;
        return true;
    case OPT_CALIB:
        return vqc_args_once(command, "--calib", &args->calib, optarg);
    case OPT_CACHE:
        return vqc_args_once(command, "--calib-cache", &args->cache, optarg);
    case OPT_EVAL:
        return vqc_args_once(command, "--eval", &args->eval, optarg);
    case 'j':
        if (!vqc_args_integer(command, "--jobs", optarg, 1, JOBS_MAX, &jobs))
            return false;
        args->threads = (int)jobs;
        return true;
    case OPT_DRY_RUN:
        args->dry_run = true;
        return true;
    case OPT_FORCE:
        args->force = true;
        return true;
    case 'q':
        args->quiet = true;
        return true;
    case 'v':
        args->verbose = true;
        return true;
    default: /* OPT_JSON */
        args->json = true;
        return true;
    }
}

/* The command line as a whole; VQC_ERR_USAGE when an error was printed. */
static int check_args(const vqc_compress_args *args)
{
    const char *command = "compress";
    if (args->model_count == 0)
        return vqc_args_error(command, "needs at least one model");
    for (size_t i = 0; i < args->model_count; i++)
        if (*args->models[i] == '\0')
            return vqc_args_error(command, "the name of model %zu is empty", i + 1);
    if (args->output != NULL && *args->output == '\0')
        return vqc_args_error(command, "--output: the path is empty");
    if (args->cache != NULL && *args->cache == '\0')
        return vqc_args_error(command, "--calib-cache: the path is empty");
    if (args->report != NULL && *args->report == '\0')
        return vqc_args_error(command, "--report: the path is empty");
    if (args->quiet && args->verbose)
        return vqc_args_error(command, "--quiet and --verbose exclude each other");
    return VQC_OK;
}

bool vqc_compress_parse(int argc, char **argv, vqc_arena *arena, vqc_compress_args *args, int *code)
{
    *args = (vqc_compress_args){0};
    args->sets = vqc_cli_check(vqc_arena_calloc(arena, (size_t)argc, sizeof *args->sets));
    opterr = 0;
    optind = 1;
    int option;
    while ((option = getopt_long(argc, argv, ":c:o:j:qvh", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help_text, stdout);
            *code = VQC_OK;
            return false;
        }
        if (option == '?' || option == ':') {
            *code = vqc_args_bad_option("compress", options, argv, option);
            return false;
        }
        if (!take_option(option, args)) {
            *code = VQC_ERR_USAGE;
            return false;
        }
    }
    args->models = argv + optind;
    args->model_count = (size_t)(argc - optind);
    *code = check_args(args);
    return *code == VQC_OK;
}
