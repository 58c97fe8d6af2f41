/* float32 product kernels (kernels/gemm_types.h) on every available ISA against the C reference,
 * with every array against a guard page. */
#include <math.h>
#include <string.h>

#include "tests/kernels/test_kernels.h"

enum { CAPACITY = 4 << 20, CANARY = 0x5A, CANARY_BYTES = 64 };
enum region_name { LEFT, RIGHT, ROW_BIAS, COL_BIAS, RESIDUAL, WANT, GOT, REGIONS };
static uint8_t *regions[REGIONS]; /* first accessible byte; inaccessible from CAPACITY on */

/* An array of floats that ends at the guard page, or `shift` floats before it. */
static float *array(enum region_name name, size_t count, size_t shift)
{
    if (regions[name] == NULL)
        regions[name] = test_guarded(CAPACITY);
    uint8_t *data = regions[name] + CAPACITY - (count + shift) * sizeof(float);
    memset(data - CANARY_BYTES, CANARY, CANARY_BYTES);
    memset(data + count * sizeof(float), CANARY, shift * sizeof(float));
    return (float *)(void *)data;
}

static bool intact(const float *data, size_t count, size_t shift)
{
    const uint8_t *bytes = (const uint8_t *)data;
    for (size_t i = 1; i <= CANARY_BYTES; i++)
        if (bytes[-(ptrdiff_t)i] != CANARY)
            return false;
    for (size_t i = 0; i < shift * sizeof(float); i++)
        if (bytes[count * sizeof(float) + i] != CANARY)
            return false;
    return true;
}

/* Numbers of very different size, so that the order of the additions shows; wild: also infinities,
 * NaN and denormals. */
static void fill(float *x, size_t n, bool wild)
{
    static const float specials[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 0x1p-149f, 3e38f};
    for (size_t i = 0; i < n; i++) {
        x[i] = ldexpf((float)(test_uniform() * 2.0 - 1.0), (int)test_below(24) - 12);
        if (wild && test_below(12) == 0)
            x[i] = specials[test_below(sizeof specials / sizeof *specials)];
    }
}

static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void test_gemm(const test_isa *isa, size_t m, size_t n, size_t k)
{
    static const size_t heights[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 13};
    const size_t mr = heights[test_below(sizeof heights / sizeof *heights)];
    const size_t form = test_below(3), shift = test_below(4), stride = n + test_below(3),
                 pad = test_below(5);
    const size_t panels = (n + VQC_GEMM_COLS - 1) / VQC_GEMM_COLS, cols = panels * VQC_GEMM_COLS;
    const bool wild = test_below(4) == 0, rows_of_b = test_below(2) == 0;
    vqc_gemm_block g = {.m = m, .n = n, .k = k, .mr = mr, .c_stride = stride};
    size_t a_count;
    if (form == 0) { /* packed */
        g.a_row = 1, g.a_step = mr, g.a_panel = mr * k;
        a_count = (m + mr - 1) / mr * mr * k;
    } else if (form == 1) { /* row-major */
        g.a_row = k + pad, g.a_step = 1, g.a_panel = mr * g.a_row;
        a_count = m > 0 && k > 0 ? (m - 1) * g.a_row + k : 0;
    } else { /* transposed */
        g.a_row = 1, g.a_step = m + pad, g.a_panel = mr;
        a_count = m > 0 && k > 0 ? (k - 1) * g.a_step + m : 0;
    }
    g.b_step = rows_of_b ? cols + pad : VQC_GEMM_COLS;
    g.b_panel = rows_of_b ? VQC_GEMM_COLS : VQC_GEMM_COLS * k;
    const size_t b_count = k == 0 ? 0 : rows_of_b ? (k - 1) * g.b_step + cols : cols * k;
    const size_t c_count = m > 0 && n > 0 ? (m - 1) * stride + n : 0;
    float *a = array(LEFT, a_count, shift), *b = array(RIGHT, b_count, shift);
    float *row_bias = array(ROW_BIAS, m, shift), *col_bias = array(COL_BIAS, n, shift);
    float *residual = array(RESIDUAL, c_count, shift);
    fill(a, a_count, wild);
    fill(b, b_count, wild);
    fill(row_bias, m, wild);
    fill(col_bias, n, wild);
    fill(residual, c_count, wild);
    g.a = a;
    g.b = b;
    g.accumulate = test_below(3) == 0;
    g.row_bias = test_below(2) == 0 ? row_bias : NULL;
    g.col_bias = test_below(2) == 0 ? col_bias : NULL;
    g.residual = test_below(3) == 0 ? residual : NULL;
    g.clamp = test_below(2) == 0;
    g.lo = test_below(2) == 0 ? 0.0f : -2.0f;
    g.hi = test_below(2) == 0 ? INFINITY : 6.0f;
    float *want = array(WANT, c_count, shift);
    fill(want, c_count, false);
    float *got = array(GOT, c_count, shift);
    memcpy(got, want, c_count * sizeof *got);
    g.c = want;
    vqc_kernels__c.f32_gemm(&g);
    g.c = got;
    isa->table->f32_gemm(&g);
    if (test_breaks("f32_gemm") && c_count > 0)
        got[c_count / 2] += 1.0f;
    test_check(same(want, got, c_count) && intact(got, c_count, shift),
               "f32_gemm %s: m %zu n %zu k %zu mr %zu form %zu%s: differs from C or writes outside",
               isa->name, m, n, k, mr, form, rows_of_b ? " B in rows" : "");
}

