/* Integer kernels (kernels/kernel_list_int.h) on every available ISA against the C reference, with
 * every array against a guard page. */
#include "tests/kernels/test_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY = 4 << 20, CANARY = 0x5A, CANARY_BYTES = 64 };
enum region_name { LEFT, RIGHT, SCALE, BIAS, WANT, GOT, REGIONS };
static uint8_t *regions[REGIONS]; /* first accessible byte; inaccessible from CAPACITY on */

/* An array that ends at the guard page, or `shift` bytes before it. */
static void *array(enum region_name name, size_t size_bytes, size_t shift)
{
    if (regions[name] == NULL)
        regions[name] = test_guarded(CAPACITY);
    uint8_t *data = regions[name] + CAPACITY - size_bytes - shift;
    memset(data - CANARY_BYTES, CANARY, CANARY_BYTES);
    memset(data + size_bytes, CANARY, shift);
    return data;
}

static bool intact(const void *data, size_t size_bytes, size_t shift)
{
    const uint8_t *bytes = data;
    for (size_t i = 1; i <= CANARY_BYTES; i++)
        if (bytes[-(ptrdiff_t)i] != CANARY)
            return false;
    for (size_t i = 0; i < shift; i++)
        if (bytes[size_bytes + i] != CANARY)
            return false;
    return true;
}

static void fill_random(void *data, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        ((uint8_t *)data)[i] = (uint8_t)(test_random() >> 40);
}

/* Packed values: what 8-bit codes minus zero points can be, extremes often. */
static void fill_words(int16_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const size_t kind = test_below(4);
        words[i] = (int16_t)(kind == 0 ? 255 : kind == 1 ? -255 : (int)test_below(511) - 255);
    }
}

static float draw_scale(void)
{
    static const float special[] = {0.0f, INFINITY, NAN, -1.0f, 0x1p-149f, 3e38f};
    const size_t kind = test_below(20);
    if (kind < sizeof special / sizeof *special)
        return special[kind];
    return kind < 12 ? ldexpf(1.0f, -(int)test_below(12)) : (float)(test_uniform() * 0.01);
}

/* Sums near the middle of codes, exact ties at scales that are powers of two, extremes. */
static int32_t draw_sum(void)
{
    const size_t kind = test_below(4);
    const uint32_t bits = (uint32_t)(test_random() >> 32);
    int32_t any;
    memcpy(&any, &bits, sizeof any);
    return kind == 0 ? any : (int32_t)test_below(4000) - 2000;
}

static float draw_float(void)
{
    const size_t kind = test_below(8);
    const uint32_t bits = (uint32_t)(test_random() >> 32);
    float any;
    memcpy(&any, &bits, sizeof any);
    return kind == 0  ? any
           : kind < 5 ? (float)((int)test_below(1200) - 600) * 0.5f
                      : (float)test_below(999);
}

/* One case: what the kernel is called with and the size of its output. */
typedef struct int_case {
    vqc_kernel_args args;
    size_t out_bytes;
    size_t shift; /* of the output; a multiple of its element size, or any for bytes */
} int_case;

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static void draw_pack(int_case *t, bool by_rows, size_t rows, size_t cols, int32_t *zero)
{
    static const int widths[] = {VQC_INT_ROWS, VQC_INT_COLS, VQC_INT_COLS, 5};
    const size_t stride = cols + test_below(3) * test_below(20);
    const size_t size_bytes = rows == 0 || cols == 0 ? 0 : (rows - 1) * stride + cols;
    const int width = widths[test_below(4)];
    const size_t depth = by_rows ? cols : rows, lines = by_rows ? rows : cols;
    const size_t panel = round_up(depth, 2) * (size_t)width + test_below(2) * 8;
    uint8_t *x = array(LEFT, size_bytes, test_below(40));
    fill_random(x, size_bytes);
    t->args = (vqc_kernel_args){.rows = rows,
                                .cols = cols,
                                .in = x,
                                .in_stride = stride,
                                .width = width,
                                .zero_point = zero,
                                .out_stride = panel};
    t->out_bytes = round_up(lines, (size_t)width) / (size_t)width * panel * sizeof(int16_t);
    t->shift = test_below(9) * 2;
}

