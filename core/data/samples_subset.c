#include "core/data/samples_subset.h"

#include <stdlib.h>

typedef struct subset {
    vqc_samples *source;
    size_t stride; /* 0: everything */
    bool held_out;
} subset;

static size_t place(const subset *s, size_t index)
{
    if (s->stride == 0) {
        return index;
    }
    return s->held_out ? index * s->stride + s->stride - 1
                       : index / (s->stride - 1) * s->stride + index % (s->stride - 1);
}

static vqc_status read_sample(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                              vqc_error *error)
{
    subset *s = self->state;
    vqc_status status = s->source->read(s->source, place(s, index), slot, out, error);

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

vqc_status vqc_samples_subset(vqc_samples *source, size_t limit, size_t stride, bool held_out,
                              vqc_samples **out, vqc_error *error)
{
    size_t count = limit == 0 || limit > source->count ? source->count : limit;
    subset *s = calloc(1, sizeof *s);
    vqc_samples *self = calloc(1, sizeof *self);

    *out = NULL;
    if (s == NULL || self == NULL) {
        free(s);
        free(self);
        return vqc_fail_memory(error, sizeof *self);
    }
    s->source = source;
    s->stride = count < 2 * stride ? 0 : stride;
    s->held_out = held_out;
    *self = *source;
    self->count = s->stride == 0 ? count : (held_out ? count / stride : count - count / stride);
    self->read = read_sample;
    self->release = release_sample;
    self->destroy = destroy_subset;
    self->state = s;
    *out = self;
    return VQC_OK;
}
