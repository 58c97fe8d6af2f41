#include "tests/unit/same_stats.h"

#include <criterion/criterion.h>

void same_stats_assert(const vqc_stats *a, const vqc_stats *b)
{
    cr_assert_eq(a->count, b->count);
    cr_assert_eq(a->samples, b->samples);
    cr_assert_eq(a->fingerprint, b->fingerprint);
    for (size_t i = 0; i < a->count; i++) {
        const vqc_tensor_stats *t = &a->tensors[i], *u = &b->tensors[i];
        cr_assert_str_eq(t->name, u->name);
        cr_assert_arr_eq(&t->all, &u->all, sizeof t->all, "%s", t->name);
        cr_assert_eq(t->channels, u->channels);
        cr_assert_eq(t->channel_axis, u->channel_axis);
        if (t->channels == 0)
            continue;
        cr_assert_arr_eq(t->channel_mean, u->channel_mean, t->channels * sizeof(double));
        cr_assert_arr_eq(t->channel_absmax, u->channel_absmax, t->channels * sizeof(float));
        cr_assert_arr_eq(t->channel_elements, u->channel_elements, t->channels * sizeof(uint64_t));
    }
}
