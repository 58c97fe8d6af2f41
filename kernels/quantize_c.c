/* C reference of the quantize and dequantize kernels: the definition of their results. */
#include "kernels/lanes.h"

/* How the quantization parameters of an array are laid out. */
enum layout { LAYOUT_ROWS, LAYOUT_COLS };

/* Parameters of one quantization; arrays are [rows] or [cols], see enum layout; zero_point may be
 * NULL. */
typedef struct params {
    const float *scale; /* NULL where nothing is decoded */
    const float *inv_scale;
    const int32_t *zero_point;
    int32_t lo, hi;
} params;

/* Lanes of the fused error sums; they carry on from row to row. */
typedef struct error_lanes {
    float err2[VQC_LANES], ref2[VQC_LANES], max_abs[VQC_LANES];
    size_t pending; /* elements since the last flush */
} error_lanes;

static inline int32_t zero_point_at(const params *p, size_t i)
{
    return p->zero_point != NULL ? p->zero_point[i] : 0;
}

/* q - zero_point for one element. Clamping before rounding gives the same as after, because the
 * bounds are integers; adding and subtracting 1.5 * 2^23 rounds to the nearest even integer for |t|
 * <= 2^21. */
static inline float quantize_one(float x, float inv_scale, int32_t zero_point, int32_t lo,
                                 int32_t hi)
{
    const float magic = 12582912.0f;
    const float t_lo = (float)(lo - zero_point), t_hi = (float)(hi - zero_point);
    float t = x * inv_scale;
    if (isnan(t))
        t = 0.0f;
    t = vqc_lane_max(t, t_lo);
    t = vqc_lane_min(t, t_hi);
    return (t + magic) - magic;
}

static void error_flush(error_lanes *lanes, vqc_error_sums *acc)
{
    acc->sum_err2 += vqc_lanes_sum(lanes->err2);
    acc->sum_ref2 += vqc_lanes_sum(lanes->ref2);
    acc->count += lanes->pending;
    memset(lanes->err2, 0, sizeof lanes->err2);
    memset(lanes->ref2, 0, sizeof lanes->ref2);
    lanes->pending = 0;
}

static void error_finish(error_lanes *lanes, vqc_error_sums *acc)
{
    if (lanes->pending > 0)
        error_flush(lanes, acc);
    acc->max_abs_err = vqc_lane_max(vqc_lanes_max(lanes->max_abs), acc->max_abs_err);
}

/* Writes the codes of one row from column c0 to c1; `r` is the row's place in the parameters. */
VQC_INLINE void quantize_span(const vqc_f32_at *x, size_t r, size_t c0, size_t c1, const params *p,
                              enum layout layout, enum vqc_code code, void *q, error_lanes *lanes)
{
    for (size_t c = c0; c < c1; c++) {
        const size_t at = layout == LAYOUT_ROWS ? r : c;
        const int32_t zero_point = zero_point_at(p, at);
        const float v = x[c];
        const float t = quantize_one(v, p->inv_scale[at], zero_point, p->lo, p->hi);
        vqc_code_store(q, c, code, (int32_t)t + zero_point);
        if (lanes != NULL) {
            const size_t lane = c % VQC_LANES;
            const float err = v - t * p->scale[at];
            lanes->err2[lane] += err * err;
            lanes->ref2[lane] += v * v;
            lanes->max_abs[lane] = vqc_lane_max(fabsf(err), lanes->max_abs[lane]);
        }
    }
}

/* All quantize kernels; acc == NULL: no error sums. Lanes are flushed after the first span (at most
 * VQC_CHUNK columns of one row) that fills them with VQC_CHUNK elements or more. */
VQC_INLINE void quantize(const vqc_f32_at *x, size_t rows, size_t cols, size_t x_stride,
                         const params *p, enum layout layout, enum vqc_code code, void *q,
                         size_t q_stride, vqc_error_sums *acc)
{
    error_lanes lanes = {0};
    for (size_t r = 0; r < rows; r++) {
        void *q_row = (char *)q + r * q_stride * vqc_code_size(code);
        for (size_t c0 = 0; c0 < cols; c0 += VQC_CHUNK) {
            const size_t c1 = c0 + vqc_min_size(VQC_CHUNK, cols - c0);
            quantize_span(x + r * x_stride, r, c0, c1, p, layout, code, q_row,
                          acc != NULL ? &lanes : NULL);
            if (acc != NULL) {
                lanes.pending += c1 - c0;
                if (lanes.pending >= VQC_CHUNK)
                    error_flush(&lanes, acc);
            }
        }
    }
    if (acc != NULL)
        error_finish(&lanes, acc);
}