static void draw_requantize(int_case *t, bool by_rows, size_t rows, size_t cols, int32_t *zero,
                            bool to_float)
{
    const size_t stride = cols + test_below(2) * test_below(20),
                 out_stride = cols + test_below(2) * test_below(20);
    const size_t elements = rows == 0 || cols == 0 ? 0 : (rows - 1) * stride + cols;
    const size_t params = by_rows ? rows : cols, out_size = to_float ? 4 : 1;
    int32_t *sums = array(LEFT, elements * 4, test_below(9) * 4);
    float *scale = array(SCALE, params * 4, test_below(9) * 4);
    int32_t *bias = array(BIAS, params * 4, test_below(9) * 4);
    for (size_t i = 0; i < elements; i++)
        sums[i] = draw_sum();
    for (size_t i = 0; i < params; i++) {
        scale[i] = draw_scale();
        bias[i] = draw_sum();
    }
    t->args = (vqc_kernel_args){.rows = rows,
                                .cols = cols,
                                .in = sums,
                                .in_stride = stride,
                                .scale = scale,
                                .bias = test_below(3) == 0 ? NULL : bias,
                                .zero_point = zero,
                                .out_stride = out_stride};
    if (to_float) { /* the bits of sums as floats are all kinds of floats; no NaN, whose bits differ
                     */
        for (size_t i = 0; i < params; i++) {
            const float b = draw_float();
            scale[i] = isnan(scale[i]) ? 1.0f : fminf(scale[i], 1e30f);
            memcpy(&bias[i], isfinite(b) ? &b : &scale[i], sizeof b);
        }
    }
    t->out_bytes = rows == 0 || cols == 0 ? 0 : ((rows - 1) * out_stride + cols) * out_size;
    t->shift = test_below(9) * (to_float ? 4 : 1);
}

static void draw_divide(int_case *t, size_t n, int32_t *zero)
{
    float *scale = array(SCALE, sizeof *scale, 0);
    uint8_t *x = array(LEFT, n * 4, test_below(9));
    *scale = draw_scale();
    for (size_t i = 0; i < n; i++) {
        const float value = draw_float();
        memcpy(x + i * 4, &value, sizeof value);
    }
    t->args = (vqc_kernel_args){.cols = n, .in = x, .scale = scale, .zero_point = zero};
    t->out_bytes = n;
    t->shift = test_below(30);
}

static void draw_gemm(int_case *t, size_t rows, size_t cols, size_t pairs)
{
    const size_t left_panel = pairs * 2 * VQC_INT_ROWS + test_below(2) * 24;
    const size_t right_panel = pairs * 2 * VQC_INT_COLS + test_below(2) * 64;
    const size_t left = round_up(rows, VQC_INT_ROWS) / VQC_INT_ROWS * left_panel;
    const size_t right = round_up(cols, VQC_INT_COLS) / VQC_INT_COLS * right_panel;
    const size_t stride = cols + test_below(2) * test_below(20);
    int16_t *a = array(LEFT, left * 2, test_below(5) * 2),
            *b = array(RIGHT, right * 2, test_below(5) * 2);
    fill_words(a, left);
    fill_words(b, right);
    t->args = (vqc_kernel_args){.rows = rows,
                                .cols = cols,
                                .depth = pairs,
                                .in = a,
                                .in_stride = left_panel,
                                .in2 = b,
                                .in2_stride = right_panel,
                                .accumulate = test_below(2) == 0,
                                .out_stride = stride};
    t->out_bytes = rows == 0 || cols == 0 ? 0 : ((rows - 1) * stride + cols) * 4;
    t->shift = test_below(9) * 4;
}

static void draw_taps(int_case *t, size_t n, size_t taps)
{
    static int32_t offsets[64];
    const size_t padded = round_up(n, 16), elements = padded + 50;
    int16_t *x = array(LEFT, elements * 2, test_below(5) * 2);
    int16_t *weights = array(RIGHT, taps * 2, test_below(5) * 2);
    fill_words(x, elements);
    fill_words(weights, taps);
    for (size_t i = 0; i < taps; i++)
        offsets[i] = (int32_t)test_below(51);
    t->args =
        (vqc_kernel_args){.cols = n, .depth = taps, .in = x, .in2 = weights, .offsets = offsets};
    t->out_bytes = padded * 4;
    t->shift = test_below(9) * 4;
}

static void draw_case(const vqc_kernel_info *info, size_t rows, size_t cols, int32_t *zero,
                      int_case *t)
{
    *zero = info->kind == VQC_KIND_S8 ? (int32_t)test_below(256) - 128 : (int32_t)test_below(256);
    if (test_below(4) == 0)
        *zero = 0;
    switch (info->family) {
    case VQC_FAMILY_INT_PACK_ROWS:
    case VQC_FAMILY_INT_PACK_COLS:
        draw_pack(t, info->family == VQC_FAMILY_INT_PACK_ROWS, rows, cols, zero);
        break;
    case VQC_FAMILY_INT_REQUANTIZE_ROWS:
    case VQC_FAMILY_INT_REQUANTIZE_COLS:
    case VQC_FAMILY_INT_SCALE_COLS:
        draw_requantize(t, info->family == VQC_FAMILY_INT_REQUANTIZE_ROWS, rows, cols, zero,
                        info->family == VQC_FAMILY_INT_SCALE_COLS);
        break;
    case VQC_FAMILY_INT_DIVIDE:
        draw_divide(t, rows * cols, zero);
        break;
    case VQC_FAMILY_INT_TAPS:
        draw_taps(t, rows * cols, test_below(30));
        break;
    default:
        draw_gemm(t, rows, cols, test_below(40));
        break;
    }
}

