/* C reference of the observer kernels: the definition of their results. */
#include "kernels/lanes.h"

static inline bool is_nonfinite(float x)
{
    return (vqc_float_bits(x) & 0x7f800000u) == 0x7f800000u;
}

void vqc_f32_histogram__c(const float *x, size_t n, float inv_width, uint32_t half_bins,
                          uint64_t *counts)
{
    const vqc_f32_at *v = x;
    const float last = (float)(half_bins - 1u);
    for (size_t i = 0; i < n; i++) {
        const float value = v[i];
        if (value == 0.0f || is_nonfinite(value))
            continue;
        const uint32_t t = (uint32_t)vqc_lane_min(fabsf(value) * inv_width, last);
        counts[value > 0.0f ? half_bins + t : half_bins - 1u - t]++;
    }
}

void vqc_f32_moments__c(const float *x, size_t n, vqc_f32_moments *acc)
{
    const vqc_f32_at *v = x;
    float lo[VQC_LANES], hi[VQC_LANES];
    for (size_t i = 0; i < VQC_LANES; i++) {
        lo[i] = INFINITY;
        hi[i] = -INFINITY;
    }
    for (size_t i0 = 0; i0 < n; i0 += VQC_CHUNK) {
        float s[VQC_LANES] = {0}, s2[VQC_LANES] = {0};
        const size_t i1 = i0 + vqc_min_size(VQC_CHUNK, n - i0);
        for (size_t i = i0; i < i1; i++) {
            const size_t lane = i % VQC_LANES;
            const float value = v[i];
            if (is_nonfinite(value)) {
                acc->nonfinite++;
                continue;
            }
            acc->zeros += value == 0.0f;
            lo[lane] = vqc_lane_min(value, lo[lane]);
            hi[lane] = vqc_lane_max(value, hi[lane]);
            s[lane] += value;
            s2[lane] += value * value;
        }
        acc->sum += vqc_lanes_sum(s);
        acc->sum_squares += vqc_lanes_sum(s2);
    }
    acc->min = vqc_lane_min(vqc_lanes_min(lo), acc->min);
    acc->max = vqc_lane_max(vqc_lanes_max(hi), acc->max);
}

void vqc_f32_moments_cols__c(const float *x, size_t rows, size_t cols, size_t x_stride, double *sum,
                             float *absmax)
{
    for (size_t r0 = 0; r0 < rows; r0 += VQC_MOMENTS_ROWS) {
        const size_t r1 = r0 + vqc_min_size(VQC_MOMENTS_ROWS, rows - r0);
        for (size_t c = 0; c < cols; c++) {
            float s = 0.0f, largest = absmax[c];
            for (size_t r = r0; r < r1; r++) {
                float value = ((const vqc_f32_at *)(x + r * x_stride))[c];
                if (is_nonfinite(value))
                    value = 0.0f;
                s += value;
                largest = vqc_lane_max(fabsf(value), largest);
            }
            sum[c] += (double)s;
            absmax[c] = largest;
        }
    }
}
