/* vqc stats: what calibration caches hold; joins several into one. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/show.h"
#include "cli/table.h"
#include "cli/term.h"
#include "cli/text.h"
#include "formats/stats_file.h"

enum { OPT_FORCE = 256 };

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"force", no_argument, NULL, OPT_FORCE},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: vqc stats CACHE... [options]\n"
    "\n"
    "Shows what calibration caches (vqc compress --calib-cache) hold: samples, and the range of\n"
    "every observed value. Several caches of one model are joined as if one run had seen the\n"
    "samples of all in this order; -o writes the result, for use as --calib-cache.\n"
    "\n"
    "  -o, --output FILE   write the joined cache\n"
    "      --force         overwrite FILE\n"
    "  -q, --quiet         print nothing but errors\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit codes: 0 ok, 1 internal error or out of memory, 2 usage, 3 not a calibration cache, or\n"
    "caches of different models, 4 input or output.\n"
    "\n"
    "  vqc stats day1.json day2.json -o both.json\n";

typedef struct stats_args {
    const char *output;
    bool force;
    bool quiet;
    const char *const *paths; /* [path_count] */
    size_t path_count;
} stats_args;

static int check_args(int argc, char **argv, stats_args *args)
{
    args->paths = (const char *const *)(argv + optind);
    args->path_count = (size_t)(argc - optind);
    if (args->path_count == 0)
        return vqc_args_error("stats", "needs a calibration cache");
    if (args->force && args->output == NULL)
        return vqc_args_error("stats", "--force goes with --output");
    for (size_t i = 0; i < args->path_count; i++)
        for (size_t k = 0; k < i; k++)
            if (vqc_file_same(args->paths[i], args->paths[k]))
                return vqc_args_error("stats", "%s: given twice", args->paths[i]);
    return VQC_OK;
}

/* False when the command is over already, with *code to exit with. */
static bool parse_args(int argc, char **argv, stats_args *args, int *code)
{
    opterr = 0;
    optind = 1;
    int option;
    bool good = true;
    while (good && (option = getopt_long(argc, argv, ":ho:q", options, NULL)) != -1) {
        switch (option) {
        case 'h':
            fputs(help_text, stdout);
            *code = VQC_OK;
            return false;
        case 'o':
            good = vqc_args_once("stats", "--output", &args->output, optarg);
            break;
        case 'q':
            args->quiet = true;
            break;
        case OPT_FORCE:
            args->force = true;
            break;
        default:
            *code = vqc_args_bad_option("stats", options, argv, option);
            return false;
        }
    }
    *code = good ? check_args(argc, argv, args) : VQC_ERR_USAGE;
    return *code == VQC_OK;
}

static void print_tensors(vqc_arena *arena, const vqc_stats *stats)
{
    static const vqc_column columns[] = {{"value", false, 20, 0}, {"elements", true, 0, 2},
                                         {"min", true, 0, 0},     {"max", true, 0, 0},
                                         {"mean", true, 0, 3},    {"NaN", true, 0, 0},
                                         {"infinite", true, 0, 0}};
    vqc_term term = vqc_term_stdout();
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < stats->count; i++) {
        const vqc_observation *o = &stats->tensors[i].all;
        const bool any = o->elements > 0;
        const char *cells[] = {
            vqc_text_clean(arena, stats->tensors[i].name),
            vqc_text_count(arena, o->elements),
            any ? vqc_text_real(arena, (double)o->min) : NULL,
            any ? vqc_text_real(arena, (double)o->max) : NULL,
            any ? vqc_text_real(arena, o->sum / (double)o->elements) : NULL,
            o->nan_count > 0 ? vqc_text_count(arena, o->nan_count) : NULL,
            o->infinite_count > 0 ? vqc_text_count(arena, o->infinite_count) : NULL,
        };
        vqc_table_add(table, VQC_STYLE_NONE, cells);
    }
    vqc_table_print(table, stdout, &term);
}

static void print_stats(const stats_args *args, const vqc_stats *stats)
{
    vqc_arena *arena = vqc_cli_arena();
    vqc_show_field(stdout, "caches", vqc_text_count(arena, args->path_count));
    vqc_show_field(stdout, "samples", vqc_text_count(arena, stats->samples));
    vqc_show_field(stdout, "values", vqc_text_count(arena, stats->count));
    vqc_show_field(stdout, "model", vqc_text_printf(arena, "%016" PRIx64, stats->fingerprint));
    if (args->output != NULL)
        vqc_show_field(stdout, "written", vqc_text_clean(arena, args->output));
    putchar('\n');
    print_tensors(arena, stats);
    vqc_arena_destroy(&arena);
}

int vqc_cmd_stats(int argc, char **argv)
{
    stats_args args = {0};
    int code = VQC_OK;
    if (!parse_args(argc, argv, &args, &code))
        return code;
    vqc_error error = {0};
    vqc_stats *stats = NULL;
    vqc_status status = VQC_OK;
    for (size_t i = 0; i < args.path_count && status == VQC_OK; i++)
        status = vqc_file_check_input(args.paths[i], &error);
    if (status == VQC_OK)
        status = vqc_stats_load_merged(args.paths, args.path_count, &stats, &error);
    if (status == VQC_OK && args.output != NULL)
        status = vqc_stats_save(stats, args.output, args.force, &error);
    if (status != VQC_OK)
        vqc_cli_error("%s", error.message);
    else if (!args.quiet)
        print_stats(&args, stats);
    vqc_stats_destroy(&stats);
    return (int)status;
}
