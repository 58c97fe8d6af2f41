/* vqc run: computes a model's outputs. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/model_data.h"
#include "cli/run_results.h"
#include "cli/term.h"
#include "cli/text.h"
#include "core/error.h"

enum { OPT_IMAGE = 256, OPT_PROFILE, OPT_FORCE, OPT_SAMPLES, MAX_INPUTS = 256, MAX_THREADS = 1024 };

static const struct option options[] = {
    {"input", required_argument, NULL, 'i'},
    {"output", required_argument, NULL, 'o'},
    {"samples", required_argument, NULL, OPT_SAMPLES},
    {"image", required_argument, NULL, OPT_IMAGE},
    {"profile", no_argument, NULL, OPT_PROFILE},
    {"force", no_argument, NULL, OPT_FORCE},
    {"threads", required_argument, NULL, 'j'},
    {"jobs", required_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: vqc run MODEL --input FILE [options]\n"
    "\n"
    "Computes the outputs of an ONNX model and shows their range, or writes them to a file.\n"
    "\n"
    "  -i, --input FILE        a .npz file whose keys are the model's inputs, a .npy or .pb file\n"
    "                          for a model with one input, a folder of these or of pictures, an\n"
    "                          ONNX test_data_set_N folder, or 'synthetic' for random numbers\n"
    "  -i, --input NAME=FILE   one input from a .pb or .npy file; repeatable\n"
    "  -o, --output FILE       write the outputs to a .npz file (several samples along a leading\n"
    "                          axis), or the one output of one sample to a .pb file\n"
    "      --samples N         run the first N samples only\n"
    "      --image OPTIONS     how pictures become inputs, see below\n"
    "      --profile           show which nodes took the time\n"
    "      --force             replace an output that exists\n"
    "  -j, --threads N         use N threads (default: one per core); same result at any number\n"
    "  -h, --help              this text\n"
    "\n"
    "In a .npz or .npy file the samples lie along the batch axis (an array of the input's rank)\n"
    "or along an axis more in front. Every sample is run by itself.\n"
    "\n" VQC_IMAGE_HELP "\n"
    "Exit codes: 0 ok, 1 internal error or out of memory, 2 usage, 3 bad or unsupported model or\n"
    "data (operators that vqc lacks are listed), 4 input or output.\n"
    "\n"
    "  vqc run model.onnx -i data.npz                       ranges of the outputs\n"
    "  vqc run model.onnx -i data.npz -o outputs.npz        write them\n"
    "  vqc run model.onnx -i x=x.pb -i state=state.pb       one sample from two tensors\n";

typedef struct run_args {
    const char *model;
    const char *inputs[MAX_INPUTS];
    size_t input_count;
    const char *output;
    const char *samples;
    const char *threads;
    long sample_count;
    long thread_count;
    bool profile;
    bool force;
    vqc_image_options image;
} run_args;

static int check_args(int argc, char **argv, run_args *args)
{
    if (optind == argc)
        return vqc_args_error("run", "needs a model");
    if (argc - optind > 1)
        return vqc_args_error("run", "runs one model at a time, got %d", argc - optind);
    args->model = argv[optind];
    if (args->input_count == 0)
        return vqc_args_error("run", "needs --input FILE");
    if (args->samples != NULL &&
        !vqc_args_integer("run", "--samples", args->samples, 1, 1000000000, &args->sample_count))
        return VQC_ERR_USAGE;
    if (args->threads != NULL &&
        !vqc_args_integer("run", "--threads", args->threads, 1, MAX_THREADS, &args->thread_count))
        return VQC_ERR_USAGE;
    return VQC_OK;
}

/* False when the command is over already, with *code to exit with. */
static bool parse_args(int argc, char **argv, run_args *args, int *code)
{
    opterr = 0;
    optind = 1;
    int option;
    bool good = true;
    while (good && (option = getopt_long(argc, argv, ":hi:o:j:", options, NULL)) != -1) {
        switch (option) {
        case 'h':
            fputs(help_text, stdout);
            *code = VQC_OK;
            return false;
        case 'i':
            good = args->input_count < MAX_INPUTS;
            if (good)
                args->inputs[args->input_count++] = optarg;
            else
                vqc_args_error("run", "more than %d inputs", (int)MAX_INPUTS);
            break;
        case 'o':
            good = vqc_args_once("run", "--output", &args->output, optarg);
            break;
        case 'j':
            good = vqc_args_once("run", "--threads", &args->threads, optarg);
            break;
        case OPT_SAMPLES:
            good = vqc_args_once("run", "--samples", &args->samples, optarg);
            break;
        case OPT_IMAGE:
            good = vqc_args_image("run", optarg, &args->image);
            break;
        case OPT_PROFILE:
            args->profile = true;
            break;
        case OPT_FORCE:
            args->force = true;
            break;
        default:
            *code = vqc_args_bad_option("run", options, argv, option);
            return false;
        }
    }
    *code = good ? check_args(argc, argv, args) : VQC_ERR_USAGE;
    return *code == VQC_OK;
}

