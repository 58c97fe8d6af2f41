/* Every listed kernel on every available ISA against the C reference, bit for bit, between guard
 * pages. */
#include "tests/kernels/test_kernels.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static size_t passed, failed;
static uint64_t random_state;
static const char *break_kernel; /* --break: its results are perturbed */

void test_check(bool ok, const char *format, ...)
{
    if (ok) {
        passed++;
        return;
    }
    if (failed++ < 20) {
        va_list args;
        va_start(args, format);
        printf("FAIL ");
        vprintf(format, args);
        printf("\n");
        va_end(args);
    }
}

bool test_breaks(const char *kernel)
{
    return break_kernel != NULL && strcmp(break_kernel, kernel) == 0;
}

uint64_t test_random(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1Du;
}

double test_uniform(void)
{
    return (double)(test_random() >> 11) * 0x1p-53;
}

size_t test_below(size_t n)
{
    return (size_t)(test_random() >> 8) % n;
}

/* A new seed for every run, so that repeated runs cover more. */
static uint64_t clock_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Memory between two inaccessible pages. */
typedef struct region {
    uint8_t *base; /* first accessible byte */
    size_t capacity;
} region;

/* An array placed in a region, with what surrounds it filled with CANARY. */
typedef struct array {
    uint8_t *data;
    size_t size_bytes;
    region in;
} array;

enum { CANARY = 0xA5, CANARY_BYTES = 256, MAX_ELEMENTS = 512 * 512 + 512 };
enum region_name {
    IN,
    IN2,
    SCALE,
    INV_SCALE,
    ZERO_POINT,
    OUT, /* from here on: once for the reference, once for the kernel under test */
    MIN,
    MAX,
    SSE,
    COUNTS
};
enum { OUTPUTS = COUNTS - OUT + 1, REGION_COUNT = OUT + 2 * OUTPUTS };
static region regions[REGION_COUNT];

uint8_t *test_guarded(size_t capacity)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *map = mmap(NULL, capacity + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + page, capacity, PROT_READ | PROT_WRITE) != 0) {
        fprintf(stderr, "cannot map test memory: %s\n", strerror(errno));
        exit(1);
    }
    return map + page;
}

static void map_regions(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t capacity = ((size_t)MAX_ELEMENTS * sizeof(double) + page) / page * page;
    for (size_t i = 0; i < REGION_COUNT; i++)
        regions[i] = (region){test_guarded(capacity), capacity};
}

/* Where an array lies: against the guard page after it, against the one before it, or `offset`
 * bytes behind that. */
typedef struct placement {
    bool at_end;
    size_t offset;
} placement;

static array place(enum region_name name, size_t size_bytes, size_t alignment, placement where)
{
    array a = {.size_bytes = size_bytes, .in = regions[name]};
    size_t start = where.offset / alignment * alignment;
    if (where.at_end)
        start = (a.in.capacity - size_bytes) / alignment * alignment;
    a.data = a.in.base + start;
    const size_t before = start < CANARY_BYTES ? start : CANARY_BYTES;
    const size_t room = a.in.capacity - start - size_bytes;
    const size_t after = room < CANARY_BYTES ? room : CANARY_BYTES;
    memset(a.data - before, CANARY, before);
    memset(a.data + size_bytes, CANARY, after);
    return a;
}

static bool canaries_intact(const array *a)
{
    const size_t start = (size_t)(a->data - a->in.base);
    const size_t before = start < CANARY_BYTES ? start : CANARY_BYTES;
    const size_t room = a->in.capacity - start - a->size_bytes;
    const size_t after = room < CANARY_BYTES ? room : CANARY_BYTES;
    for (size_t i = 0; i < before; i++)
        if (a->data[-(ptrdiff_t)i - 1] != CANARY)
            return false;
    for (size_t i = 0; i < after; i++)
        if (a->data[a->size_bytes + i] != CANARY)
            return false;
    return true;
}

/* ---- test data ---- */

