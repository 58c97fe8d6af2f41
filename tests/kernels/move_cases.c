/* Kernels that move data (kernels/kernel_list_move.h) on every available ISA against the
 * definition, with the arrays against guard pages. */
#include "tests/kernels/test_kernels.h"

#include <string.h>

enum { CAPACITY = 4 << 20, CANARY = 0x3C };

/* Memory that ends at an inaccessible page, after `size_bytes` and `shift` bytes more. */
static uint8_t *guarded(int which, size_t size_bytes, size_t shift)
{
    static uint8_t *regions[2];
    if (regions[which] == NULL)
        regions[which] = test_guarded(CAPACITY);
    return regions[which] + CAPACITY - size_bytes - shift;
}

/* Every element of the result, and what lies between its rows, which must stay as it was. */
static bool is_transposed(const uint8_t *x, const vqc_kernel_args *a, const uint8_t *out)
{
    for (size_t c = 0; c < a->cols && a->rows > 0; c++) {
        const uint8_t *row = out + c * a->out_stride * 4;
        for (size_t r = 0; r < a->rows; r++)
            if (memcmp(row + r * 4, x + (r * a->in_stride + c) * 4, 4) != 0)
                return false;
        for (size_t i = a->rows * 4; c + 1 < a->cols && i < a->out_stride * 4; i++)
            if (row[i] != CANARY)
                return false;
    }
    return true;
}

static void test_one(size_t index, const test_isa *isas, size_t isa_count, size_t rows, size_t cols)
{
    const vqc_kernel_info *info = &vqc_kernel_infos[index];
    vqc_kernel_args a = {.rows = rows,
                         .cols = cols,
                         .in_stride = cols + test_below(2) * test_below(20),
                         .out_stride = rows + test_below(2) * test_below(20)};
    const bool empty = rows == 0 || cols == 0;
    const size_t in_bytes = empty ? 0 : ((rows - 1) * a.in_stride + cols) * 4;
    const size_t out_bytes = empty ? 0 : ((cols - 1) * a.out_stride + rows) * 4;
    uint8_t *x = guarded(0, in_bytes, test_below(9)), *out = guarded(1, out_bytes, test_below(9));
    vqc_kernel_results none = {.count = 0};

    for (size_t i = 0; i < in_bytes; i++)
        x[i] = (uint8_t)(test_random() >> 40);
    a.in = x;
    a.out = out;
    for (size_t i = 0; i <= isa_count; i++) {
        const char *isa = i == isa_count ? "c" : isas[i].name;
        memset(out - 64, CANARY, out_bytes + 64);
        vqc_kernel_call(i == isa_count ? &vqc_kernels__c : isas[i].table, index, &a, &none);
        if (test_breaks(info->name) && out_bytes > 0)
            out[0] ^= 1;
        bool intact = true;
        for (size_t k = 1; k <= 64; k++)
            intact = intact && out[-(ptrdiff_t)k] == CANARY;
        test_check(intact && is_transposed(x, &a, out), "%s %s: rows %zu cols %zu strides %zu %zu",
                   info->name, isa, rows, cols, a.in_stride, a.out_stride);
    }
}

void test_move_kernel(size_t index, const test_isa *isas, size_t isa_count)
{
    static const size_t shapes[][2] = {{64, 64}, {100, 33}, {3, 1000}, {1000, 3}, {257, 129}};
    for (size_t cols = 0; cols <= 67; cols++)
        for (size_t repeat = 0; repeat < 8; repeat++)
            test_one(index, isas, isa_count, test_below(68), cols);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        test_one(index, isas, isa_count, shapes[i][0], shapes[i][1]);
}
