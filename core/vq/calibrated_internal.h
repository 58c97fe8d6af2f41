/* Shared by the files of calibrated coding. */
#ifndef VQC_CORE_VQ_CALIBRATED_INTERNAL_H
#define VQC_CORE_VQ_CALIBRATED_INTERNAL_H

#include "core/static/measure.h"
#include "core/vq/bias_site.h"
#include "core/vq/calibrated.h"
#include "core/vq/downstream.h"
#include "core/vq/vq_layout.h"

/* A way to code a layer, and what trying it gave. */
typedef struct vqc_trial {
    int dim;
    int codebook_size;
    double kept_share; /* see vqc_vq_effort; 0: no zeros wanted */
    bool is_tried;     /* when probing; else it is foretold from the code that the part has */
    size_t size_bytes; /* tried: that the code adds to the file, in its smallest storage */
    double loss;       /* tried: tr(E H E^T) */
} vqc_trial;

/* A layer that is coded for what it sees. */
typedef struct vqc_part {
    vqc_plan_layer *item;
    vqc_vq_layout layout; /* of the matrix that is coded */
    vqc_bias_site bias;
    const float *weights; /* [elements] of the original, in the tensor's order */
    float *decoded;       /* [elements] what its code decodes to; NULL: not coded */
    float *bias_values;   /* [rows] corrected; NULL: as it is */
    bool may_resize;      /* the recipe leaves dimension and codebook size open */
    double loss;          /* tr(E H E^T) of its code, when probing */
    vqc_trial *trials;    /* [trial_count] the ways to code it that are open */
    size_t trial_count;
} vqc_part;

typedef struct vqc_parts {
    vqc_calibrated_job *job;
    vqc_error *error;
    vqc_part *parts; /* [count] in graph order */
    size_t count;
    const vqc_layer **layers; /* [count] */
    int threads;              /* at least 1 */
    double wanted_db;         /* output SQNR to reach; NAN: none */
    size_t coded;
    size_t samples;         /* that the walk saw */
    bool probing;           /* codes are thrown away: every layer sees the original's values */
    vqc_arena *arena;       /* of the whole run */
    vqc_arena *codes;       /* of the walk in hand */
    vqc_samples *seen;      /* calibration samples without those kept apart */
    vqc_reference *measure; /* the original's outputs on those kept apart; NULL: not needed */
    vqc_downstream *behind; /* while single parts are measured; NULL: whole models are run */
} vqc_parts;

/* Takes the layout from the decision; after each change of it. */
void vqc_part_set_layout(vqc_part *part);

/* Gives a part another dimension and codebook size, with or without wanted zeros; 0 codewords: int8
 * with a scale per channel. */
vqc_status vqc_part_resize(vqc_parts *p, vqc_part *part, int dim, int codebook_size,
                           double kept_share);

/* One walk over the graph: fills code, decoded and bias_values of every part. */
vqc_status vqc_parts_walk(vqc_parts *p);

/* Runs the model with the codes of all parts (SIZE_MAX), or with that of one and the original
 * weights elsewhere (then on the samples of p->behind, if that is there). */
vqc_status vqc_parts_score(vqc_parts *p, size_t only, size_t samples, vqc_score *score);

/* Bits for the parts that may be resized, by what each one's own code does to the output. */
typedef struct vqc_budget vqc_budget;

/* Codes and measures every part by itself. */
vqc_status vqc_budget_create(vqc_parts *p, vqc_budget **out);

/*
 * Decides dimension and codebook size of the parts that may be resized (some go back to int8): the
 * least noise for the bytes of the recipe's bits per weight (goal NAN), or the least bytes for a
 * foretold noise of `goal` (share of the output's power). *foretold: the noise that is expected of
 * the choice, good for comparing choices; *at_most: no part can have more.
 */
vqc_status vqc_budget_apply(vqc_budget *budget, vqc_parts *p, double goal, double *foretold,
                            bool *at_most);
/* After a walk: half of the way (in dB) from what was foretold of each part's code to what it does
 * to the output by itself; of the part's other sizes as much. Errors: those of running models. */
vqc_status vqc_budget_learn(vqc_budget *budget, vqc_parts *p);
/* Remembers the sizes of the last application; goes back to what was remembered. */
void vqc_budget_keep(vqc_budget *budget);
vqc_status vqc_budget_restore(vqc_budget *budget, vqc_parts *p);
void vqc_budget_destroy(vqc_budget **budget);

#endif