static float random_bits_float(void)
{
    const uint32_t bits = (uint32_t)(test_random() >> 32);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float special(void)
{
    static const float values[] = {
        0.0f,     -0.0f,    INFINITY,        -INFINITY,  NAN,     0x1p-149f, -0x1p-149f, 0x1p-126f,
        3e38f,    -3e38f,   0x1.fffffep127f, 448.0f,     464.0f,  57344.0f,  61440.0f,   65504.0f,
        65520.0f, 0x1p-24f, 0x1p-25f,        0x1.8p-25f, 0x1p-9f, 0x1p-10f,  0x1.8p-10f, 1.0f,
        0.5f};
    return values[test_below(sizeof values / sizeof *values)];
}

enum data_class { NORMAL, TIES, WIDE, BITS, SPECIALS, ZEROS, HUGE_VALUES, DATA_CLASSES };

static float draw(enum data_class class)
{
    const double u = test_uniform() * 2.0 - 1.0;
    switch (class) {
    case NORMAL:
        return (float)(u + (test_uniform() - 0.5));
    case TIES:
        return (float)(int)(u * 600.0) * 0.5f;
    case WIDE:
        return ldexpf((float)u, (int)test_below(60) - 40);
    case BITS:
        return random_bits_float();
    case SPECIALS:
        return test_below(4) == 0 ? special() : (float)u * 300.0f;
    case ZEROS:
        return test_below(2) == 0 ? 0.0f : -0.0f;
    case HUGE_VALUES:
        return (float)(u * 3e38);
    case DATA_CLASSES:
        break;
    }
    return 0.0f;
}

static void fill_floats(array *a, enum data_class class)
{
    for (size_t i = 0; i + sizeof(float) <= a->size_bytes; i += sizeof(float)) {
        const float x = draw(class);
        memcpy(a->data + i, &x, sizeof x);
    }
}

static void fill_bytes(array *a)
{
    for (size_t i = 0; i < a->size_bytes; i++)
        a->data[i] = (uint8_t)(test_random() >> 40);
}

static void fill_doubles(array *a, enum data_class class)
{
    for (size_t i = 0; i + sizeof(double) <= a->size_bytes; i += sizeof(double)) {
        double x = (double)draw(class) * (1.0 + test_uniform() * 0x1p-20);
        if (class == BITS && test_below(2) == 0)
            x *= 1e10;
        memcpy(a->data + i, &x, sizeof x);
    }
}

/* Scales that fit the data: powers of two for ties, sometimes degenerate ones. */
static void fill_scales(array *scale, array *inv_scale, enum data_class class)
{
    for (size_t i = 0; i + sizeof(float) <= scale->size_bytes; i += sizeof(float)) {
        float s = (float)exp(test_uniform() * 12.0 - 9.0);
        if (class == TIES)
            s = ldexpf(1.0f, (int)test_below(4) - 2);
        else if (test_below(16) == 0)
            s = special();
        const float inv = 1.0f / s;
        memcpy(scale->data + i, &s, sizeof s);
        memcpy(inv_scale->data + i, &inv, sizeof inv);
    }
}

/* ---- one case ---- */

typedef struct test_case {
    size_t rows, cols;
    size_t pad; /* stride - cols */
} test_case;

static bool is_rows(vqc_kernel_family f)
{
    return f == VQC_FAMILY_MINMAX_ROWS || f == VQC_FAMILY_SSE_ROWS ||
           f == VQC_FAMILY_QUANTIZE_ROWS || f == VQC_FAMILY_QUANTIZE_ERROR_ROWS ||
           f == VQC_FAMILY_DEQUANTIZE_ROWS;
}

static bool is_cols(vqc_kernel_family f)
{
    return f == VQC_FAMILY_MINMAX_COLS || f == VQC_FAMILY_MOMENTS_COLS ||
           f == VQC_FAMILY_SSE_COLS || f == VQC_FAMILY_QUANTIZE_COLS ||
           f == VQC_FAMILY_QUANTIZE_ERROR_COLS || f == VQC_FAMILY_DEQUANTIZE_COLS ||
           f == VQC_FAMILY_DIVIDE_COLS;
}

static bool is_dequantize(vqc_kernel_family f)
{
    return f >= VQC_FAMILY_DEQUANTIZE && f <= VQC_FAMILY_DEQUANTIZE_COLS;
}

static bool is_quantize(vqc_kernel_family f)
{
    return f >= VQC_FAMILY_SSE && f <= VQC_FAMILY_QUANTIZE_ERROR_COLS;
}

/* Range of codes and zero points, sometimes narrower than the code type. */
static void draw_code_range(vqc_kernel_kind kind, vqc_kernel_args *a, array *zero_point)
{
    int32_t lo = -32768, hi = 65535; /* sse: any */
    if (kind == VQC_KIND_U8)
        lo = 0, hi = 255;
    else if (kind == VQC_KIND_S8)
        lo = -128, hi = 127;
    else if (kind == VQC_KIND_U16)
        lo = 0;
    else if (kind == VQC_KIND_S16)
        hi = 32767;
    const int32_t full_lo = lo, full_span = hi - lo + 1;
    if (test_below(3) == 0)
        lo++; /* symmetric */
    if (test_below(3) == 0) {
        lo += (int32_t)test_below((size_t)(hi - lo));
        hi = lo + (int32_t)test_below((size_t)(hi - lo) + 1);
    }
    a->lo = lo;
    a->hi = hi;
    const bool wild = test_below(8) == 0, none = test_below(3) == 0;
    for (size_t i = 0; i + sizeof(int32_t) <= zero_point->size_bytes; i += sizeof(int32_t)) {
        int32_t z = none ? 0 : full_lo + (int32_t)test_below((size_t)full_span);
        if (wild)
            z = (int32_t)test_below(2000000) - 1000000;
        memcpy(zero_point->data + i, &z, sizeof z);
    }
}

/* Equal bits, or both NaN where `bytes` are floats (size 4) or doubles (size 8) whose NaN may
 * differ. */
static bool same(const void *a, const void *b, size_t size_bytes, size_t float_size)
{
    if (memcmp(a, b, size_bytes) == 0)
        return true;
    if (float_size == 0)
        return false;
    for (size_t i = 0; i < size_bytes; i += float_size) {
        const char *p = (const char *)a + i, *q = (const char *)b + i;
        float f[2];
        double d[2];
        if (memcmp(p, q, float_size) == 0)
            continue;
        memcpy(float_size == 4 ? (void *)&f[0] : (void *)&d[0], p, float_size);
        memcpy(float_size == 4 ? (void *)&f[1] : (void *)&d[1], q, float_size);
        if (float_size == 4 ? !(isnan(f[0]) && isnan(f[1])) : !(isnan(d[0]) && isnan(d[1])))
            return false;
    }
    return true;
}

static bool same_results(const vqc_kernel_results *a, const vqc_kernel_results *b)
{
    const double da[] = {a->error.sum_err2,
                         a->error.sum_ref2,
                         a->error.sum_dec2,
                         a->error.sum_ref_dec,
                         a->sum,
                         a->sum_squares,
                         a->sse,
                         a->moments.sum,
                         a->moments.sum_squares};
    const double db[] = {b->error.sum_err2,
                         b->error.sum_ref2,
                         b->error.sum_dec2,
                         b->error.sum_ref_dec,
                         b->sum,
                         b->sum_squares,
                         b->sse,
                         b->moments.sum,
                         b->moments.sum_squares};
    const float fa[] = {a->range.min, a->range.max,   a->error.max_abs_err,
                        a->value,     a->moments.min, a->moments.max};
    const float fb[] = {b->range.min, b->range.max,   b->error.max_abs_err,
                        b->value,     b->moments.min, b->moments.max};
    return same(da, db, sizeof da, 8) && same(fa, fb, sizeof fa, 0) &&
           a->range.nonfinite == b->range.nonfinite && a->error.count == b->error.count &&
           a->count == b->count && a->moments.nonfinite == b->moments.nonfinite &&
           a->moments.zeros == b->moments.zeros;
}

/* Outputs of one run. */
typedef struct outputs {
    array arrays[OUTPUTS];
    vqc_kernel_results results;
} outputs;

/* Compares; for --break, first changes one bit of whatever the kernel put out. */
static void compare(const vqc_kernel_info *info, const char *isa, const test_case *t,
                    enum data_class class, placement where, const outputs *want, outputs *got)
{
    if (test_breaks(info->name)) {
        size_t i = 0;
        while (i < OUTPUTS && got->arrays[i].size_bytes == 0)
            i++;
        if (i < OUTPUTS)
            got->arrays[i].data[got->arrays[i].size_bytes / 2] ^= 1;
        else
            got->results.count ^= 1;
    }
    bool equal = same_results(&want->results, &got->results), intact = true;
    for (size_t i = 0; i < OUTPUTS; i++) {
        const size_t float_size = i == SSE - OUT                          ? 8
                                  : i == 0 && is_dequantize(info->family) ? 4
                                                                          : 0;
        equal = equal && same(want->arrays[i].data, got->arrays[i].data, want->arrays[i].size_bytes,
                              float_size);
        intact = intact && canaries_intact(&got->arrays[i]) && canaries_intact(&want->arrays[i]);
    }
    test_check(equal && intact, "%s %s: rows %zu cols %zu pad %zu data %d offset %zu%s: %s",
               info->name, isa, t->rows, t->cols, t->pad, (int)class, where.offset,
               where.at_end ? " at end" : "",
               intact ? "differs from C" : "writes outside its output");
}

/* Inputs and first output contents of one case; *size_bytes gets the sizes of the outputs. */
typedef struct inputs {
    vqc_kernel_args args; /* in = NULL: in place */
    array in, in2, scale, inv_scale, zero_point;
    size_t size_bytes[OUTPUTS];
    uint8_t *initial[OUTPUTS];
} inputs;

static void draw_scalars(const vqc_kernel_info *info, vqc_kernel_args *a)
{
    static const int widths[] = {1, 2, 4};
    a->width =
        info->family == VQC_FAMILY_EXTRACT_PLANE ? 1 + (int)test_below(8) : widths[test_below(3)];
    a->shift = (int)test_below(8);
    a->inv_bin_width = test_below(8) == 0 ? fabsf(special()) : (float)(test_uniform() * 200.0);
    a->half_bins = test_below(8) == 0 ? VQC_HISTOGRAM_HALF_BINS : 1 + (uint32_t)test_below(300);
    a->iterations = a->cols;
}

static void draw_inputs(const vqc_kernel_info *info, inputs *n, size_t params,
                        enum data_class class)
{
    const vqc_kernel_family f = info->family;
    const bool codes = is_quantize(f) || is_dequantize(f);
    if (info->kind == VQC_KIND_F64 && f == VQC_FAMILY_TO_F32)
        fill_doubles(&n->in, class);
    else if (is_dequantize(f) || f == VQC_FAMILY_TO_F32 ||
             (f >= VQC_FAMILY_PACK && f <= VQC_FAMILY_UNPACK_PLANE))
        fill_bytes(&n->in);
    else
        fill_floats(&n->in, class);
    if (f == VQC_FAMILY_ERROR)
        fill_floats(&n->in2, class);
    fill_scales(&n->scale, &n->inv_scale, class);
    if (codes)
        draw_code_range(info->kind, &n->args, &n->zero_point);
    n->args.in = n->in.data;
    n->args.in2 = n->in2.data;
    n->args.scale = (const float *)(const void *)n->scale.data;
    n->args.inv_scale = (const float *)(const void *)n->inv_scale.data;
    if ((!is_rows(f) && !is_cols(f)) || test_below(4) != 0)
        n->args.zero_point = (const int32_t *)(const void *)n->zero_point.data;
    if (f == VQC_FAMILY_MINMAX_ROWS || f == VQC_FAMILY_MINMAX_COLS)
        n->size_bytes[MIN - OUT] = n->size_bytes[MAX - OUT] = params * sizeof(float);
    if (f == VQC_FAMILY_SSE_ROWS || f == VQC_FAMILY_SSE_COLS)
        n->size_bytes[SSE - OUT] = params * sizeof(double);
    if (f == VQC_FAMILY_HISTOGRAM)
        n->size_bytes[COUNTS - OUT] = 2 * n->args.half_bins * sizeof(uint64_t);
    if (f == VQC_FAMILY_MOMENTS_COLS) {
        n->size_bytes[MAX - OUT] = params * sizeof(float);
        n->size_bytes[SSE - OUT] = params * sizeof(double);
    }
}

/* What the outputs hold before a run: random, because kernels accumulate, merge, and must leave
 * alone what lies between strided rows. */
static void draw_initial(const vqc_kernel_info *info, inputs *n)
{
    for (size_t i = 0; i < OUTPUTS; i++) {
        array a = {.data = n->initial[i], .size_bytes = n->size_bytes[i]};
        if (i == MIN - OUT || i == MAX - OUT)
            fill_floats(&a, NORMAL);
        else if (i == SSE - OUT)
            fill_doubles(&a, NORMAL);
        else
            fill_bytes(&a);
    }
    if (info->family == VQC_FAMILY_EXTRACT_PLANE && test_below(2) == 0) {
        memcpy(n->initial[0], n->in.data, n->in.size_bytes);
        n->args.in = NULL;
    }
}

static outputs run(const vqc_kernels *table, size_t index, const inputs *n, int set,
                   placement where)
{
    static const size_t alignment[OUTPUTS] = {1, 4, 4, 8, 8};
    outputs o = {.results = {.range = {INFINITY, -INFINITY, 0},
                             .moments = {.min = INFINITY, .max = -INFINITY, .zeros = 7}}};
    for (int i = 0; i < OUTPUTS; i++) {
        const enum region_name name = (enum region_name)(OUT + set * OUTPUTS + i);
        o.arrays[i] = place(name, n->size_bytes[i], alignment[i], where);
        memcpy(o.arrays[i].data, n->initial[i], n->size_bytes[i]);
    }
    vqc_kernel_args a = n->args;
    a.out = o.arrays[OUT - OUT].data;
    a.min = (float *)(void *)o.arrays[MIN - OUT].data;
    a.max = (float *)(void *)o.arrays[MAX - OUT].data;
    a.sse = (double *)(void *)o.arrays[SSE - OUT].data;
    a.counts = (uint64_t *)(void *)o.arrays[COUNTS - OUT].data;
    if (a.in == NULL)
        a.in = a.out;
    vqc_kernel_call(table, index, &a, &o.results);
    return o;
}

static void test_one(size_t index, const test_isa *isas, size_t isa_count, const test_case *t)
{
    static uint8_t *initial[OUTPUTS];
    const vqc_kernel_info *info = &vqc_kernel_infos[index];
    const bool flat = !is_rows(info->family) && !is_cols(info->family);
    const size_t rows = flat ? 1 : t->rows, stride = t->cols + (flat ? 0 : t->pad);
    const size_t elements = rows == 0 || t->cols == 0 ? 0 : (rows - 1) * stride + t->cols;
    const size_t params = is_rows(info->family) ? rows : is_cols(info->family) ? t->cols : 1;
    const enum data_class class = (enum data_class)test_below(DATA_CLASSES);
    const placement where = {.at_end = test_below(2) == 0, .offset = test_below(70)};
    inputs n = {.args = {.rows = rows, .cols = t->cols, .in_stride = stride, .out_stride = stride}};
    draw_scalars(info, &n.args);
    size_t in_bytes;
    vqc_kernel_tensor_bytes(info, elements, n.args.width, &in_bytes, &n.size_bytes[0]);
    n.in = place(IN, in_bytes, 1, where);
    n.in2 = place(IN2, in_bytes, 1, where);
    n.scale = place(SCALE, params * sizeof(float), 4, where);
    n.inv_scale = place(INV_SCALE, params * sizeof(float), 4, where);
    n.zero_point = place(ZERO_POINT, params * sizeof(int32_t), 4, where);
    for (size_t i = 0; i < OUTPUTS; i++) {
        if (initial[i] == NULL && (initial[i] = malloc(regions[0].capacity)) == NULL)
            exit(1);
        n.initial[i] = initial[i];
    }
    draw_inputs(info, &n, params, class);
    draw_initial(info, &n);
    const outputs want = run(&vqc_kernels__c, index, &n, 0, where);
    for (size_t k = 0; k < isa_count; k++) {
        outputs got = run(isas[k].table, index, &n, 1, where);
        compare(info, isas[k].name, t, class, where, &want, &got);
    }
}

/* ---- the program ---- */

static void test_kernel(size_t index, const test_isa *isas, size_t isa_count)
{
    /* Shapes of real layers: LeNet and ResNet convolutions, 4-bit blocks, transformer matrices. */
    static const test_case layers[] = {
        {6, 25, 0},   {16, 150, 0},  {64, 27, 0},  {32, 9, 3},    {10, 84, 1},   {1, 1000, 0},
        {7, 1023, 0}, {3, 1024, 2},  {5, 1025, 0}, {2, 4608, 5},  {96, 32, 0},   {200, 16, 1},
        {130, 33, 0}, {1, 65536, 0}, {3, 2047, 0}, {512, 512, 0}, {512, 512, 1}, {1, 262144, 0}};
    const vqc_kernel_family f = vqc_kernel_infos[index].family;
    const bool flat = !is_rows(f) && !is_cols(f);
    if (f >= VQC_FAMILY_INT_PACK_ROWS && f <= VQC_FAMILY_INT_GEMM) {
        test_int_kernel(index, isas, isa_count);
        return;
    }
    if (f == VQC_FAMILY_NEAREST) {
        test_nearest_kernel(index, isas, isa_count);
        return;
    }
    if (f >= VQC_FAMILY_SCORE_COLS && f <= VQC_FAMILY_COUNT_ZERO) {
        test_prune_kernel(index, isas, isa_count);
        return;
    }
    if (f == VQC_FAMILY_TRANSPOSE) {
        test_move_kernel(index, isas, isa_count);
        return;
    }
    if (f >= VQC_FAMILY_GEMM_ROWS && f <= VQC_FAMILY_GEMM_GATHER) {
        test_gemm_kernel(index, isas, isa_count);
        return;
    }
    if (vqc_kernel_infos[index].family >= VQC_FAMILY_MATH_UNARY &&
        vqc_kernel_infos[index].family <= VQC_FAMILY_MATH_NORMALIZE) {
        test_math_kernel(index, isas, isa_count);
        return;
    }
    for (size_t cols = 0; cols <= 67; cols++)
        for (size_t repeat = 0; repeat < 12; repeat++)
            test_one(index, isas, isa_count,
                     &(test_case){.rows = test_below(8),
                                  .cols = cols,
                                  .pad = test_below(2) * test_below(20)});
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        test_case t = layers[i];
        if (flat)
            t = (test_case){1, t.rows * t.cols, 0};
        for (size_t repeat = 0; repeat < (t.rows * t.cols > 20000 ? 2 : 4); repeat++)
            test_one(index, isas, isa_count, &t);
    }
}

