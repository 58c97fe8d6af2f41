#include "core/data/samples_subset.h"

#include <stdlib.h>

typedef struct subset {
    vqc_samples *source;
    bool is_whole; /* too few samples to divide */
    bool held_out;
} subset;

/* Sample of the source; views stay views. */
static size_t place(const subset *s, size_t count, size_t sample)
{
    const size_t stride = VQC_SAMPLES_HOLD_OUT;
    size_t index = sample % count;
    size_t first = sample / count * s->source->count;

    if (s->is_whole) {
        return first + index;
    }
    return first + (s->held_out ? index * stride + stride - 1
                                : index / (stride - 1) * stride + index % (stride - 1));
}

static vqc_status read_sample(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                              vqc_error *error)
{
    subset *s = self->state;
    vqc_status status = s->source->read(s->source, place(s, self->count, index), slot, out, error);

    out->index = index;
    return status;
}

static void release_sample(vqc_samples *self, size_t slot)
{
    subset *s = self->state;
    s->source->release(s->source, slot);
}

static void destroy_subset(vqc_samples *self)
{
    free(self->state);
    free(self);
}

static vqc_status create(vqc_samples *source, bool held_out, vqc_samples **out, vqc_error *error)
{
    size_t apart = source->count / VQC_SAMPLES_HOLD_OUT;
    subset *s = calloc(1, sizeof *s);
    vqc_samples *self = calloc(1, sizeof *self);

    *out = NULL;
    if (s == NULL || self == NULL) {
        free(s);
        free(self);
        return vqc_fail_memory(error, sizeof *self);
    }
    s->source = source;
    s->is_whole = apart < 2;
    s->held_out = held_out;
    *self = *source;
    if (!s->is_whole) {
        self->count = held_out ? apart : source->count - apart;
    }
    self->read = read_sample;
    self->release = release_sample;
    self->destroy = destroy_subset;
    self->state = s;
    *out = self;
    return VQC_OK;
}

vqc_status vqc_samples_seen(vqc_samples *source, vqc_samples **out, vqc_error *error)
{
    return create(source, false, out, error);
}

vqc_status vqc_samples_held_out(vqc_samples *source, vqc_samples **out, vqc_error *error)
{
    return create(source, true, out, error);
}