/* The request that the --input options make; `files` [input_count] may become part of it. */
static int make_request(const run_args *args, vqc_arena *arena, vqc_samples_file *files,
                        vqc_samples_request *request)
{
    size_t named = 0;
    *request = (vqc_samples_request){.image = args->image};
    for (size_t i = 0; i < args->input_count; i++) {
        const char *text = args->inputs[i];
        const char *equals = strchr(text, '=');
        files[i] = (vqc_samples_file){NULL, text};
        if (equals != NULL && !vqc_file_exists(text)) {
            files[i].input = vqc_text_printf(arena, "%.*s", (int)(equals - text), text);
            files[i].path = equals + 1;
            named++;
        }
    }
    if (args->input_count == 1 && named == 0) {
        request->path = args->inputs[0];
        return VQC_OK;
    }
    for (size_t i = 0; i < args->input_count; i++) {
        size_t length = strlen(files[i].path);
        if (length < 4 || (strcmp(files[i].path + length - 3, ".pb") != 0 &&
                           strcmp(files[i].path + length - 4, ".npy") != 0))
            return vqc_args_error("run",
                                  "--input %s: several inputs, or inputs by name, come from "
                                  ".pb or .npy files",
                                  args->inputs[i]);
    }
    request->kind = VQC_SAMPLES_FILES;
    request->files = files;
    request->file_count = args->input_count;
    return VQC_OK;
}

/* What can be known about the output before anything is run. */
static vqc_status check_output(const run_args *args, const vqc_ready_model *ready, size_t samples,
                               vqc_error *error)
{
    if (args->output == NULL)
        return VQC_OK;
    vqc_status status = vqc_run_check_output(args->output, ready->program, samples, error);
    if (status == VQC_OK)
        status = vqc_file_check_output(args->output, error);
    if (status == VQC_OK && !args->force && vqc_file_exists(args->output))
        status = vqc_fail(error, VQC_ERR_USAGE, "%s: exists already; use --force to replace it",
                          args->output);
    return status;
}

static void print_results(const run_args *args, const vqc_run_results *results, uint64_t time_ns)
{
    vqc_arena *arena = vqc_cli_arena();
    uint64_t each = results->samples > 0 ? time_ns / results->samples : 0;
    printf("%s: %s sample%s in %s", vqc_text_clean(arena, args->model),
           vqc_text_count(arena, results->samples), results->samples == 1 ? "" : "s",
           vqc_text_time(arena, time_ns));
    if (results->samples > 1)
        printf(", %.3f ms each", (double)each * 1e-6);
    printf("\n");
    vqc_run_show(results);
    if (args->profile)
        vqc_run_show_profile(results);
    if (args->output != NULL)
        printf("Outputs written to %s\n", vqc_text_clean(arena, args->output));
    vqc_arena_destroy(&arena);
}

static vqc_status run_model(const run_args *args, const vqc_ready_model *ready,
                            vqc_samples *samples)
{
    vqc_error error = {VQC_OK, ""};
    vqc_run_results results = {0};
    vqc_arena *arena = vqc_cli_arena();
    vqc_progress progress;
    size_t count = samples->count;
    if (args->sample_count > 0 && (size_t)args->sample_count < count)
        count = (size_t)args->sample_count;
    vqc_status status = check_output(args, ready, count, &error);
    vqc_progress_start(&progress, vqc_text_clean(arena, args->model), false);
    uint64_t start = vqc_cli_now_ns();
    if (status == VQC_OK) {
        vqc_run_model_options run = {
            .limit = count,
            .threads = (int)args->thread_count,
            .keep = args->output != NULL,
            .profile = args->profile,
            .progress = vqc_progress_update,
            .progress_context = &progress,
        };
        status = vqc_run_samples(ready->program, samples, &run, &results, &error);
    }
    uint64_t time_ns = vqc_cli_now_ns() - start;
    vqc_progress_finish(&progress);
    if (status == VQC_OK && args->output != NULL)
        status = vqc_run_write(args->output, &results, &error);
    if (status == VQC_OK)
        print_results(args, &results, time_ns);
    else
        vqc_cli_error("%s", error.message);
    vqc_run_results_clear(&results);
    vqc_arena_destroy(&arena);
    return status;
}

int vqc_cmd_run(int argc, char **argv)
{
    run_args args = {0};
    int code = VQC_OK;
    if (!parse_args(argc, argv, &args, &code))
        return code;
    vqc_arena *arena = vqc_cli_arena();
    vqc_samples_file *files =
        vqc_cli_check(vqc_arena_calloc(arena, args.input_count, sizeof *files));
    vqc_samples_request request;
    vqc_ready_model ready = {0};
    vqc_samples *samples = NULL;
    vqc_status status = (vqc_status)make_request(&args, arena, files, &request);
    if (status == VQC_OK)
        status = vqc_ready_model_open(args.model, &ready);
    if (status == VQC_OK)
        status = vqc_ready_samples_open(&ready, &request, &samples);
    if (status == VQC_OK)
        status = run_model(&args, &ready, samples);
    vqc_samples_destroy(&samples);
    vqc_ready_model_close(&ready);
    vqc_arena_destroy(&arena);
    return (int)status;
}
