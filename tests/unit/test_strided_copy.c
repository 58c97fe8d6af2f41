/* Strided copies: every order of axes, odd steps and broadcasts against element by element, at
 * several thread counts. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/view.h"
#include "tests/unit/model_builder.h"

/* Element by element, last axis fastest. */
static void copy_slowly(const vqc_view *view, size_t elements, unsigned char *target)
{
    for (size_t i = 0; i < elements; i++) {
        const unsigned char *from = view->data;
        size_t rest = i;

        for (size_t k = view->rank; k-- > 0;) {
            from += (ptrdiff_t)(rest % view->dims[k]) * view->strides[k] * (ptrdiff_t)view->width;
            rest /= view->dims[k];
        }
        memcpy(target + i * view->width, from, view->width);
    }
}

static void check(const vqc_view *view, const char *what)
{
    size_t elements = 1;
    unsigned char *want;
    unsigned char *got;

    for (size_t i = 0; i < view->rank; i++) {
        elements *= view->dims[i];
    }
    want = malloc(elements * view->width + 1);
    got = malloc(elements * view->width + 1);
    cr_assert(want != NULL && got != NULL);
    copy_slowly(view, elements, want);
    for (int threads = 1; threads <= 3; threads++) {
        memset(got, 0xEE, elements * view->width + 1);
        vqc_view_copy_threads(view, elements, got, threads);
        cr_expect_eq(memcmp(want, got, elements * view->width), 0, "%s, width %zu, %d threads",
                     what, view->width, threads);
        cr_expect_eq(got[elements * view->width], 0xEE, "%s writes behind the result", what);
    }
    free(got);
    free(want);
}

/* A permutation of a dense array, some axes walked backwards, in steps, or repeated. */
static vqc_view random_view(mb_random *random, const unsigned char *data, size_t bytes,
                            size_t width)
{
    vqc_view view = {data, width, 1 + mb_random_below(random, 5), {0}, {0}};
    size_t order[5] = {0, 1, 2, 3, 4};
    size_t stride = 1;

    for (size_t i = view.rank; i-- > 1;) {
        size_t other = mb_random_below(random, i + 1);
        size_t swap = order[i];
        order[i] = order[other];
        order[other] = swap;
    }
    for (size_t i = 0; i < view.rank; i++) {
        size_t axis = order[i];
        size_t most = bytes / width / stride;
        size_t dim = 1 + mb_random_below(random, 40);

        dim = dim > most ? most : dim;
        view.dims[axis] = dim;
        view.strides[axis] = (ptrdiff_t)stride;
        switch (mb_random_below(random, 12)) {
        case 0: /* repeated */
            view.strides[axis] = 0;
            break;
        case 1: /* every second one */
            view.dims[axis] = (dim + 1) / 2;
            view.strides[axis] = 2 * (ptrdiff_t)stride;
            break;
        case 2: /* backwards */
            view.data += (dim - 1) * stride * width;
            view.strides[axis] = -(ptrdiff_t)stride;
            break;
        default:
            break;
        }
        stride *= dim;
    }
    return view;
}

Test(strided_copy, equals_element_by_element)
{
    static const size_t widths[] = {1, 2, 4, 8, 16};
    enum { BYTES = 1 << 18 };
    unsigned char *data = malloc(BYTES);
    mb_random random = {5};

    cr_assert_not_null(data);
    for (size_t i = 0; i < BYTES; i++) {
        data[i] = (unsigned char)mb_random_below(&random, 256);
    }
    for (int i = 0; i < 400; i++) {
        vqc_view view = random_view(&random, data, BYTES, widths[mb_random_below(&random, 5)]);
        check(&view, "random view");
    }
    free(data);
}

Test(strided_copy, large_ones_in_threads)
{
    size_t elements = (size_t)3 * 650 * 700;
    float *data = malloc(elements * sizeof *data);
    vqc_view views[] = {
        {NULL, 4, 3, {650, 700, 3}, {700, 1, (ptrdiff_t)650 * 700}}, /* channels last */
        {NULL, 4, 3, {3, 650, 700}, {1, 700 * 3, 3}},                /* channels first */
        {NULL, 4, 2, {700, 1950}, {1, 700}},                         /* a matrix */
        {NULL, 4, 3, {650, 3, 700}, {700, (ptrdiff_t)650 * 700, 1}}, /* rows */
        {NULL, 4, 2, {1950, 690}, {700, 1}},                         /* a window */
    };

    cr_assert_not_null(data);
    for (size_t i = 0; i < elements; i++) {
        data[i] = (float)i;
    }
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        views[i].data = (const unsigned char *)data;
        check(&views[i], "large view");
    }
    free(data);
}
