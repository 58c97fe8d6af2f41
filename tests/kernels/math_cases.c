/* Math kernels (kernels/kernel_list_math.h) on every available ISA against the C reference, with
 * arrays against guard pages on either side, and the C reference against libm in double. */
#include "tests/kernels/test_kernels.h"

#include <math.h>
#include <string.h>

enum { CAPACITY = 1 << 20, CANARY = 0x5A, CANARY_BYTES = 64 };
enum region_name { X, X2, SCALE, BIAS, WANT, GOT, REGIONS };
static uint8_t *regions[REGIONS]; /* first accessible byte; inaccessible before and from CAPACITY */

/* Where an array lies: `offset` bytes from the first or the last accessible byte. */
typedef struct placement {
    bool at_end;
    size_t offset;
} placement;

typedef struct array {
    uint8_t *data;
    size_t size_bytes, before, after; /* canaries around it */
} array;

static array place(enum region_name name, size_t floats, placement where)
{
    array a = {.size_bytes = floats * sizeof(float)};
    if (regions[name] == NULL)
        regions[name] = test_guarded(CAPACITY);
    const size_t start = where.at_end ? CAPACITY - a.size_bytes - where.offset : where.offset;
    a.data = regions[name] + start;
    a.before = start < CANARY_BYTES ? start : CANARY_BYTES;
    a.after = CAPACITY - start - a.size_bytes;
    a.after = a.after < CANARY_BYTES ? a.after : CANARY_BYTES;
    memset(a.data - a.before, CANARY, a.before);
    memset(a.data + a.size_bytes, CANARY, a.after);
    return a;
}

static bool intact(const array *a)
{
    for (size_t i = 1; i <= a->before; i++)
        if (a->data[-(ptrdiff_t)i] != CANARY)
            return false;
    for (size_t i = 0; i < a->after; i++)
        if (a->data[a->size_bytes + i] != CANARY)
            return false;
    return true;
}

