/* Many models of `vqc compress` in one table or one JSON text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/compress.h"
#include "cli/table.h"
#include "cli/text.h"

static const vqc_column columns[] = {
    {"model", false, 24, 0}, {"before", true, 0, 0},  {"after", true, 0, 0},
    {"size", true, 0, 3},    {"bits/w", true, 0, 2},  {"SQNR dB", true, 0, 0},
    {"time", true, 0, 1},    {"result", false, 0, 0},
};
enum { COLUMN_COUNT = sizeof columns / sizeof *columns };

static char *describe_result(vqc_arena *arena, const vqc_job *job)
{
    if (!job->done)
        return vqc_text_printf(arena, "failed (%d)", (int)job->status);
    const char *word = job->status == VQC_ERR_GATE ? "gate missed"
                       : job->unchanged            ? "no gain: copied"
                                                   : "ok";
    if (job->note_count > 0)
        return vqc_text_printf(arena, "%s, %zu note%s", word, job->note_count,
                               job->note_count == 1 ? "" : "s");
    return vqc_text_printf(arena, "%s", word);
}

/* "2 failed, 1 gate missed", "" when all is well. */
static char *describe_problems(vqc_arena *arena, size_t failed, size_t missed)
{
    char *text = failed > 0 ? vqc_text_printf(arena, "%zu failed", failed)
                            : vqc_text_printf(arena, "%s", "");
    if (missed > 0)
        text =
            vqc_text_printf(arena, "%s%s%zu missed a gate", text, failed > 0 ? ", " : "", missed);
    return text;
}

static char *bits_per_weight(vqc_arena *arena, size_t bytes, uint64_t elements)
{
    return vqc_text_bits(arena, elements > 0 ? 8.0 * (double)bytes / (double)elements : NAN);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Whether the file names without their folders tell all models apart. */
static bool base_names_suffice(const vqc_job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(base_name(jobs[i].input), base_name(jobs[j].input)) == 0)
                return false;
    return true;
}

static void add_job(vqc_table *table, vqc_arena *arena, const vqc_job *job, bool base_only)
{
    const char *name = base_only ? base_name(job->input) : job->input;
    const char *cells[COLUMN_COUNT] = {
        [0] = vqc_text_clean(arena, name), [7] = describe_result(arena, job)};
    if (job->done) {
        cells[1] = vqc_text_count(arena, job->before_bytes);
        cells[2] = vqc_text_count(arena, job->after_bytes);
        cells[3] = vqc_text_percent(arena, job->after_bytes, job->before_bytes);
        cells[4] = bits_per_weight(arena, job->weight_bytes, job->weight_elements);
        cells[5] = vqc_text_db(arena, job->measured ? job->sqnr_db : NAN);
        cells[6] = vqc_text_time(arena, job->time_ns);
    }
    vqc_table_add(table, job->status != VQC_OK ? VQC_STYLE_BAD : VQC_STYLE_NONE, cells);
}

void vqc_compress_show_summary(const vqc_job *jobs, size_t count, bool dry_run)
{
    vqc_arena *arena = vqc_cli_arena();
    vqc_table *table = vqc_table_create(arena, columns, COLUMN_COUNT);
    size_t done = 0, missed = 0, notes = 0, before = 0, after = 0, weight_bytes = 0;
    uint64_t elements = 0, time_ns = 0;
    double sum_ref2 = 0, sum_err2 = 0;
    bool measured = false;
    bool base_only = base_names_suffice(jobs, count);
    for (size_t i = 0; i < count; i++) {
        const vqc_job *job = &jobs[i];
        add_job(table, arena, job, base_only);
        done += job->done;
        missed += job->done && job->status == VQC_ERR_GATE;
        notes += job->note_count;
        before += job->before_bytes;
        after += job->after_bytes;
        weight_bytes += job->weight_bytes;
        elements += job->weight_elements;
        time_ns += job->time_ns;
        sum_ref2 += job->sum_ref2;
        sum_err2 += job->sum_err2;
        measured = measured || job->measured;
    }
    double sqnr_db = !measured ? NAN : sum_err2 > 0 ? 10 * log10(sum_ref2 / sum_err2) : INFINITY;
    const char *cells[COLUMN_COUNT] = {
        vqc_text_printf(arena, "total of %zu", done),
        vqc_text_count(arena, before),
        vqc_text_count(arena, after),
        vqc_text_percent(arena, after, before),
        bits_per_weight(arena, weight_bytes, elements),
        vqc_text_db(arena, sqnr_db),
        vqc_text_time(arena, time_ns),
        describe_problems(arena, count - done, missed),
    };
    vqc_table_add_line(table);
    vqc_table_add(table, VQC_STYLE_BOLD, cells);
    vqc_term term = vqc_term_stdout();
    vqc_table_print(table, stdout, &term);
    if (dry_run)
        fputs("\n  Dry run: nothing is written.\n", stdout);
    if (notes > 0)
        fputs("\n  -v shows each model's report with its notes.\n", stdout);
    vqc_arena_destroy(&arena);
}

char *vqc_compress_json(vqc_arena *arena, const vqc_job *jobs, size_t count, int code)
{
    if (count == 1)
        return vqc_text_printf(arena, "%s\n", jobs[0].json);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL)
        vqc_cli_out_of_memory();
    fprintf(stream, "{\"format\": 1, \"kind\": \"compress\", \"exit_code\": %d, \"models\": [\n",
            code);
    for (size_t i = 0; i < count; i++)
        fprintf(stream, "%s%s\n", jobs[i].json, i + 1 < count ? "," : "");
    fputs("]}\n", stream);
    if (fclose(stream) != 0)
        vqc_cli_out_of_memory();
    char *copy = vqc_cli_check(vqc_arena_strdup(arena, text));
    free(text);
    return copy;
}