static void test_one(size_t index, const test_isa *isas, size_t isa_count, size_t rows, size_t cols)
{
    const vqc_kernel_info *info = &vqc_kernel_infos[index];
    int32_t zero;
    int_case t = {.out_bytes = 0};
    vqc_kernel_results none = {.count = 0};

    draw_case(info, rows, cols, &zero, &t);
    uint8_t *want = array(WANT, t.out_bytes, t.shift), *got = array(GOT, t.out_bytes, t.shift);
    uint8_t *initial = malloc(t.out_bytes + 1);
    if (initial == NULL)
        exit(1);
    fill_random(initial, t.out_bytes);
    memcpy(want, initial, t.out_bytes);
    t.args.out = want;
    vqc_kernel_call(&vqc_kernels__c, index, &t.args, &none);
    for (size_t i = 0; i < isa_count; i++) {
        memcpy(got, initial, t.out_bytes);
        t.args.out = got;
        vqc_kernel_call(isas[i].table, index, &t.args, &none);
        if (test_breaks(info->name) && t.out_bytes > 0)
            got[t.out_bytes / 2] ^= 1;
        test_check(memcmp(want, got, t.out_bytes) == 0 && intact(got, t.out_bytes, t.shift) &&
                       intact(want, t.out_bytes, t.shift),
                   "%s %s: rows %zu cols %zu depth %zu width %d", info->name, isas[i].name, rows,
                   cols, t.args.depth, t.args.width);
    }
    free(initial);
}

void test_int_kernel(size_t index, const test_isa *isas, size_t isa_count)
{
    static const size_t shapes[][2] = {{1, 1000}, {7, 257}, {64, 64}, {100, 33}, {48, 96}};
    for (size_t cols = 0; cols <= 67; cols++)
        for (size_t repeat = 0; repeat < 12; repeat++)
            test_one(index, isas, isa_count, test_below(20), cols);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t repeat = 0; repeat < 4; repeat++)
            test_one(index, isas, isa_count, shapes[i][0], shapes[i][1]);
}

/* The C reference against sums and codes known in closed form. */
void test_int_closed_forms(void)
{
    enum { DEPTH = 5 };
    const vqc_kernels *k = &vqc_kernels__c;
    static const uint8_t x[2 * DEPTH] = {1, 2, 3, 4, 5, 255, 0, 255, 0, 255};
    static const int8_t w[DEPTH * 2] = {1, -1, 1, 127, 1, -128, 1, 0, 1, 2};
    int16_t left[6 * VQC_INT_ROWS], right[6 * VQC_INT_COLS];
    int32_t c[4] = {100, 100, 100, 100};

    k->u8_s16_pack_rows(x, 2, DEPTH, DEPTH, 3, VQC_INT_ROWS, left, 6 * VQC_INT_ROWS);
    k->s8_s16_pack_cols(w, DEPTH, 2, 2, 1, VQC_INT_COLS, right, 6 * VQC_INT_COLS);
    k->s16_s32_gemm(left, 6 * VQC_INT_ROWS, right, 6 * VQC_INT_COLS, 2, 2, 3, true, c, 2);
    /* rows minus 3: -2 -1 0 1 2 and 252 -3 252 -3 252; columns minus 1: 0 and -2 126 -129 -1 1 */
    test_check(c[0] == 100 && c[1] == 100 + 4 - 126 - 1 + 2, "s16_s32_gemm: %d %d", c[0], c[1]);
    test_check(c[2] == 100 && c[3] == 100 - 504 - 378 - 32508 + 3 + 252, "s16_s32_gemm: %d %d",
               c[2], c[3]);

    static const int32_t sums[6] = {5, 7, -5, 1000, -1000, 0};
    static const float half = 0.5f;
    static const uint8_t want[6] = {12, 14, 8, 255, 0, 10};
    uint8_t q[6];
    k->s32_u8_requantize_rows(sums, 1, 6, 6, NULL, &half, 10, q, 6); /* 2.5 3.5 -2.5: to even */
    test_check(memcmp(q, want, sizeof q) == 0, "s32_u8_requantize_rows: %d %d %d", q[0], q[1],
               q[2]);
}
