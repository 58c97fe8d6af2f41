/* Kernels of pruning (kernels/kernel_list_prune.h) on every available ISA against definitions of
 * their own, with the arrays against guard pages. */
#include "tests/kernels/test_kernels.h"

#include <math.h>
#include <string.h>

enum { CAPACITY = 4 << 20, CANARY = 0x3C, MOST = 200000 };

/* Memory that ends at an inaccessible page, after `size_bytes` and `shift` bytes more. */
static uint8_t *guarded(int which, size_t size_bytes, size_t shift)
{
    static uint8_t *regions[2];
    if (regions[which] == NULL)
        regions[which] = test_guarded(CAPACITY);
    return regions[which] + CAPACITY - size_bytes - shift;
}

static float value_of(const uint8_t *x, size_t i)
{
    float v;
    memcpy(&v, x + i * sizeof v, sizeof v);
    return v;
}

/* Everyday values with many ties, zeros of both signs and denormals; no NaN. */
static float any_value(bool negative)
{
    static const float odd[] = {0.0f, -0.0f, 1e-42f, -1e-42f, INFINITY, 1.0f, -1.0f, 3e38f};
    const float v = test_below(4) == 0 ? odd[test_below(8)] : (float)test_below(64) / 16.0f - 2.0f;
    return negative ? v : fabsf(v);
}

static void expect_mask(const vqc_kernel_info *info, const char *isa, const vqc_kernel_args *a,
                        const uint8_t *x)
{
    const uint8_t *mask = a->out;
    size_t wrong = 0;
    for (size_t i = 0; i < a->cols; i++) {
        size_t larger = 0, first = i - i % (size_t)a->width;
        bool kept = fabsf(value_of(x, i)) > a->a;
        if (info->family == VQC_FAMILY_GROUP_MASK) {
            for (size_t j = first; j < a->cols && j < first + (size_t)a->width; j++)
                larger +=
                    value_of(x, j) > value_of(x, i) || (j < i && value_of(x, j) >= value_of(x, i));
            kept = larger < a->depth;
        }
        wrong += mask[i] != kept;
    }
    test_check(wrong == 0 && mask[-1] == CANARY, "%s %s: n %zu, %zu of %d: %zu wrong", info->name,
               isa, a->cols, a->depth, a->width, wrong);
}

static void expect_scores(const vqc_kernel_info *info, const char *isa, const vqc_kernel_args *a,
                          const uint8_t *x)
{
    bool right = ((const uint8_t *)a->out)[-1] == CANARY;
    for (size_t r = 0; r < a->rows; r++)
        for (size_t c = 0; c < a->cols; c++) {
            const float want = fabsf(value_of(x, r * a->in_stride + c)) * a->scale[c];
            const float got = value_of(a->out, r * a->out_stride + c);
            right = right && memcmp(&want, &got, sizeof got) == 0;
        }
    test_check(right, "%s %s: rows %zu cols %zu", info->name, isa, a->rows, a->cols);
}

static uint32_t key_of(const uint8_t *x, size_t i)
{
    const float v = fabsf(value_of(x, i));
    uint32_t key;
    memcpy(&key, &v, sizeof key);
    return key;
}

static void expect_counts(const vqc_kernel_info *info, const char *isa, const vqc_kernel_args *a,
                          const uint8_t *x, size_t count)
{
    uint64_t want[VQC_COUNT_BOUNDS] = {0};
    size_t zeros = 0;
    for (size_t i = 0; i < a->cols; i++) {
        const uint32_t key = key_of(x, i);
        zeros += key == 0;
        for (size_t b = 0; b < VQC_COUNT_BOUNDS; b++)
            want[b] += key > a->bounds[b];
    }
    test_check(info->family == VQC_FAMILY_COUNT_ZERO ? count == zeros
                                                     : memcmp(want, a->counts, sizeof want) == 0,
               "%s %s: n %zu", info->name, isa, a->cols);
}

static bool gathered(const vqc_kernel_args *a, uint32_t key)
{
    return key >= a->bounds[0] && key <= a->bounds[1];
}

