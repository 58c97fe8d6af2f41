#include "core/prune/channels_stage.h"

#include <string.h>

#include "core/prune/channels.h"

bool vqc_prune_channels_wanted(const vqc_recipe *recipe)
{
    vqc_prune_pattern pattern;

    return vqc_prune_wanted(recipe) && vqc_prune_options_pattern(&recipe->prune, &pattern, NULL) &&
           pattern.kind == VQC_PRUNE_CHANNELS;
}

/* Names of the weights that a rule keeps whole, as globs that match nothing else. */
static vqc_status find_excluded(const vqc_prune_stage *stage, vqc_arena *arena,
                                vqc_channel_options *options, vqc_error *error)
{
    vqc_graph *graph = NULL;
    vqc_plan plan;
    const char **names = NULL;
    vqc_status status = vqc_graph_create(stage->model, &graph, error);

    if (status == VQC_OK) {
        status = vqc_plan_resolve(graph, stage->recipe, arena, &plan, error);
    }
    if (status == VQC_OK) {
        names = vqc_arena_calloc(arena, plan.count + 1, sizeof *names);
        status = names == NULL ? vqc_fail_memory(error, plan.count * sizeof *names) : VQC_OK;
    }
    for (size_t i = 0; status == VQC_OK && i < plan.count; i++) {
        const vqc_weight_spec *spec = &plan.layers[i].spec;
        const char *name = plan.layers[i].layer->value->name;
        char *glob;
        if ((spec->set & VQC_SPEC_SPARSITY) == 0 || spec->sparsity > 0.0) {
            continue;
        }
        glob = vqc_arena_alloc(arena, 2 * strlen(name) + 1);
        if (glob == NULL) {
            status = vqc_fail_memory(error, 2 * strlen(name) + 1);
            continue;
        }
        names[options->exclude_count++] = glob;
        for (; *name != '\0'; name++) {
            if (strchr("*?[]\\", *name) != NULL) {
                *glob++ = '\\';
            }
            *glob++ = *name;
        }
        *glob = '\0';
    }
    options->exclude = names;
    vqc_graph_destroy(&graph);
    return status;
}

vqc_status vqc_prune_channels_run(const vqc_prune_stage *stage, vqc_error *error)
{
    static const vqc_channel_score scores[] = {
        [VQC_PRUNE_SCORE_AUTO] = VQC_CHANNEL_SCORE_AUTO,
        [VQC_PRUNE_SCORE_MAGNITUDE] = VQC_CHANNEL_SCORE_MAGNITUDE,
        [VQC_PRUNE_SCORE_WANDA] = VQC_CHANNEL_SCORE_ACTIVATION,
        [VQC_PRUNE_SCORE_OBS] = VQC_CHANNEL_SCORE_SECOND_ORDER,
    };
    const vqc_prune_options *prune = &stage->recipe->prune;
    vqc_channel_options options = {
        .sparsity = prune->sparsity,
        .target_sqnr_db = prune->output_sqnr_db,
        .scope =
            prune->scope == VQC_PRUNE_SCOPE_GLOBAL ? VQC_CHANNELS_GLOBAL : VQC_CHANNELS_PER_LAYER,
        .score = scores[prune->score],
        .min_channels = (size_t)prune->min_channels,
        .multiple_of = (size_t)prune->multiple_of,
        .samples = stage->samples,
        .no_compensation = prune->compensate == VQC_PRUNE_COMPENSATE_OFF,
        .threads = stage->threads,
    };
    vqc_arena *arena = vqc_arena_create();
    uint64_t start = vqc_report_clock();
    vqc_status status =
        arena == NULL ? vqc_fail_memory(error, 0) : find_excluded(stage, arena, &options, error);

    if (status == VQC_OK) {
        status = vqc_prune_channels(stage->model, &options, stage->report, error);
    }
    if (status == VQC_OK) {
        status = vqc_report_stage(stage->report, "prune", vqc_report_clock() - start, error);
    }
    vqc_arena_destroy(&arena);
    return status;
}
