/* The parts of `vqc compress`: its arguments, its jobs and its summary. */
#ifndef VQC_CLI_COMPRESS_H
#define VQC_CLI_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"
#include "core/recipe.h"
#include "core/vqc.h"

typedef struct vqc_compress_args {
    char **models; /* [model_count] */
    size_t model_count;
    const char *config; /* NULL: the built-in recipe */
    const char *output; /* NULL: beside each model */
    const char *report; /* NULL: as the recipe says */
    const char *cpu;    /* NULL: the best */
    const char *calib;  /* NULL: as the recipe says */
    const char *eval;   /* the same */
    const char *cache;  /* the same */
    const char **sets;  /* [set_count] */
    size_t set_count;
    int threads; /* 0: one per core */
    bool dry_run, force, quiet, verbose, json;
} vqc_compress_args;

/* One model of the run and what became of it. */
typedef struct vqc_job {
    const char *input;
    const char *output;
    vqc_status status;
    const char *message; /* of the error; NULL when there is none */
    char *json;          /* result as JSON without a newline at its end; NULL when nobody asked */
    bool done;           /* the numbers below are filled */
    bool unchanged;
    size_t note_count;
    size_t before_bytes, after_bytes, weight_bytes;
    uint64_t weight_elements;
    double sum_ref2, sum_err2; /* of the weights; both 0: nothing measured */
    bool measured;
    double sqnr_db;
    uint64_t time_ns;
} vqc_job;

/* Reads the arguments into *args (lists in `arena`). False when the command is over already, with
 * *code to exit with: after --help, or an error that is printed. */
bool vqc_compress_parse(int argc, char **argv, vqc_arena *arena, vqc_compress_args *args,
                        int *code);

/* Gives each model its output path: jobs [model_count]. Makes the output folder when it ends in a
 * slash. Errors: VQC_ERR_USAGE when files would get in each other's way, VQC_ERR_IO. */
vqc_status vqc_compress_plan(vqc_arena *arena, const vqc_compress_args *args,
                             const vqc_recipe *recipe, const char *report_path, vqc_job *jobs,
                             vqc_error *error);

/* Prints one line per job and their total. */
void vqc_compress_show_summary(const vqc_job *jobs, size_t count, bool dry_run);

/* The JSON text of the whole run, with a newline at its end: the object of a single job, or
 * {"format": 1, "exit_code": ..., "models": [...]}. */
char *vqc_compress_json(vqc_arena *arena, const vqc_job *jobs, size_t count, int code);

#endif
