/* C reference of the statistics kernels: the definition of their results. */
#include "kernels/lanes.h"

static inline bool is_nonfinite(float x)
{
    return (vqc_float_bits(x) & 0x7f800000u) == 0x7f800000u;
}

static void fill(float lanes[VQC_LANES], float value)
{
    for (size_t i = 0; i < VQC_LANES; i++)
        lanes[i] = value;
}

void vqc_f32_minmax__c(const float *x, size_t n, float *min, float *max)
{
    const vqc_f32_at *v = x;
    float lo[VQC_LANES], hi[VQC_LANES];
    fill(lo, INFINITY);
    fill(hi, -INFINITY);
    for (size_t i = 0; i < n; i++) {
        lo[i % VQC_LANES] = vqc_lane_min(v[i], lo[i % VQC_LANES]);
        hi[i % VQC_LANES] = vqc_lane_max(v[i], hi[i % VQC_LANES]);
    }
    *min = vqc_lane_min(vqc_lanes_min(lo), *min);
    *max = vqc_lane_max(vqc_lanes_max(hi), *max);
}

size_t vqc_f32_count_nonfinite__c(const float *x, size_t n)
{
    const vqc_f32_at *v = x;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += is_nonfinite(v[i]);
    return count;
}

void vqc_f32_stats__c(const float *x, size_t n, vqc_f32_range *acc)
{
    vqc_f32_minmax__c(x, n, &acc->min, &acc->max);
    acc->nonfinite += vqc_f32_count_nonfinite__c(x, n);
}

void vqc_f32_minmax_rows__c(const float *x, size_t rows, size_t cols, size_t x_stride, float *min,
                            float *max, size_t *nonfinite)
{
    for (size_t r = 0; r < rows; r++) {
        vqc_f32_minmax__c(x + r * x_stride, cols, &min[r], &max[r]);
        *nonfinite += vqc_f32_count_nonfinite__c(x + r * x_stride, cols);
    }
}

void vqc_f32_minmax_cols__c(const float *x, size_t rows, size_t cols, size_t x_stride, float *min,
                            float *max, size_t *nonfinite)
{
    for (size_t r = 0; r < rows; r++) {
        const vqc_f32_at *row = x + r * x_stride;
        for (size_t c = 0; c < cols; c++) {
            min[c] = vqc_lane_min(row[c], min[c]);
            max[c] = vqc_lane_max(row[c], max[c]);
        }
        *nonfinite += vqc_f32_count_nonfinite__c(x + r * x_stride, cols);
    }
}

float vqc_f32_absmax__c(const float *x, size_t n)
{
    const vqc_f32_at *v = x;
    float hi[VQC_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        hi[i % VQC_LANES] = vqc_lane_max(fabsf(v[i]), hi[i % VQC_LANES]);
    return vqc_lanes_max(hi);
}

void vqc_f32_sums__c(const float *x, size_t n, double *sum, double *sum_squares)
{
    const vqc_f32_at *v = x;
    for (size_t i0 = 0; i0 < n; i0 += VQC_CHUNK) {
        float s[VQC_LANES] = {0}, s2[VQC_LANES] = {0};
        const size_t i1 = i0 + vqc_min_size(VQC_CHUNK, n - i0);
        for (size_t i = i0; i < i1; i++) {
            s[i % VQC_LANES] += v[i];
            s2[i % VQC_LANES] += v[i] * v[i];
        }
        *sum += vqc_lanes_sum(s);
        *sum_squares += vqc_lanes_sum(s2);
    }
}

void vqc_f32_error__c(const float *ref, const float *dec, size_t n, vqc_error_sums *acc)
{
    const vqc_f32_at *a = ref, *b = dec;
    float max_abs[VQC_LANES] = {0};
    for (size_t i0 = 0; i0 < n; i0 += VQC_CHUNK) {
        float err2[VQC_LANES] = {0}, ref2[VQC_LANES] = {0};
        float dec2[VQC_LANES] = {0}, ref_dec[VQC_LANES] = {0};
        const size_t i1 = i0 + vqc_min_size(VQC_CHUNK, n - i0);
        for (size_t i = i0; i < i1; i++) {
            const size_t lane = i % VQC_LANES;
            const float err = a[i] - b[i];
            err2[lane] += err * err;
            ref2[lane] += a[i] * a[i];
            dec2[lane] += b[i] * b[i];
            ref_dec[lane] += a[i] * b[i];
            max_abs[lane] = vqc_lane_max(fabsf(err), max_abs[lane]);
        }
        acc->sum_err2 += vqc_lanes_sum(err2);
        acc->sum_ref2 += vqc_lanes_sum(ref2);
        acc->sum_dec2 += vqc_lanes_sum(dec2);
        acc->sum_ref_dec += vqc_lanes_sum(ref_dec);
    }
    acc->count += n;
    acc->max_abs_err = vqc_lane_max(vqc_lanes_max(max_abs), acc->max_abs_err);
}

float vqc_probe_fma__c(size_t iterations)
{
    const volatile float zero = 0.0f; /* not known beforehand: nothing to fold */
    const float z = zero;
    float acc[VQC_LANES * 12];
    for (size_t i = 0; i < VQC_LANES * 12; i++)
        acc[i] = z;
    for (size_t k = 0; k < iterations; k++)
        for (size_t i = 0; i < VQC_LANES * 12; i++)
            acc[i] = acc[i] * 0.5f + z;
    float sum = 0.0f;
    for (size_t i = 0; i < VQC_LANES * 12; i++)
        sum += acc[i];
    return sum;
}