static float any_bits(void)
{
    const uint32_t bits = (uint32_t)(test_random() >> 32);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

enum data_class { NEAR, BITS, SPECIALS, STEPS, DATA_CLASSES };

static float draw(enum data_class class)
{
    static const float special[] = {
        0.0f,  -0.0f,  INFINITY, -INFINITY, NAN,  0x1p-149f, -0x1p-149f, 0x1p-126f, 1.0f, -1.0f,
        88.7f, -87.3f, -103.9f,  -104.1f,   0.5f, 0x1p-23f,  3e38f,      -3e38f,    6.5f, -9.2f};
    switch (class) {
    case NEAR:
        return (float)(test_uniform() * 20.0 - 10.0);
    case BITS:
        return any_bits();
    case SPECIALS:
        return test_below(3) == 0 ? special[test_below(sizeof special / sizeof *special)]
                                  : (float)(test_uniform() * 4.0 - 2.0);
    default: /* many equal values */
        return (float)(int)test_below(7) - 3.0f;
    }
}

static void fill(array *a, enum data_class class)
{
    for (size_t i = 0; i < a->size_bytes; i += sizeof(float)) {
        const float x = draw(class);
        memcpy(a->data + i, &x, sizeof x);
    }
}

static bool same_float(const uint8_t *a, const uint8_t *b)
{
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return memcmp(a, b, sizeof x) == 0 || (isnan(x) && isnan(y));
}

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static placement somewhere(void)
{
    return (placement){test_below(2) == 0, test_below(3) == 0 ? 0 : test_below(40)};
}

static void test_one(size_t index, const test_isa *isas, size_t isa_count, size_t n)
{
    const vqc_kernel_info *info = &vqc_kernel_infos[index];
    const enum data_class class = (enum data_class)test_below(DATA_CLASSES);
    const bool pool = info->family == VQC_FAMILY_MATH_POOL;
    const size_t outputs = info->family == VQC_FAMILY_MATH_MOMENTS ? 0 : n;
    vqc_kernel_args a = {.cols = n,
                         .a = draw(test_below(2) == 0 ? NEAR : SPECIALS),
                         .b = draw(test_below(2) == 0 ? NEAR : SPECIALS),
                         .a_step = test_below(4) != 0,
                         .b_step = test_below(4) != 0,
                         .window = 1 + test_below(5),
                         .step = 1 + test_below(3),
                         .dilation = 1 + test_below(3)};
    const size_t reads = pool && n > 0 ? (n - 1) * a.step + (a.window - 1) * a.dilation + 1 : n;
    const placement target = somewhere();
    array x = place(X, reads, somewhere()), x2 = place(X2, n, somewhere());
    array scale = place(SCALE, n, somewhere()), bias = place(BIAS, n, somewhere());
    array want = place(WANT, outputs, target), got = place(GOT, outputs, target);
    const bool in_place = info->family == VQC_FAMILY_MATH_UNARY && test_below(3) == 0;

    if (n == 0 && info->family == VQC_FAMILY_MATH_MOMENTS)
        return;
    fill(&x, class);
    fill(&x2, class);
    fill(&scale, NEAR);
    fill(&bias, class);
    a.in = x.data;
    a.in2 = x2.data;
    a.scale = test_below(3) == 0 ? NULL : (const float *)(const void *)scale.data;
    a.bias = test_below(3) == 0 ? NULL : bias.data;
    a.out = want.data;
    vqc_kernel_results expected = {.sum = 0};
    vqc_kernel_call(&vqc_kernels__c, index, &a, &expected);
    for (size_t i = 0; i < isa_count; i++) {
        vqc_kernel_results results = {.sum = 0};
        bool same = true;
        memset(got.data, 0xEE, got.size_bytes);
        a.in = x.data;
        a.out = got.data;
        if (in_place) {
            memcpy(got.data, x.data, x.size_bytes);
            a.in = got.data;
        }
        vqc_kernel_call(isas[i].table, index, &a, &results);
        if (test_breaks(info->name)) {
            if (outputs > 0)
                got.data[got.size_bytes / 2 / 4 * 4] ^= 1;
            results.sum += 1.0;
        }
        for (size_t k = 0; k < got.size_bytes; k += sizeof(float))
            same = same && same_float(want.data + k, got.data + k);
        same = same && same_double(expected.sum, results.sum) &&
               same_double(expected.sum_squares, results.sum_squares);
        test_check(same && intact(&want) && intact(&got),
                   "%s %s: n %zu data %d steps %zu %zu window %zu %zu %zu%s", info->name,
                   isas[i].name, n, (int)class, a.a_step, a.b_step, a.window, a.step, a.dilation,
                   in_place ? " in place" : "");
    }
}

void test_math_kernel(size_t index, const test_isa *isas, size_t isa_count)
{
    static const size_t lengths[] = {128, 1000, 1024, 1025, 2048, 5000};
    for (size_t n = 0; n <= 67; n++)
        for (size_t repeat = 0; repeat < 12; repeat++)
            test_one(index, isas, isa_count, n);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t repeat = 0; repeat < 6; repeat++)
            test_one(index, isas, isa_count, lengths[i]);
}

/* ---- accuracy ---- */

/* |got - want| in units in the last place of want as a float. */
static double ulps(float got, double want)
{
    const float rounded = (float)want;
    if (isnan(want) || isinf(rounded) || isinf(got))
        return (isnan(want) && isnan(got)) || got == rounded ? 0.0 : 1e9;
    const float magnitude = fabsf(rounded);
    const double unit = (double)nextafterf(magnitude, INFINITY) - (double)magnitude;
    return fabs((double)got - want) / unit;
}

typedef struct accuracy {
    const char *name;
    void (*kernel)(const float *x, size_t n, float *y);
    double (*exact)(double x);
    double low, high; /* of arguments */
    double limit;     /* ulp */
} accuracy;

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double gelu(double x)
{
    return 0.5 * x * erfc(-x * 0.70710678118654752440);
}