static void test_taps(const test_isa *isa, size_t n, size_t taps)
{
    enum { TAPS = 64, REACH = 300 };
    size_t offsets[TAPS], reach = 0;
    const size_t shift = test_below(4);
    const bool wild = test_below(4) == 0;
    for (size_t t = 0; t < taps; t++) {
        offsets[t] = test_below(REACH);
        reach = offsets[t] > reach ? offsets[t] : reach;
    }
    const size_t x_count = n > 0 && taps > 0 ? n + reach : 0;
    float *x = array(LEFT, x_count, shift), *w = array(RIGHT, taps, shift);
    float *want = array(WANT, n, shift), *got = array(GOT, n, shift);
    fill(x, x_count, wild);
    fill(w, taps, wild);
    vqc_taps_row r = {.x = x,
                      .offset = offsets,
                      .weight = w,
                      .taps = taps,
                      .bias = (float)test_uniform(),
                      .clamp = test_below(2) == 0,
                      .lo = 0.0f,
                      .hi = 6.0f,
                      .out = want,
                      .n = n};
    vqc_kernels__c.f32_taps(&r);
    r.out = got;
    isa->table->f32_taps(&r);
    if (test_breaks("f32_taps") && n > 0)
        got[n / 2] += 1.0f;
    test_check(same(want, got, n) && intact(got, n, shift),
               "f32_taps %s: n %zu taps %zu: differs from C or writes outside", isa->name, n, taps);
}

/* out_w outputs a row of a random depthwise convolution. */
static void test_depthwise(const test_isa *isa, size_t out_w)
{
    static float scratch[1 << 16];
    const size_t shift = test_below(4);
    vqc_depthwise d = {.kernel_h = 1 + test_below(5),
                       .kernel_w = 1 + test_below(5),
                       .stride_h = 1 + test_below(3),
                       .stride_w = 1 + test_below(3),
                       .dilation_h = 1 + test_below(2),
                       .dilation_w = 1 + test_below(2),
                       .pad_top = test_below(4),
                       .pad_left = test_below(4),
                       .out_h = test_below(7),
                       .out_w = out_w + 1,
                       .channels = 1 + test_below(8),
                       .clamp = test_below(2) == 0,
                       .hi = 6.0f,
                       .scratch = scratch};
    const bool wild = test_below(4) == 0;
    d.in_h = 1 + test_below(d.out_h * d.stride_h + d.kernel_h);
    d.in_w = 1 + test_below(d.out_w * d.stride_w + d.kernel_w);
    d.x_plane = d.in_h * d.in_w + test_below(3);
    d.out_plane = d.out_h * d.out_w + test_below(3);
    const size_t taps = d.kernel_h * d.kernel_w;
    const size_t x_count = (d.channels - 1) * d.x_plane + d.in_h * d.in_w;
    const size_t count = (d.channels - 1) * d.out_plane + d.out_h * d.out_w;
    float *x = array(LEFT, x_count, shift), *w = array(RIGHT, d.channels * taps + 8, shift);
    float *want = array(WANT, count, shift), *got = array(GOT, count, shift);
    fill(x, x_count, wild);
    fill(w, d.channels * taps + 8, wild);
    d.x = x;
    d.weight = w;
    d.bias = test_below(2) == 0 ? w + d.channels * taps : NULL;
    memset(want, 0, count * sizeof *want);
    memset(got, 0, count * sizeof *got);
    d.out = want;
    vqc_kernels__c.f32_depthwise(&d);
    d.out = got;
    isa->table->f32_depthwise(&d);
    if (test_breaks("f32_depthwise") && count > 0)
        got[count / 2] += 1.0f;
    test_check(vqc_depthwise_floats(&d) <= sizeof scratch / sizeof *scratch &&
                   same(want, got, count) && intact(got, count, shift),
               "f32_depthwise %s: %zu channels, %zu x %zu to %zu x %zu, kernel %zu x %zu: differs "
               "from C or writes outside",
               isa->name, d.channels, d.in_h, d.in_w, d.out_h, d.out_w, d.kernel_h, d.kernel_w);
}