static void expect_keys(const vqc_kernel_info *info, const char *isa, const vqc_kernel_args *a,
                        const uint8_t *x, size_t count)
{
    const uint8_t *out = a->out;
    size_t found = 0, wrong = out[-1] != CANARY;
    for (size_t i = 0; i < a->cols; i++) {
        const uint32_t key = key_of(x, i);
        if (gathered(a, key))
            wrong += memcmp(out + 4 * found++, &key, sizeof key) != 0;
    }
    test_check(wrong == 0 && count == found, "%s %s: n %zu: %zu of %zu, %zu wrong", info->name, isa,
               a->cols, count, found, wrong);
}

static void test_one(size_t index, const test_isa *isas, size_t isa_count, size_t rows, size_t cols)
{
    static float scale[MOST];
    uint64_t counts[VQC_COUNT_BOUNDS];
    uint32_t bounds[VQC_COUNT_BOUNDS];
    const vqc_kernel_info *info = &vqc_kernel_infos[index];
    const bool scores = info->family == VQC_FAMILY_SCORE_COLS;
    const bool groups = info->family == VQC_FAMILY_GROUP_MASK;
    static const int widths[] = {2, 4, 8, 16, 3, 5, 7, 64};
    vqc_kernel_args a = {.rows = scores ? rows : 1,
                         .cols = cols,
                         .scale = scale,
                         .counts = counts,
                         .bounds = bounds};
    const bool empty = a.rows == 0 || cols == 0;
    size_t out_bytes;

    a.in_stride = cols + (scores ? test_below(20) : 0);
    a.out_stride = cols + (scores ? test_below(20) : 0);
    a.width = widths[test_below(8)];
    a.depth = 1 + test_below((size_t)a.width - 1);
    a.a = test_below(3) == 0 ? 0.0f : 0.5f;
    const size_t in_bytes = empty ? 0 : ((a.rows - 1) * a.in_stride + cols) * 4;
    uint8_t *x = guarded(0, in_bytes, test_below(9)), *out;
    for (size_t i = 0; i < in_bytes / 4; i++) {
        const float v = any_value(!groups);
        memcpy(x + i * 4, &v, sizeof v);
    }
    for (size_t i = 0; i < cols; i++)
        scale[i] = (float)test_below(100) / 7.0f;
    for (size_t b = 0; b < VQC_COUNT_BOUNDS; b++)
        bounds[b] = empty || test_below(3) == 0
                        ? (uint32_t)test_below(0x7fffffff)
                        : key_of(x, test_below(cols)) - (uint32_t)test_below(2);
    for (size_t b = 0; b < VQC_COUNT_BOUNDS; b++)
        bounds[b] &= 0x7fffffff;
    out_bytes = empty ? 0 : scores ? ((a.rows - 1) * a.out_stride + cols) * 4 : cols;
    if (info->family == VQC_FAMILY_GATHER_KEYS) { /* room for what is found, and no more */
        bounds[0] = test_below(4) == 0 ? 0 : bounds[0];
        out_bytes = 0;
        for (size_t i = 0; i < cols; i++)
            out_bytes += gathered(&a, key_of(x, i)) ? sizeof *bounds : 0;
    }
    out = guarded(1, out_bytes, test_below(9));
    a.in = x;
    a.out = out;
    for (size_t i = 0; i <= isa_count; i++) {
        const char *isa = i == isa_count ? "c" : isas[i].name;
        vqc_kernel_results results = {.count = 0};
        memset(out - 64, CANARY, out_bytes + 64);
        memset(counts, 0, sizeof counts);
        vqc_kernel_call(i == isa_count ? &vqc_kernels__c : isas[i].table, index, &a, &results);
        if (test_breaks(info->name)) {
            out[0] ^= out_bytes > 0;
            counts[7]++;
            results.count++;
        }
        if (info->family == VQC_FAMILY_GATHER_KEYS)
            expect_keys(info, isa, &a, x, results.count);
        else if (scores)
            expect_scores(info, isa, &a, x);
        else if (groups || info->family == VQC_FAMILY_THRESHOLD_MASK)
            expect_mask(info, isa, &a, x);
        else
            expect_counts(info, isa, &a, x, results.count);
    }
}

void test_prune_kernel(size_t index, const test_isa *isas, size_t isa_count)
{
    for (size_t cols = 0; cols <= 67; cols++)
        for (size_t repeat = 0; repeat < 8; repeat++)
            test_one(index, isas, isa_count, 1 + test_below(6), cols);
    test_one(index, isas, isa_count, 3, 1000);
    test_one(index, isas, isa_count, 1, 131056 + 77);
}
