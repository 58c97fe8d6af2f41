/* vqc bench: the speed of the inner loops on this machine. */
#include <getopt.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/term.h"
#include "cli/text.h"
#include "core/bench.h"

enum { OPT_KERNEL = 256, OPT_CPU, OPT_JSON };

static const struct option options[] = {
    {"kernel", required_argument, NULL, OPT_KERNEL},
    {"cpu", required_argument, NULL, OPT_CPU},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: vqc bench [options]\n"
    "\n"
    "Measures the inner loops on one core, each in the cache (128 KiB read and written) and from\n"
    "memory (at least 64 MiB), beside the C reference, memcpy and the peak of multiply-adds, all\n"
    "taken in the same run; at the end a whole matrix product and a convolution. Processor time\n"
    "counts. Takes about a minute and 320 MiB of memory.\n"
    "\n"
    "      --kernel GLOB    only kernels whose name matches: --kernel '*_quantize*'\n"
    "      --cpu NAME       measure c, avx2, avx512 or neon, or all of those that this machine\n"
    "                       has (default: the fastest)\n"
    "      --json           print one JSON object instead of a table\n"
    "  -h, --help           this text\n"
    "\n"
    "Columns: nanoseconds per element; GB/s read and written; speed as a multiple of C; bandwidth\n"
    "as a share of memcpy's over as many bytes; for compute-bound kernels GFLOP/s and their share\n"
    "of the peak (which counts a multiply-add as two).\n"
    "\n"
    "Exit codes: 0 ok, 1 out of memory, 2 usage.\n";

typedef struct printer {
    bool json;
    size_t count;
} printer;

static void print_json(const vqc_bench_result *r, bool first)
{
    printf(
        "%s\n    {\"kernel\": \"%s\", \"cpu\": \"%s\", \"working_set\": \"%s\", \"elements\": %zu, "
        "\"working_bytes\": %zu, \"ns_per_element\": %.6g",
        first ? "" : ",", r->kernel, r->cpu, r->in_cache ? "cache" : "memory", r->elements,
        r->working_bytes, r->ns_per_element);
    if (r->working_bytes > 0)
        printf(", \"gb_per_s\": %.6g, \"memcpy_gb_per_s\": %.6g", r->gb_per_s, r->memcpy_gb_per_s);
    if (r->peak_gflops > 0.0)
        printf(", \"gflops\": %.6g, \"peak_gflops\": %.6g", r->gflops, r->peak_gflops);
    if (r->speed_over_c > 0.0)
        printf(", \"speed_over_c\": %.6g", r->speed_over_c);
    printf("}");
}

static void print_row(const vqc_bench_result *r)
{
    printf("  %-28s %-6s %-6s %8.3f", r->kernel, r->cpu, r->in_cache ? "cache" : "memory",
           r->ns_per_element);
    if (r->working_bytes > 0)
        printf(" %8.2f", r->gb_per_s);
    else
        printf(" %8s", "-");
    if (r->speed_over_c > 0.0)
        printf(" %7.2fx", r->speed_over_c);
    else
        printf(" %8s", "-");
    if (r->working_bytes > 0)
        printf(" %6.0f%%", 100.0 * r->gb_per_s / r->memcpy_gb_per_s);
    else
        printf(" %7s", "-");
    if (r->peak_gflops > 0.0)
        printf(" %8.1f %5.0f%%", r->gflops, 100.0 * r->gflops / r->peak_gflops);
    printf("\n");
    fflush(stdout); /* rows appear as they are measured, also through a pipe */
}

static void print_result(void *context, const vqc_bench_result *result)
{
    printer *p = context;
    if (p->json && p->count == 0)
        printf("{\n  \"results\": [");
    if (!p->json && p->count == 0)
        printf("  %-28s %-6s %-6s %8s %8s %8s %7s %8s %6s\n", "kernel", "cpu", "set", "ns/elem",
               "GB/s", "/ C", "/memcpy", "GFLOP/s", "/peak");
    if (p->json)
        print_json(result, p->count == 0);
    else
        print_row(result);
    p->count++;
}

int vqc_cmd_bench(int argc, char **argv)
{
    printer p = {0};
    vqc_bench_options bench = {.result = print_result, .context = &p};
    opterr = 0;
    optind = 1;
    int option;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help_text, stdout);
            return VQC_OK;
        }
        if (option == '?' || option == ':')
            return vqc_args_bad_option("bench", options, argv, option);
        if (option == OPT_JSON)
            p.json = true;
        if (option == OPT_KERNEL && !vqc_args_once("bench", "--kernel", &bench.kernel_glob, optarg))
            return VQC_ERR_USAGE;
        if (option == OPT_CPU && !vqc_args_once("bench", "--cpu", &bench.cpu, optarg))
            return VQC_ERR_USAGE;
    }
    if (optind < argc)
        return vqc_args_error("bench", "takes no arguments, got \"%s\"", argv[optind]);
    vqc_error error = {0};
    const vqc_status status = vqc_bench_run(&bench, &error);
    if (status == VQC_ERR_USAGE)
        return vqc_args_error("bench", "%s", error.message);
    if (status != VQC_OK) {
        vqc_cli_error("bench: %s", error.message);
        return (int)status;
    }
    if (p.json)
        printf("\n  ]\n}\n");
    return VQC_OK;
}