VQC_INLINE void dequantize(const void *q, size_t rows, size_t cols, size_t q_stride,
                           const float *scale, const int32_t *zero_points, enum layout layout,
                           enum vqc_code code, vqc_f32_at *x, size_t x_stride)
{
    for (size_t r = 0; r < rows; r++) {
        const void *q_row = (const char *)q + r * q_stride * vqc_code_size(code);
        for (size_t c = 0; c < cols; c++) {
            const size_t at = layout == LAYOUT_ROWS ? r : c;
            const int32_t zero_point = zero_points != NULL ? zero_points[at] : 0;
            x[r * x_stride + c] = (float)(vqc_code_load(q_row, c, code) - zero_point) * scale[at];
        }
    }
}

#define QUANTIZE_FUNCTIONS(t, T, code)                                                             \
    void vqc_f32_##t##_quantize__c(const float *x, size_t n, float inv_scale, int32_t zero_point,  \
                                   int32_t lo, int32_t hi, T *q)                                   \
    {                                                                                              \
        const params p = {NULL, &inv_scale, &zero_point, lo, hi};                                  \
        quantize(x, 1, n, n, &p, LAYOUT_ROWS, code, q, n, NULL);                                   \
    }                                                                                              \
    void vqc_f32_##t##_quantize_rows__c(const float *x, size_t rows, size_t cols, size_t x_stride, \
                                        const float *inv_scale, const int32_t *zero_point,         \
                                        int32_t lo, int32_t hi, T *q, size_t q_stride)             \
    {                                                                                              \
        const params p = {NULL, inv_scale, zero_point, lo, hi};                                    \
        quantize(x, rows, cols, x_stride, &p, LAYOUT_ROWS, code, q, q_stride, NULL);               \
    }                                                                                              \
    void vqc_f32_##t##_quantize_cols__c(const float *x, size_t rows, size_t cols, size_t x_stride, \
                                        const float *inv_scale, const int32_t *zero_point,         \
                                        int32_t lo, int32_t hi, T *q, size_t q_stride)             \
    {                                                                                              \
        const params p = {NULL, inv_scale, zero_point, lo, hi};                                    \
        quantize(x, rows, cols, x_stride, &p, LAYOUT_COLS, code, q, q_stride, NULL);               \
    }                                                                                              \
    void vqc_f32_##t##_quantize_error__c(const float *x, size_t n, float scale, float inv_scale,   \
                                         int32_t zero_point, int32_t lo, int32_t hi, T *q,         \
                                         vqc_error_sums *acc)                                      \
    {                                                                                              \
        const params p = {&scale, &inv_scale, &zero_point, lo, hi};                                \
        quantize(x, 1, n, n, &p, LAYOUT_ROWS, code, q, n, acc);                                    \
    }                                                                                              \
    void vqc_f32_##t##_quantize_error_rows__c(                                                     \
        const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,             \
        const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, T *q,           \
        size_t q_stride, vqc_error_sums *acc)                                                      \
    {                                                                                              \
        const params p = {scale, inv_scale, zero_point, lo, hi};                                   \
        quantize(x, rows, cols, x_stride, &p, LAYOUT_ROWS, code, q, q_stride, acc);                \
    }                                                                                              \
    void vqc_f32_##t##_quantize_error_cols__c(                                                     \
        const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,             \
        const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, T *q,           \
        size_t q_stride, vqc_error_sums *acc)                                                      \
    {                                                                                              \
        const params p = {scale, inv_scale, zero_point, lo, hi};                                   \
        quantize(x, rows, cols, x_stride, &p, LAYOUT_COLS, code, q, q_stride, acc);                \
    }                                                                                              \
    void vqc_##t##_f32_dequantize__c(const T *q, size_t n, float scale, int32_t zero_point,        \
                                     float *x)                                                     \
    {                                                                                              \
        dequantize(q, 1, n, n, &scale, &zero_point, LAYOUT_ROWS, code, x, n);                      \
    }                                                                                              \
    void vqc_##t##_f32_dequantize_rows__c(const T *q, size_t rows, size_t cols, size_t q_stride,   \
                                          const float *scale, const int32_t *zero_point, float *x, \
                                          size_t x_stride)                                         \
    {                                                                                              \
        dequantize(q, rows, cols, q_stride, scale, zero_point, LAYOUT_ROWS, code, x, x_stride);    \
    }                                                                                              \
    void vqc_##t##_f32_dequantize_cols__c(const T *q, size_t rows, size_t cols, size_t q_stride,   \
                                          const float *scale, const int32_t *zero_point, float *x, \
                                          size_t x_stride)                                         \
    {                                                                                              \
        dequantize(q, rows, cols, q_stride, scale, zero_point, LAYOUT_COLS, code, x, x_stride);    \
    }