static void test_pack(const test_isa *isa, size_t rows, size_t cols)
{
    static const size_t widths[] = {1, 4, 5, 6, 12, 16};
    const size_t width = widths[test_below(sizeof widths / sizeof *widths)];
    const size_t stride = cols + test_below(4), shift = test_below(4);
    const size_t x_count = rows > 0 && cols > 0 ? (rows - 1) * stride + cols : 0;
    const size_t count = (cols + width - 1) / width * width * rows;
    float *x = array(LEFT, x_count, shift);
    float *want = array(WANT, count, shift), *got = array(GOT, count, shift);
    fill(x, x_count, true);
    vqc_kernels__c.f32_gemm_pack(x, rows, cols, stride, width, want);
    isa->table->f32_gemm_pack(x, rows, cols, stride, width, got);
    if (test_breaks("f32_gemm_pack") && count > 0)
        got[count / 2] += 1.0f;
    test_check(same(want, got, count) && intact(got, count, shift),
               "f32_gemm_pack %s: rows %zu cols %zu width %zu: differs from C or writes outside",
               isa->name, rows, cols, width);
}

static void test_copy(const test_isa *isa, size_t rows, size_t cols)
{
    const size_t step = 1 + test_below(3), shift = test_below(4);
    const size_t width = cols > 0 ? (cols - 1) * step + 1 : 0;
    const size_t x_stride = width + test_below(4), out_stride = cols + test_below(4);
    const size_t x_count = rows > 0 && cols > 0 ? (rows - 1) * x_stride + width : 0;
    const size_t count = rows > 0 && cols > 0 ? (rows - 1) * out_stride + cols : 0;
    float *x = array(LEFT, x_count, shift);
    float *want = array(WANT, count, shift), *got = array(GOT, count, shift);
    fill(x, x_count, true);
    fill(want, count, false);
    memcpy(got, want, count * sizeof *got);
    vqc_kernels__c.f32_copy_rows(x, rows, cols, x_stride, step, want, out_stride);
    isa->table->f32_copy_rows(x, rows, cols, x_stride, step, got, out_stride);
    if (test_breaks("f32_copy_rows") && count > 0)
        got[count / 2] += 1.0f;
    test_check(same(want, got, count) && intact(got, count, shift),
               "f32_copy_rows %s: rows %zu cols %zu step %zu: differs from C or writes outside",
               isa->name, rows, cols, step);
}

static void test_gather(const test_isa *isa, size_t k)
{
    enum { STEPS = 80, REACH = 500 };
    size_t offset[STEPS], start[VQC_GEMM_COLS], column[VQC_GEMM_COLS];
    size_t pieces = 0, reach = 0;
    static const size_t widths[] = {0, 0, 4, 8}; /* of rows; 0: any pieces */
    const size_t shift = test_below(4), likely = 1 + test_below(16), width = widths[test_below(4)];
    for (size_t j = 0; j < VQC_GEMM_COLS; j++)
        if (j == 0 || (width > 0 ? j % width == 0 : test_below(likely) == 0)) {
            column[pieces] = j;
            start[pieces++] = test_below(REACH);
        }
    for (size_t p = 0; p < k; p++) {
        offset[p] = test_below(REACH);
        for (size_t s = 0; s < pieces; s++)
            reach = offset[p] + start[s] > reach ? offset[p] + start[s] : reach;
    }
    const size_t x_count = reach + VQC_GEMM_COLS, count = k * VQC_GEMM_COLS;
    float *x = array(LEFT, x_count, shift);
    float *want = array(WANT, count, shift), *got = array(GOT, count, shift);
    fill(x, x_count, true);
    vqc_gemm_gather g = {.x = x,
                         .offset = offset,
                         .k = k,
                         .start = start,
                         .column = column,
                         .pieces = pieces,
                         .out = want};
    vqc_kernels__c.f32_gemm_gather(&g);
    g.out = got;
    isa->table->f32_gemm_gather(&g);
    if (test_breaks("f32_gemm_gather") && count > 0)
        got[count / 2] += 1.0f;
    test_check(same(want, got, count) && intact(got, count, shift),
               "f32_gemm_gather %s: k %zu pieces %zu: differs from C or writes outside", isa->name,
               k, pieces);
}

