/* Samples that decide and samples kept apart, with views. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "core/data/samples_subset.h"

enum { MOST = 16, VIEWS = 3 };

static vqc_error error;

/* Tells what was read by its label. */
static vqc_status read_label(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                             vqc_error *bad)
{
    int64_t *label = self->state;

    (void)slot;
    (void)bad;
    cr_assert_lt(index, self->count * VIEWS);
    *label = (int64_t)index;
    *out = (vqc_sample){.index = index, .labels = label, .label_count = 1};
    return VQC_OK;
}

/* Marks the samples of a part in `taken` with `mark`; every view must be of the same sample. */
static void mark_part(vqc_samples *part, size_t count, int mark, int taken[MOST])
{
    vqc_sample sample;

    cr_assert_eq(part->views, VIEWS);
    for (size_t i = 0; i < part->count; i++) {
        int64_t first = -1;
        for (size_t v = 0; v < VIEWS; v++) {
            size_t index = v * part->count + i;
            cr_assert_eq(part->read(part, index, 0, &sample, &error), VQC_OK);
            cr_assert_eq(sample.index, index);
            first = v == 0 ? sample.labels[0] : first;
            cr_assert_eq(sample.labels[0], first + (int64_t)(v * count));
        }
        cr_assert(first >= 0 && (size_t)first < count && taken[first] == 0);
        taken[first] = mark;
    }
}

Test(samples_subset, views_stay_with_their_samples)
{
    for (size_t count = 8; count <= MOST; count++) {
        int64_t label = -1;
        vqc_samples source = {
            .count = count, .views = VIEWS, .path = "memory", .read = read_label, .state = &label};
        vqc_samples *seen = NULL;
        vqc_samples *apart = NULL;
        int taken[MOST] = {0};

        cr_assert_eq(vqc_samples_seen(&source, &seen, &error), VQC_OK);
        cr_assert_eq(vqc_samples_held_out(&source, &apart, &error), VQC_OK);
        mark_part(seen, count, 1, taken);
        mark_part(apart, count, 2, taken);
        for (size_t i = 0; i < count; i++) {
            cr_assert_neq(taken[i], 0, "%zu of %zu is in neither part", i, count);
        }
        vqc_samples_destroy(&seen);
        vqc_samples_destroy(&apart);
    }
}

Test(samples_subset, too_few_samples_are_in_both)
{
    int64_t label = -1;
    vqc_samples source = {
        .count = 7, .views = VIEWS, .path = "memory", .read = read_label, .state = &label};
    vqc_samples *part = NULL;
    int taken[MOST] = {0};

    cr_assert_eq(vqc_samples_seen(&source, &part, &error), VQC_OK);
    cr_assert_eq(part->count, 7);
    mark_part(part, 7, 1, taken);
    vqc_samples_destroy(&part);
}