QUANTIZE_FUNCTIONS(u8, uint8_t, VQC_CODE_U8)
QUANTIZE_FUNCTIONS(s8, int8_t, VQC_CODE_S8)
QUANTIZE_FUNCTIONS(u16, uint16_t, VQC_CODE_U16)
QUANTIZE_FUNCTIONS(s16, int16_t, VQC_CODE_S16)

/* Squared error of one row, lanes flushed every VQC_CHUNK columns. */
static double sse_row(const vqc_f32_at *x, size_t cols, float scale, float inv_scale,
                      int32_t zero_point, int32_t lo, int32_t hi)
{
    double total = 0.0;
    for (size_t c0 = 0; c0 < cols; c0 += VQC_CHUNK) {
        float lanes[VQC_LANES] = {0};
        const size_t c1 = c0 + vqc_min_size(VQC_CHUNK, cols - c0);
        for (size_t c = c0; c < c1; c++) {
            const float err = x[c] - quantize_one(x[c], inv_scale, zero_point, lo, hi) * scale;
            lanes[c % VQC_LANES] += err * err;
        }
        total += vqc_lanes_sum(lanes);
    }
    return total;
}

double vqc_f32_quantize_sse__c(const float *x, size_t n, float scale, float inv_scale,
                               int32_t zero_point, int32_t lo, int32_t hi)
{
    return sse_row(x, n, scale, inv_scale, zero_point, lo, hi);
}

void vqc_f32_quantize_sse_rows__c(const float *x, size_t rows, size_t cols, size_t x_stride,
                                  const float *scale, const float *inv_scale,
                                  const int32_t *zero_point, int32_t lo, int32_t hi, double *sse)
{
    const params p = {scale, inv_scale, zero_point, lo, hi};
    for (size_t r = 0; r < rows; r++)
        sse[r] +=
            sse_row(x + r * x_stride, cols, scale[r], inv_scale[r], zero_point_at(&p, r), lo, hi);
}

/* Each column has one float accumulator that is flushed every VQC_CHUNK / VQC_LANES rows, so that
 * it holds as many terms as a lane of the other reductions. */
void vqc_f32_quantize_sse_cols__c(const float *x, size_t rows, size_t cols, size_t x_stride,
                                  const float *scale, const float *inv_scale,
                                  const int32_t *zero_point, int32_t lo, int32_t hi, double *sse)
{
    const params p = {scale, inv_scale, zero_point, lo, hi};
    for (size_t c = 0; c < cols; c++) {
        for (size_t r0 = 0; r0 < rows; r0 += VQC_CHUNK / VQC_LANES) {
            const size_t r1 = r0 + vqc_min_size(VQC_CHUNK / VQC_LANES, rows - r0);
            float sum = 0.0f;
            for (size_t r = r0; r < r1; r++) {
                const float v = ((const vqc_f32_at *)x)[r * x_stride + c];
                const float t = quantize_one(v, inv_scale[c], zero_point_at(&p, c), lo, hi);
                const float err = v - t * scale[c];
                sum += err * err;
            }
            sse[c] += (double)sum;
        }
    }
}
