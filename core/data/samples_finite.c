#include "core/data/samples_finite.h"

#include <math.h>
#include <stdlib.h>

#include "core/evaluate_sums.h"
#include "core/exec/element.h"
#include "kernels/kernels.h"

typedef struct kept {
    vqc_samples *source; /* owned */
    size_t *places;      /* [count] samples of the source */
} kept;

/* The worst of a sample's inputs. */
typedef enum verdict { FINITE, HAS_INFINITE, HAS_NAN } verdict;

typedef struct search {
    size_t input_count;
    verdict *verdicts; /* [samples of the source] */
} search;

static verdict judge(const vqc_buffer *buffer)
{
    vqc_class class = vqc_class_of(buffer->dtype);
    double values[VQC_EXEC_CHUNK];
    verdict found = FINITE;

    if ((class != VQC_CLASS_F32 && class != VQC_CLASS_F64) ||
        (buffer->dtype == VQC_DTYPE_FLOAT &&
         vqc_kernels_get()->f32_count_nonfinite((const float *)(const void *)buffer->data,
                                                buffer->elements) == 0)) {
        return FINITE;
    }
    for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t left = buffer->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : (size_t)VQC_EXEC_CHUNK;
        vqc_buffer_load_f64(buffer, at, n, values);
        for (size_t i = 0; i < n; i++) {
            if (isnan(values[i])) {
                return HAS_NAN;
            }
            found = isinf(values[i]) ? HAS_INFINITE : found;
        }
    }
    return found;
}

static vqc_status look(void *context, size_t slot, const vqc_sample *sample, vqc_error *error)
{
    search *s = context;

    (void)slot;
    (void)error;
    for (size_t i = 0; i < s->input_count; i++) {
        verdict one = sample->inputs[i] == NULL ? FINITE : judge(sample->inputs[i]);
        if (one > s->verdicts[sample->index]) {
            s->verdicts[sample->index] = one;
        }
    }
    return VQC_OK;
}

static vqc_status read_sample(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                              vqc_error *error)
{
    kept *f = self->state;
    size_t place = index / self->count * f->source->count + f->places[index % self->count];
    vqc_status status = f->source->read(f->source, place, slot, out, error);

    out->index = index;
    return status;
}

static void release_sample(vqc_samples *self, size_t slot)
{
    kept *f = self->state;
    f->source->release(f->source, slot);
}

static void destroy_kept(vqc_samples *self)
{
    kept *f = self->state;
    vqc_samples_destroy(&f->source);
    free(f->places);
    free(f);
    free(self);
}

static vqc_status replace(vqc_samples **samples, const verdict *verdicts, verdict limit,
                          vqc_error *error)
{
    kept *f = calloc(1, sizeof *f);
    vqc_samples *self = calloc(1, sizeof *self);
    size_t *places = calloc((*samples)->count, sizeof *places);

    if (f == NULL || self == NULL || places == NULL) {
        free(f);
        free(self);
        free(places);
        return vqc_fail_memory(error, (*samples)->count * sizeof *places);
    }
    *self = **samples;
    self->count = 0;
    for (size_t i = 0; i < (*samples)->count; i++) {
        if (verdicts[i] <= limit) {
            places[self->count++] = i;
        }
    }
    *f = (kept){*samples, places};
    self->read = read_sample;
    self->release = release_sample;
    self->destroy = destroy_kept;
    self->state = f;
    *samples = self;
    return VQC_OK;
}

/* A model whose samples all have infinities wants them: the mask of an attention. */
static verdict find_limit(const verdict *verdicts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (verdicts[i] == FINITE) {
            return FINITE;
        }
    }
    return HAS_INFINITE;
}

vqc_status vqc_samples_keep_finite(vqc_samples **samples, int threads, vqc_samples_left_out *out,
                                   vqc_error *error)
{
    vqc_samples *source = *samples;
    search s = {.input_count = source->input_count};
    verdict limit;
    vqc_status status;

    *out = (vqc_samples_left_out){.total = source->count, .first = source->count};
    if (source->is_finite) {
        return VQC_OK;
    }
    s.verdicts = calloc(source->count + 1, sizeof *s.verdicts);
    if (s.verdicts == NULL) {
        return vqc_fail_memory(error, source->count * sizeof *s.verdicts);
    }
    status = vqc_samples_for_each(source, 0, 1, source->count, threads, look, &s, error);
    limit = find_limit(s.verdicts, source->count);
    for (size_t i = source->count; status == VQC_OK && i-- > 0;) {
        bool is_bad = s.verdicts[i] > limit;
        out->count += is_bad ? 1 : 0;
        out->first = is_bad ? i : out->first;
    }
    if (status == VQC_OK && out->count > 0) {
        status = out->count == source->count
                     ? vqc_fail(error, VQC_ERR_MODEL, "%s: all %zu samples have NaN inputs",
                                source->path, source->count)
                     : replace(samples, s.verdicts, limit, error);
    }
    free(s.verdicts);
    return status;
}