/* Samples of every magnitude and uniform ones. */
static void test_accuracy(const accuracy *a)
{
    enum { COUNT = 20000 };
    static float x[COUNT], y[COUNT];
    double worst = 0.0;
    float at = 0.0f;
    for (size_t i = 0; i < COUNT; i++) {
        const double u = test_uniform();
        x[i] = (float)(a->low + u * (a->high - a->low));
        if (i % 2 == 0)
            x[i] = ldexpf(x[i], -(int)test_below(60));
        if ((double)x[i] < a->low || (double)x[i] > a->high)
            x[i] = (float)a->high;
    }
    a->kernel(x, COUNT, y);
    for (size_t i = 0; i < COUNT; i++) {
        const double error = ulps(y[i], a->exact((double)x[i]));
        if (error > worst) {
            worst = error;
            at = x[i];
        }
    }
    test_check(worst <= a->limit, "%s: %g ulp at %a, expected at most %g", a->name, worst,
               (double)at, a->limit);
}

void test_math_closed_forms(void)
{
    const vqc_kernels *k = &vqc_kernels__c;
    const accuracy functions[] = {
        {"f32_exp", k->f32_exp, exp, -104.0, 88.7, 1.05},
        {"f32_log", k->f32_log, log, 1e-45, 3e38, 1.0},
        {"f32_log near 1", k->f32_log, log, 0.5, 2.0, 1.0},
        {"f32_sigmoid", k->f32_sigmoid, sigmoid, -80.0, 80.0, 3.0},
        {"f32_tanh", k->f32_tanh, tanh, -10.0, 10.0, 2.0},
        {"f32_erf", k->f32_erf, erf, -4.0, 4.0, 2.0},
        {"f32_gelu", k->f32_gelu, gelu, -1.0, 20.0, 4.0},
        {"f32_sqrt", k->f32_sqrt, sqrt, 0.0, 3e38, 0.5},
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        test_accuracy(&functions[i]);

    static const float x[6] = {-INFINITY, INFINITY, 0.0f, -0.0f, -1000.0f, 1000.0f};
    static const float expected[][6] = {
        {0.0f, INFINITY, 1.0f, 1.0f, 0.0f, INFINITY},
        {0.0f, 1.0f, 0.5f, 0.5f, 0.0f, 1.0f},
        {-1.0f, 1.0f, 0.0f, -0.0f, -1.0f, 1.0f},
        {-1.0f, 1.0f, 0.0f, -0.0f, -1.0f, 1.0f},
    };
    float y[6];
    void (*const kernels[])(const float *, size_t, float *) = {k->f32_exp, k->f32_sigmoid,
                                                               k->f32_tanh, k->f32_erf};
    for (size_t f = 0; f < 4; f++) {
        kernels[f](x, 6, y);
        test_check(memcmp(y, expected[f], sizeof y) == 0,
                   "limits of function %zu: %g %g %g %g %g %g", f, (double)y[0], (double)y[1],
                   (double)y[2], (double)y[3], (double)y[4], (double)y[5]);
    }
    static const float row[5] = {1.0f, 3.0f, 3.0f, 2.0f, 5.0f};
    float pooled[3];
    k->f32_max_pool(row, 2, 2, 2, 1, pooled);
    test_check(pooled[0] == 3.0f && pooled[1] == 3.0f, "f32_max_pool: %g %g", (double)pooled[0],
               (double)pooled[1]);
    k->f32_sum_pool(row, 3, 3, 1, 1, pooled);
    test_check(pooled[0] == 7.0f && pooled[1] == 8.0f && pooled[2] == 10.0f, "f32_sum_pool");
    double mean, variance;
    k->f32_mean_variance(row, 4, &mean, &variance);
    test_check(mean == 2.25 && fabs(variance - 0.6875) < 1e-12, "f32_mean_variance: %g %g", mean,
               variance);
}
