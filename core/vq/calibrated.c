#include "core/vq/calibrated.h"

#include <math.h>
#include <string.h>

#include "core/data/samples_subset.h"
#include "core/tensor.h"
#include "core/vq/calibrated_internal.h"

enum {
    MAX_MEASURED = 64,         /* samples that whole models are run on */
    MAX_REFERENCE = 256 << 20, /* bytes of kept inputs and outputs */
    MAX_WALKS = 5,
    SHARE_ROUNDS = 4 /* vq.zeros: walks that share the same bytes out */
};

/* An output this much above the target costs bytes for nothing. */
static const double TOO_GOOD_DB = 1.0;

/* Foretold noises of two choices this close: there is hardly one between them. */
static const double CLOSE_ENOUGH = 1.1;

/* Layers whose input can be observed and whose weights are read by one node. */
static bool takes_part(const vqc_calibrated_job *job, const vqc_plan_layer *item)
{
    vqc_vq_layout layout;
    bool is_vq = item->may_code && item->decision.codec == &vqc_codec_vq;

    /* integer codes of static layers are static quantization's own business */
    if (!item->may_code || (job->for_static ? !item->is_static || !is_vq : item->is_static) ||
        item->code != NULL || item->layer->use_count != 1 ||
        (item->spec.shared_codebook != NULL && item->decision.codec == &vqc_codec_vq)) {
        return false;
    }
    vqc_vq_layout_make(item->layer, VQC_VQ_ALONG_AUTO, &layout);
    return layout.has_moments;
}

void vqc_part_set_layout(vqc_part *part)
{
    if (part->item->decision.codec == &vqc_codec_vq) {
        part->layout = part->item->decision.vq_layout;
    } else {
        vqc_vq_layout_make(part->item->layer, VQC_VQ_ALONG_AUTO, &part->layout);
    }
}

static vqc_status collect_parts(vqc_parts *r)
{
    vqc_plan *plan = r->job->plan;

    r->parts = vqc_arena_calloc(r->arena, plan->count + 1, sizeof *r->parts);
    r->layers = vqc_arena_calloc(r->arena, plan->count + 1, sizeof *r->layers);
    if (r->parts == NULL || r->layers == NULL) {
        return vqc_fail_memory(r->error, plan->count * sizeof *r->parts);
    }
    for (size_t i = 0; i < plan->count; i++) {
        vqc_plan_layer *item = &plan->layers[i];
        vqc_part *p = &r->parts[r->count];
        size_t elements;
        if (!takes_part(r->job, item) ||
            vqc_tensor_borrow_f32(item->layer->tensor, r->arena, &p->weights, &elements,
                                  r->error) != VQC_OK) {
            continue; /* it will be coded by itself, or say why not */
        }
        p->item = item;
        vqc_part_set_layout(p);
        p->may_resize = !item->is_static && item->decision.codec == &vqc_codec_vq &&
                        item->spec.dim == 0 && item->spec.codebook_size == 0 &&
                        item->spec.stages == 1;
        (void)vqc_bias_site_find(r->job->graph, item->layer, &p->bias);
        r->layers[r->count++] = item->layer;
    }
    return VQC_OK;
}

/* ---- running the model with codes ---- */

vqc_status vqc_parts_score(vqc_parts *r, size_t only, size_t samples, vqc_score *score)
{
    vqc_tensor_exchange *exchanged = NULL;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        const vqc_part *p = &r->parts[i];
        const vqc_layer *layer = p->item->layer;
        if (p->decoded == NULL || (only != SIZE_MAX && only != i)) {
            continue;
        }
        status = vqc_tensor_exchange_f32(&exchanged, layer->tensor, p->decoded, layer->elements,
                                         r->codes, r->error);
        if (status == VQC_OK && p->bias_values != NULL && p->bias.tensor != NULL) {
            status = vqc_tensor_exchange_f32(&exchanged, p->bias.tensor, p->bias_values,
                                             p->bias.channels, r->codes, r->error);
        }
    }
    if (status == VQC_OK && only != SIZE_MAX && r->behind != NULL) {
        status = vqc_downstream_score(r->behind, only, score, r->error);
    } else if (status == VQC_OK) {
        status = vqc_reference_score(r->measure, r->job->graph->model, samples, r->job->threads,
                                     score, r->error);
    }
    vqc_tensor_exchange_back(&exchanged);
    return status;
}

/* ---- the whole ---- */

