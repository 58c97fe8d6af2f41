/* Nearest-codeword kernels (kernels/vq_kernel_types.h) on every available ISA against the C
 * reference, with every array against a guard page. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/test_kernels.h"

enum { CAPACITY = 1 << 20, CANARY = 0x5A, CANARY_BYTES = 64 };
enum region_name { POINTS, BOOK, CODES_WANT, CODES_GOT, VALUES_WANT, VALUES_GOT, REGIONS };
static uint8_t *regions[REGIONS]; /* first accessible byte; inaccessible from CAPACITY on */

/* An array that ends at the guard page, or `shift` items before it. */
static void *array(enum region_name name, size_t count, size_t item_bytes, size_t shift)
{
    if (regions[name] == NULL)
        regions[name] = test_guarded(CAPACITY);
    if ((count + shift) * item_bytes + CANARY_BYTES > CAPACITY)
        exit(1);
    uint8_t *data = regions[name] + CAPACITY - (count + shift) * item_bytes;
    memset(data - CANARY_BYTES, CANARY, CANARY_BYTES);
    memset(data, 0, count * item_bytes);
    memset(data + count * item_bytes, CANARY, shift * item_bytes);
    return data;
}

static bool intact(const void *data, size_t size_bytes, size_t shift_bytes)
{
    const uint8_t *bytes = data;
    for (size_t i = 1; i <= CANARY_BYTES; i++)
        if (bytes[-(ptrdiff_t)i] != CANARY)
            return false;
    for (size_t i = 0; i < shift_bytes; i++)
        if (bytes[size_bytes + i] != CANARY)
            return false;
    return true;
}

/* Small integers, where many codewords are equally near; normal numbers; or all kinds. */
static float draw(int class)
{
    static const float specials[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 0x1p-149f, 3e38f};
    if (class == 0)
        return (float)test_below(5) - 2.0f;
    if (class == 2 && test_below(10) == 0)
        return specials[test_below(sizeof specials / sizeof *specials)];
    return ldexpf((float)(test_uniform() * 2.0 - 1.0), (int)test_below(6));
}

static size_t dim_of(size_t index)
{
    switch (index) {
    case VQC_INDEX_f32_nearest_1:
        return 1;
    case VQC_INDEX_f32_nearest_2:
        return 2;
    case VQC_INDEX_f32_nearest_4:
        return 4;
    case VQC_INDEX_f32_nearest_8:
        return 8;
    case VQC_INDEX_f32_nearest_16:
        return 16;
    default:
        return 1 + test_below(test_below(8) == 0 ? VQC_NEAREST_MAX_DIM : 20);
    }
}

static void test_nearest(size_t index, const test_isa *isas, size_t isa_count, size_t n,
                         size_t count)
{
    const char *name = vqc_kernel_infos[index].name;
    const size_t dim = dim_of(index), shift = test_below(4);
    const size_t panels = (n + VQC_NEAREST_POINTS - 1) / VQC_NEAREST_POINTS;
    const size_t blocks = (count + VQC_NEAREST_CODEWORDS - 1) / VQC_NEAREST_CODEWORDS;
    const size_t words = blocks * VQC_NEAREST_CODEWORDS;
    const int class = (int)test_below(3);
    float *x = array(POINTS, panels * VQC_NEAREST_POINTS * dim, sizeof *x, shift);
    float *book = array(BOOK, words * (dim + 1), sizeof *book, shift);
    for (size_t i = 0; i < panels * VQC_NEAREST_POINTS * dim; i++)
        x[i] = draw(class);
    for (size_t k = 0; k < words; k++)
        for (size_t i = 0; i <= dim; i++)
            book[k / 8 * (dim + 1) * 8 + i * 8 + k % 8] = k < count ? draw(class)
                                                          : i == 0  ? INFINITY
                                                                    : 0.0f;
    uint16_t *want = array(CODES_WANT, n, sizeof *want, shift);
    float *want_values = array(VALUES_WANT, n, sizeof *want_values, shift);
    vqc_nearest job = {.x = x,
                       .n = n,
                       .dim = dim,
                       .book = book,
                       .count = count,
                       .codes = want,
                       .values = want_values};
    const bool with_values = test_below(4) != 0;
    vqc_kernel_results results;
    vqc_kernel_call(&vqc_kernels__c, index, &(vqc_kernel_args){.nearest = &job}, &results);
    for (size_t k = 0; k < isa_count; k++) {
        uint16_t *got = array(CODES_GOT, n, sizeof *got, shift);
        float *got_values = array(VALUES_GOT, n, sizeof *got_values, shift);
        job.codes = got;
        job.values = with_values ? got_values : NULL;
        vqc_kernel_call(isas[k].table, index, &(vqc_kernel_args){.nearest = &job}, &results);
        if (test_breaks(name) && n > 0)
            got[n / 2] ^= 1;
        test_check(
            memcmp(want, got, n * sizeof *got) == 0 &&
                (!with_values || memcmp(want_values, got_values, n * sizeof *got_values) == 0),
            "%s %s: n %zu dim %zu count %zu data %d: differs from C", name, isas[k].name, n, dim,
            count, class);
        test_check(intact(got, n * sizeof *got, shift * sizeof *got) &&
                       intact(got_values, n * sizeof *got_values, shift * sizeof *got_values),
                   "%s %s: n %zu dim %zu count %zu: writes outside", name, isas[k].name, n, dim,
                   count);
    }
}

void test_nearest_kernel(size_t index, const test_isa *isas, size_t isa_count)
{
    for (size_t n = 0; n <= 67; n++)
        for (size_t repeat = 0; repeat < 6; repeat++)
            test_nearest(index, isas, isa_count, n, 1 + test_below(repeat < 3 ? 20 : 300));
    test_nearest(index, isas, isa_count, 1500, 256);
    test_nearest(index, isas, isa_count, 600, 1111);
}

/* Points on a line, codewords at 0, 10, 20 and 20 again: the nearest one by hand. */
void test_nearest_closed_forms(void)
{
    static const float points[VQC_NEAREST_POINTS] = {-3.0f, 4.0f, 6.0f, 14.0f, 16.0f, 50.0f};
    static const uint16_t want[] = {0, 0, 1, 1, 2, 2};
    static const float book[2 * VQC_NEAREST_CODEWORDS] = {0.0f,     100.0f,   400.0f,   400.0f,
                                                          INFINITY, INFINITY, INFINITY, INFINITY,
                                                          0.0f,     -20.0f,   -40.0f,   -40.0f};
    uint16_t codes[6];
    float values[6];
    const vqc_nearest job = {
        .x = points, .n = 6, .dim = 1, .book = book, .count = 4, .codes = codes, .values = values};
    vqc_kernels__c.f32_nearest(&job);
    test_check(memcmp(codes, want, sizeof want) == 0, "f32_nearest: wrong codes");
    test_check(values[1] == 0.0f && values[2] == 100.0f - 120.0f,
               "f32_nearest: values %g and %g, expected 0 and -20", (double)values[1],
               (double)values[2]);
}
