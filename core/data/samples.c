#include "core/data/samples.h"

#include <omp.h>

void vqc_samples_destroy(vqc_samples **samples)
{
    if (samples == NULL || *samples == NULL) {
        return;
    }
    (*samples)->destroy(*samples);
    *samples = NULL;
}

size_t vqc_samples_total(const vqc_samples *samples)
{
    return samples->count * (samples->views > 1 ? samples->views : 1);
}

size_t vqc_samples_spread(size_t k, size_t wanted, size_t total)
{
    return k * (total / wanted) + k * (total % wanted) / wanted;
}

uint64_t vqc_samples_draw(uint64_t key)
{
    uint64_t z = key + VQC_SAMPLES_DRAW_STEP;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

size_t vqc_samples_slots(int threads)
{
    int count = threads > 0 ? threads : omp_get_max_threads();

    if (count < 1) {
        count = 1;
    }
    return count < VQC_SAMPLES_MAX_SLOTS ? (size_t)count : (size_t)VQC_SAMPLES_MAX_SLOTS;
}

/* One pass over the samples; everything below `lock` is guarded by it. */
typedef struct pass {
    vqc_samples *samples;
    size_t first;
    size_t step;
    size_t jobs; /* samples of this pass */
    vqc_sample_fn *run;
    void *context;
    omp_lock_t lock;
    size_t next;         /* the job that is handed out next; jobs: none */
    size_t failed;       /* the lowest job that failed; jobs: none */
    vqc_status status;   /* of that job */
    vqc_error first_bad; /* of that job */
} pass;

/* Keeps the error of the lowest job. Jobs are handed out in order, so every job below a failed one
 * has been started and reports as well: which error is kept does not depend on the threads. The
 * lock is held. */
static void keep_error(pass *self, size_t job, vqc_status status, const vqc_error *error)
{
    if (job < self->failed) {
        self->failed = job;
        self->status = status;
        self->first_bad = *error;
        self->first_bad.code = status;
    }
    self->next = self->jobs;
}

/* Takes the next job, and reads its sample when the source wants to be asked in order. */
static bool take_job(pass *self, size_t slot, size_t *job, vqc_sample *sample)
{
    bool taken = false;

    omp_set_lock(&self->lock);
    if (self->next < self->jobs) {
        *job = self->next++;
        taken = true;
    }
    if (taken && self->samples->sequential) {
        vqc_error error = {VQC_OK, ""};
        vqc_status status = self->samples->read(self->samples, self->first + *job * self->step,
                                                slot, sample, &error);
        if (status != VQC_OK) {
            keep_error(self, *job, status, &error);
            taken = false;
        }
    }
    omp_unset_lock(&self->lock);
    return taken;
}

static void run_jobs(pass *self, size_t slot)
{
    vqc_sample sample = {0};
    size_t job = 0;

    while (take_job(self, slot, &job, &sample)) {
        vqc_error error = {VQC_OK, ""};
        vqc_status status = VQC_OK;
        bool held = self->samples->sequential;

        if (!held) {
            status = self->samples->read(self->samples, self->first + job * self->step, slot,
                                         &sample, &error);
            held = status == VQC_OK;
        }
        if (status == VQC_OK) {
            status = self->run(self->context, slot, &sample, &error);
        }
        if (held) {
            self->samples->release(self->samples, slot);
        }
        if (status != VQC_OK) {
            omp_set_lock(&self->lock);
            keep_error(self, job, status, &error);
            omp_unset_lock(&self->lock);
        }
    }
}

vqc_status vqc_samples_for_each(vqc_samples *samples, size_t first, size_t step, size_t limit,
                                int threads, vqc_sample_fn *run, void *context, vqc_error *error)
{
    size_t end = limit < samples->count ? limit : samples->count;
    pass self = {.samples = samples, .first = first, .run = run, .context = context};
    size_t count;

    self.step = step == 0 ? 1 : step;
    self.jobs = first < end ? (end - first - 1) / self.step + 1 : 0;
    self.failed = self.jobs;
    count = vqc_samples_slots(threads);
    if (count > self.jobs) {
        count = self.jobs;
    }
    if (count == 0) {
        return VQC_OK;
    }
    omp_init_lock(&self.lock);
#pragma omp parallel num_threads((int)count) if (count > 1)
    run_jobs(&self, (size_t)omp_get_thread_num());
    omp_destroy_lock(&self.lock);
    if (self.status != VQC_OK && error != NULL) {
        *error = self.first_bad;
    }
    return self.status;
}
