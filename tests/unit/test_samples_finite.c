/* Calibration samples with NaN or infinite inputs. */
#include <criterion/criterion.h>
#include <math.h>

#include "core/data/samples_finite.h"

enum { COUNT = 6 };

/* One float and one integer input per sample. */
typedef struct fake {
    vqc_samples samples;
    vqc_buffer *inputs[COUNT][2];
    int destroyed;
} fake;

static vqc_error error;

static vqc_status fake_read(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                            vqc_error *bad)
{
    fake *f = self->state;

    (void)slot;
    (void)bad;
    *out = (vqc_sample){.index = index, .inputs = (const vqc_buffer *const *)f->inputs[index]};
    return VQC_OK;
}

static void fake_release(vqc_samples *self, size_t slot)
{
    (void)self;
    (void)slot;
}

static void fake_destroy(vqc_samples *self)
{
    fake *f = self->state;

    for (size_t i = 0; i < COUNT; i++) {
        vqc_buffer_destroy(&f->inputs[i][0]);
        vqc_buffer_destroy(&f->inputs[i][1]);
    }
    f->destroyed++;
}

/* Sample i holds i, apart from values[i] at one place. */
static void make(fake *f, int32_t dtype, const double values[COUNT])
{
    const int64_t dims[] = {300};

    *f = (fake){.samples = {.count = COUNT,
                            .input_count = 2,
                            .path = "fake",
                            .read = fake_read,
                            .release = fake_release,
                            .destroy = fake_destroy}};
    f->samples.state = f;
    for (size_t i = 0; i < COUNT; i++) {
        f->inputs[i][0] = vqc_buffer_create(dtype, dims, 1);
        f->inputs[i][1] = vqc_buffer_create(VQC_DTYPE_INT64, dims, 1);
        for (size_t k = 0; k < 300; k++) {
            double value = k == 271 ? values[i] : (double)i;
            if (dtype == VQC_DTYPE_FLOAT) {
                ((float *)(void *)f->inputs[i][0]->data)[k] = (float)value;
            } else {
                ((double *)(void *)f->inputs[i][0]->data)[k] = value;
            }
            ((int64_t *)(void *)f->inputs[i][1]->data)[k] = -1;
        }
    }
}

static vqc_status collect(void *context, size_t slot, const vqc_sample *sample, vqc_error *bad)
{
    const vqc_buffer *input = sample->inputs[0];
    double *seen = context;

    (void)slot;
    (void)bad;
    seen[sample->index] = input->dtype == VQC_DTYPE_FLOAT
                              ? (double)((const float *)(const void *)input->data)[0]
                              : ((const double *)(const void *)input->data)[0];
    return VQC_OK;
}

static void expect_kept(int32_t dtype, const double values[COUNT], const double *wanted,
                        size_t count, size_t first)
{
    fake f;
    vqc_samples *samples = &f.samples;
    vqc_samples_left_out out;
    double seen[COUNT] = {0};

    make(&f, dtype, values);
    cr_assert_eq(vqc_samples_keep_finite(&samples, 2, &out, &error), VQC_OK, "%s", error.message);
    cr_expect_eq(out.count, COUNT - count);
    cr_expect_eq(out.total, COUNT);
    cr_expect_eq(out.first, first);
    cr_expect_eq(samples == &f.samples, count == COUNT, "replaced only where something goes");
    cr_assert_eq(samples->count, count);
    cr_assert_eq(vqc_samples_for_each(samples, 0, 1, count, 2, collect, seen, &error), VQC_OK);
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(seen[i], wanted[i], "%zu: got %g", i, seen[i]);
    }
    vqc_samples_destroy(&samples);
    cr_expect_eq(f.destroyed, 1, "the source goes with it");
}

Test(samples_finite, leaves_out_what_is_not_finite)
{
    const double mixed[COUNT] = {0, (double)NAN, 2, (double)INFINITY, 4, 5};
    const double good[COUNT] = {0, -1e30, 0, 1, 0, 0};
    const double kept[] = {0, 2, 4, 5};
    const double all[] = {0, 1, 2, 3, 4, 5};

    expect_kept(VQC_DTYPE_FLOAT, mixed, kept, 4, 1);
    expect_kept(VQC_DTYPE_DOUBLE, mixed, kept, 4, 1);
    expect_kept(VQC_DTYPE_FLOAT, good, all, COUNT, COUNT);
}

Test(samples_finite, infinities_in_every_sample_are_meant)
{
    const double masks[COUNT] = {-(double)INFINITY, -(double)INFINITY, -(double)INFINITY,
                                 (double)NAN,       -(double)INFINITY, -(double)INFINITY};
    const double kept[] = {0, 1, 2, 4, 5};

    expect_kept(VQC_DTYPE_FLOAT, masks, kept, 5, 3);
}

Test(samples_finite, nothing_left)
{
    const double bad[COUNT] = {(double)NAN, (double)NAN, (double)NAN,
                               (double)NAN, (double)NAN, (double)NAN};
    fake f;
    vqc_samples *samples = &f.samples;
    vqc_samples_left_out out;

    make(&f, VQC_DTYPE_FLOAT, bad);
    cr_assert_eq(vqc_samples_keep_finite(&samples, 1, &out, &error), VQC_ERR_MODEL);
    cr_expect_str_eq(error.message, "fake: all 6 samples have NaN inputs");
    cr_expect_eq(samples, &f.samples);
    f.samples.is_finite = true; /* then nobody looks */
    cr_expect_eq(vqc_samples_keep_finite(&samples, 1, &out, &error), VQC_OK);
    cr_expect_eq(out.count, 0);
    vqc_samples_destroy(&samples);
}

/* Views of the samples that stay are views of the same ones. */
Test(samples_finite, views_follow_their_samples)
{
    const double values[COUNT] = {0, NAN, 2, 3, 4, 5};
    fake f;
    vqc_samples *samples = &f.samples;
    vqc_samples_left_out out;
    vqc_sample sample;
    double seen[COUNT] = {0};

    make(&f, VQC_DTYPE_FLOAT, values);
    f.samples.count = COUNT / 2;
    f.samples.views = 2;
    cr_assert_eq(vqc_samples_keep_finite(&samples, 2, &out, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(samples->count, 2);
    cr_assert_eq(samples->views, 2);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(samples->read(samples, i, 0, &sample, &error), VQC_OK);
        cr_assert_eq(sample.index, i);
        cr_assert_eq(collect(seen, 0, &sample, &error), VQC_OK);
    }
    cr_expect(seen[0] == 0.0 && seen[1] == 2.0 && seen[2] == 3.0 && seen[3] == 5.0);
    vqc_samples_destroy(&samples);
}