/* The ISAs that this build and CPU have beside C; with VQC_TEST_SIMDE also AVX-512 on emulated
 * intrinsics. */
static size_t list_isas(test_isa isas[VQC_ISA_COUNT])
{
    size_t count = 0;
    for (int isa = VQC_ISA_C + 1; isa < VQC_ISA_COUNT; isa++) {
        const vqc_kernels *table = vqc_kernels_table((vqc_isa)isa);
        const char *name = vqc_isa_name((vqc_isa)isa);
#ifdef VQC_TEST_SIMDE
        if (isa == VQC_ISA_AVX512) {
            table = &vqc_kernels__avx512;
            name = "avx512 (SIMDe)";
        }
#endif
        printf("%s: %s\n", name, table != NULL ? "tested" : "not in this build or CPU");
        if (table != NULL)
            isas[count++] = (test_isa){name, table};
    }
    return count;
}

static bool is_kernel(const char *name)
{
    for (size_t i = 0; i < VQC_KERNEL_COUNT; i++)
        if (strcmp(name, vqc_kernel_infos[i].name) == 0)
            return true;
    return false;
}

static const char usage[] =
    "usage: test_kernels [--seed N] [--break KERNEL]\n"
    "  --seed N        start of the random numbers (default: from the clock)\n"
    "  --break KERNEL  perturbs what KERNEL puts out; the test must then fail\n";

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seed", required_argument, NULL, 's'},
                                            {"break", required_argument, NULL, 'b'},
                                            {NULL, 0, NULL, 0}};
    uint64_t seed = clock_seed();
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        char *end = NULL;
        if (option == 's')
            seed = strtoull(optarg, &end, 10);
        if (option == 'b')
            break_kernel = optarg;
        if (option == '?' || (option == 's' && (*optarg == '\0' || *end != '\0'))) {
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc || (break_kernel != NULL && !is_kernel(break_kernel))) {
        fputs(usage, stderr);
        return 2;
    }
    printf("seed %llu\n", (unsigned long long)seed);
    random_state = seed * 0x9E3779B97F4A7C15u + 0x1234567u;
    map_regions();
    test_isa isas[VQC_ISA_COUNT];
    const size_t isa_count = list_isas(isas);
    test_closed_forms();
    test_int_closed_forms();
    test_math_closed_forms();
    test_nearest_closed_forms();
    test_dispatch();
    for (size_t i = 0; i < VQC_KERNEL_COUNT; i++)
        test_kernel(i, isas, isa_count);
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}