/* What an ISA likes most is within what buffers are made for. */
static void test_rows(const test_isa *isa)
{
    size_t rows = isa->table->f32_gemm_rows();
    if (test_breaks("f32_gemm_rows"))
        rows = 0;
    test_check(rows >= 4 && rows <= VQC_GEMM_MAX_ROWS, "f32_gemm_rows %s: %zu", isa->name, rows);
}

/* The reference against exact small products. */
static void test_closed_form(void)
{
    const float a[6] = {1, 2, 3, 4, 5, 6}; /* [2, 3] */
    float b[3 * VQC_GEMM_COLS] = {0}, c[4] = {100, 100, 100, 100};
    b[0] = 1, b[1] = 2, b[16] = 3, b[17] = 4, b[32] = 5, b[33] = 6; /* [3, 2] */
    vqc_gemm_block g = {.m = 2,
                        .n = 2,
                        .k = 3,
                        .a = a,
                        .mr = 2,
                        .a_row = 3,
                        .a_step = 1,
                        .a_panel = 6,
                        .b = b,
                        .b_step = 16,
                        .b_panel = 48,
                        .c = c,
                        .c_stride = 2,
                        .row_bias = (const float[]){0.5f, -60.0f},
                        .clamp = true,
                        .hi = 28.0f};
    vqc_kernels__c.f32_gemm(&g);
    test_check(c[0] == 22.5f && c[1] == 28.0f && c[2] == 0.0f && c[3] == 4.0f,
               "f32_gemm c: got %g %g %g %g", (double)c[0], (double)c[1], (double)c[2],
               (double)c[3]);
}

void test_gemm_kernel(size_t index, const test_isa *isas, size_t isa_count)
{
    static const size_t layers[][3] = {{32, 196, 27}, {96, 49, 160}, {160, 49, 96}, {1, 1000, 128},
                                       {64, 10, 400}, {10, 1, 84},   {3, 130, 70},  {128, 128, 64}};
    const vqc_kernel_family f = vqc_kernel_infos[index].family;
    if (f == VQC_FAMILY_GEMM)
        test_closed_form();
    for (size_t i = 0; i < isa_count; i++) {
        if (f == VQC_FAMILY_GEMM_ROWS)
            test_rows(&isas[i]);
        for (size_t n = 0; n <= 67; n++) {
            for (size_t repeat = 0; repeat < 12; repeat++) {
                if (f == VQC_FAMILY_GEMM)
                    test_gemm(&isas[i], test_below(28), n, test_below(30));
                else if (f == VQC_FAMILY_TAPS)
                    test_taps(&isas[i], n + test_below(3) * 64, test_below(30));
                else if (f == VQC_FAMILY_DEPTHWISE)
                    test_depthwise(&isas[i], n);
                else if (f == VQC_FAMILY_GEMM_PACK)
                    test_pack(&isas[i], test_below(20), n);
                else if (f == VQC_FAMILY_COPY_ROWS)
                    test_copy(&isas[i], test_below(12), n);
                else if (f == VQC_FAMILY_GEMM_GATHER)
                    test_gather(&isas[i], n);
            }
        }
        for (size_t l = 0; f == VQC_FAMILY_GEMM && l < sizeof layers / sizeof *layers; l++)
            for (size_t repeat = 0; repeat < 4; repeat++)
                test_gemm(&isas[i], layers[l][0], layers[l][1], layers[l][2]);
        if (f == VQC_FAMILY_TAPS)
            test_taps(&isas[i], 112 * 114, 9);
    }
}