/* Corrected biases, into the model; new ones where there were none. */
static vqc_status write_biases(vqc_parts *r, size_t *written)
{
    vqc_status status = VQC_OK;

    *written = 0;
    for (size_t i = 0; i < r->count && status == VQC_OK; i++) {
        vqc_part *p = &r->parts[i];
        if (p->bias_values == NULL || p->item->code == NULL) {
            continue;
        }
        if (p->bias.tensor == NULL) {
            status = vqc_bias_site_add(r->job->graph, p->item->layer, p->bias_values, &p->bias,
                                       r->error);
        } else {
            status = vqc_tensor_set_f32(p->bias.tensor, p->bias_values, p->bias.channels,
                                        r->job->arena, r->error);
        }
        *written += status == VQC_OK ? 1 : 0;
    }
    return status;
}

static vqc_status keep_reference(vqc_parts *r)
{
    vqc_samples *apart = NULL;
    vqc_status status = vqc_samples_held_out(r->job->samples, &apart, r->error);

    if (status == VQC_OK) {
        status = vqc_reference_create(r->job->graph, apart, 0, 1, MAX_MEASURED, MAX_REFERENCE,
                                      r->job->threads, &r->measure, r->error);
    }
    vqc_samples_destroy(&apart);
    return status;
}

static vqc_status walk_afresh(vqc_parts *r)
{
    vqc_status status;

    vqc_arena_destroy(&r->codes);
    r->codes = vqc_arena_create();
    status = r->codes == NULL ? vqc_fail_memory(r->error, 0) : VQC_OK;
    return status == VQC_OK ? vqc_parts_walk(r) : status;
}

static vqc_status report_target(vqc_parts *r, double wanted, const vqc_score *score, int walks)
{
    return vqc_report_note(r->job->report, r->error,
                           "target output SQNR %.1f dB %s: %.1f dB on %zu samples kept apart, "
                           "after %d walk%s over the layers",
                           wanted, score->sqnr_db >= wanted ? "reached" : "not reached",
                           score->sqnr_db, score->samples, walks, walks > 1 ? "s" : "");
}

/* What walks so far say about the noise to ask for. */
typedef struct bracket {
    double failed;   /* foretold noise of the best choice whose output was not good enough */
    double passed;   /* of the smallest one whose output was; 0: none */
    vqc_score score; /* of that one */
    bool is_last;    /* that one is the choice in force */
} bracket;

/*
 * The noise to foretell next: the last one scaled by what the output lacks, and between a choice
 * that failed and one that passed their geometric mean. NAN: nothing is left to try.
 */
static double next_goal(const bracket *b, double foretold, const vqc_score *score, double wanted)
{
    if (b->passed > 0.0 && b->failed > 0.0) {
        return b->failed < b->passed * CLOSE_ENOUGH ? (double)NAN : sqrt(b->failed * b->passed);
    }
    return foretold * pow(10.0, (score->sqnr_db - wanted) / 10.0);
}

/*
 * What single layers do to the output when they are probed is not what they do once they are coded
 * for what the layers before them feed them, with codes fitted to the end: bytes are shared out
 * again by that, as many as before, and the shares are kept whose output is best. *best: with
 * those.
 */
static vqc_status settle_shares(vqc_parts *r, vqc_budget *budget, double *foretold, bool *at_most,
                                vqc_score *best)
{
    bool is_last = false;
    double kept_foretold = 0.0;
    vqc_status status = VQC_OK;

    for (int round = 0; round < SHARE_ROUNDS && status == VQC_OK; round++) {
        vqc_score score;
        status = vqc_budget_apply(budget, r, (double)NAN, foretold, at_most);
        if (status == VQC_OK) {
            status = walk_afresh(r);
        }
        if (status == VQC_OK) {
            status = vqc_parts_score(r, SIZE_MAX, 0, &score);
        }
        is_last = status == VQC_OK && (round == 0 || score.sqnr_db > best->sqnr_db);
        if (is_last) {
            *best = score;
            kept_foretold = *foretold;
            vqc_budget_keep(budget);
        }
        if (status == VQC_OK && round + 1 < SHARE_ROUNDS) {
            status = vqc_budget_learn(budget, r);
        }
    }
    *foretold = kept_foretold;
    if (status == VQC_OK && !is_last) {
        status = vqc_budget_restore(budget, r);
        if (status == VQC_OK) {
            status = walk_afresh(r);
        }
    }
    return status;
}

