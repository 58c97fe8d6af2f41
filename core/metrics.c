#include "core/metrics.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* The same sums in double, for values whose squares leave the range of float. */
static void add_in_double(const float *ref, const float *dec, size_t n, vqc_error_sums *sums)
{
    for (size_t i = 0; i < n; i++) {
        float r;
        float d;
        double err;

        memcpy(&r, (const char *)ref + i * sizeof r, sizeof r); /* may be unaligned */
        memcpy(&d, (const char *)dec + i * sizeof d, sizeof d);
        err = (double)r - (double)d;
        sums->sum_err2 += err * err;
        sums->sum_ref2 += (double)r * (double)r;
        sums->sum_dec2 += (double)d * (double)d;
        sums->sum_ref_dec += (double)r * (double)d;
    }
}

bool vqc_error_sums_out_of_range(const vqc_error_sums *sums)
{
    bool underflow = sums->max_abs_err > 0.0f && (sums->sum_err2 == 0.0 || sums->sum_ref2 == 0.0);
    bool overflow = !isfinite(sums->sum_err2) || !isfinite(sums->sum_ref2) ||
                    !isfinite(sums->sum_dec2) || !isfinite(sums->sum_ref_dec);
    return underflow || overflow;
}

void vqc_error_sums_add_f32(const float *ref, const float *dec, size_t n, vqc_error_sums *sums)
{
    vqc_error_sums part = {0};

    vqc_kernels_get()->f32_error(ref, dec, n, &part);
    if (vqc_error_sums_out_of_range(&part)) {
        part.sum_err2 = part.sum_ref2 = part.sum_dec2 = part.sum_ref_dec = 0.0;
        add_in_double(ref, dec, n, &part);
    }
    vqc_error_sums_add(sums, &part);
}

void vqc_error_sums_add(vqc_error_sums *total, const vqc_error_sums *part)
{
    total->sum_err2 += part->sum_err2;
    total->sum_ref2 += part->sum_ref2;
    total->sum_dec2 += part->sum_dec2;
    total->sum_ref_dec += part->sum_ref_dec;
    total->count += part->count;
    total->max_abs_err = fmaxf(total->max_abs_err, part->max_abs_err);
}

vqc_metrics vqc_metrics_from_sums(const vqc_error_sums *sums)
{
    vqc_metrics out = {0};
    double norms;

    out.count = sums->count;
    if (sums->count == 0) {
        return out;
    }
    out.sum_ref2 = sums->sum_ref2;
    out.sum_err2 = sums->sum_err2;
    out.max_abs_error = (double)sums->max_abs_err;
    if (!isfinite(sums->sum_err2) || !isfinite(sums->sum_ref2) || !isfinite(sums->sum_dec2)) {
        out.mse = out.sqnr_db = out.cosine = (double)NAN;
        return out;
    }
    out.mse = sums->sum_err2 / (double)sums->count;
    out.sqnr_db =
        sums->sum_err2 == 0.0 ? (double)INFINITY : 10.0 * log10(sums->sum_ref2 / sums->sum_err2);
    norms = sqrt(sums->sum_ref2) * sqrt(sums->sum_dec2);
    if (sums->sum_err2 == 0.0 && sums->max_abs_err == 0.0f) {
        out.cosine = 1.0; /* the quotient of equal sums may miss it by a rounding */
    } else if (norms > 0.0) {
        out.cosine = fmin(1.0, fmax(-1.0, sums->sum_ref_dec / norms)); /* rounding may pass 1 */
    } else {
        out.cosine = sums->sum_ref2 == 0.0 && sums->sum_dec2 == 0.0 ? 1.0 : 0.0;
    }
    return out;
}

vqc_metrics vqc_metrics_compare(const float *ref, const float *dec, size_t n)
{
    vqc_error_sums sums = {0};

    vqc_error_sums_add_f32(ref, dec, n, &sums);
    return vqc_metrics_from_sums(&sums);
}