/*
 * The first walk spends what the recipe's bits per weight come to. When the output is not good
 * enough then, more is spent until it is, or no layer can have more; and less again when that was
 * too much.
 */
static vqc_status walk_to_target(vqc_parts *r, vqc_budget *budget)
{
    double wanted = r->wanted_db;
    double goal = (double)NAN;
    double foretold = 0.0;
    bool at_most = true;
    bracket b = {0};
    vqc_score score = {0};
    int walks = 0;
    bool shares = budget != NULL && r->job->recipe->vq.zeros == VQC_SWITCH_AUTO;
    int first = shares ? SHARE_ROUNDS : 1; /* walks at the bytes of the recipe */
    vqc_status status = VQC_OK;

    for (bool again = true; status == VQC_OK && again;) {
        if (shares && walks == 0) {
            status = settle_shares(r, budget, &foretold, &at_most, &score);
        } else {
            if (budget != NULL) {
                status = vqc_budget_apply(budget, r, goal, &foretold, &at_most);
            }
            if (status == VQC_OK) {
                status = walk_afresh(r);
            }
            if (status == VQC_OK && !isnan(wanted)) {
                status = vqc_parts_score(r, SIZE_MAX, 0, &score);
            }
        }
        walks += walks == 0 ? first : 1;
        again = false;
        if (status != VQC_OK || isnan(wanted) || budget == NULL) {
            continue;
        }
        b.is_last = score.sqnr_db >= wanted;
        if (b.is_last) {
            b.passed = foretold;
            b.score = score;
            vqc_budget_keep(budget);
            again = walks > first && score.sqnr_db > wanted + TOO_GOOD_DB;
        } else {
            b.failed = foretold;
            again = !at_most;
        }
        goal = next_goal(&b, foretold, &score, wanted);
        again = again && walks < first - 1 + MAX_WALKS && !isnan(goal);
    }
    if (status == VQC_OK && b.passed > 0.0 && !b.is_last) {
        status = vqc_budget_restore(budget, r);
        if (status == VQC_OK) {
            status = walk_afresh(r);
        }
        score = b.score;
        walks++;
    }
    return status == VQC_OK && !isnan(wanted) ? report_target(r, wanted, &score, walks) : status;
}

static bool any_may_resize(const vqc_parts *r)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->parts[i].may_resize) {
            return true;
        }
    }
    return false;
}

static vqc_status run_parts(vqc_parts *r)
{
    bool wants_target = !isnan(r->wanted_db);
    bool resizes = any_may_resize(r) && r->job->recipe->vq.allocate != VQC_SWITCH_OFF;
    vqc_budget *budget = NULL;
    vqc_status status = vqc_samples_seen(r->job->samples, &r->seen, r->error);

    if (status == VQC_OK && (wants_target || resizes)) {
        status = keep_reference(r);
    }
    if (status == VQC_OK && resizes) {
        status = vqc_budget_create(r, &budget);
    }
    if (status == VQC_OK) {
        status = walk_to_target(r, budget);
    }
    vqc_budget_destroy(&budget);
    return status;
}

vqc_status vqc_calibrated_run(vqc_calibrated_job *job, vqc_error *error)
{
    vqc_parts r = {
        .job = job,
        .error = error,
        .threads = (int)vqc_samples_slots(job->threads),
        .wanted_db = job->for_static ? (double)NAN : job->recipe->accuracy.output_sqnr_db,
        .arena = vqc_arena_create(),
    };
    uint64_t start = vqc_report_clock();
    size_t biases = 0;
    vqc_status status = r.arena == NULL ? vqc_fail_memory(error, 0) : collect_parts(&r);

    if (status == VQC_OK && r.count > 0) {
        status = run_parts(&r);
        if (status == VQC_OK && !job->for_static) {
            status = write_biases(&r, &biases);
        }
        if (status == VQC_OK) {
            status = vqc_report_note(job->report, error,
                                     "%zu layers coded for what they see in %zu calibration "
                                     "samples, in the order of the graph; %zu biases corrected",
                                     r.coded, r.samples, biases);
        }
        if (status == VQC_OK) {
            status = vqc_report_stage(job->report, "fit", vqc_report_clock() - start, error);
        }
    }
    vqc_samples_destroy(&r.seen);
    vqc_downstream_destroy(&r.behind);
    vqc_reference_destroy(&r.measure);
    vqc_arena_take(job->arena, &r.codes);
    vqc_arena_destroy(&r.arena);
    return status;
}
