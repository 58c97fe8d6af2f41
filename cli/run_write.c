/* Outputs of `vqc run` as files and tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/run_results.h"
#include "cli/table.h"
#include "cli/term.h"
#include "cli/text.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/exec/element.h"
#include "formats/npz.h"
#include "formats/tensor_pb.h"

enum { PROFILE_ROWS = 20 };

static bool ends_with(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcasecmp(path + n - m, ending) == 0;
}

vqc_status vqc_run_check_output(const char *path, const vqc_program *program, size_t samples,
                                vqc_error *error)
{
    size_t outputs = 0;
    (void)vqc_program_outputs(program, &outputs);
    if (ends_with(path, ".npz"))
        return VQC_OK;
    if (!ends_with(path, ".pb"))
        return vqc_fail(error, VQC_ERR_USAGE, "%s: expected a name that ends in .npz or .pb", path);
    if (outputs != 1 || samples != 1)
        return vqc_fail(
            error, VQC_ERR_USAGE,
            "%s: a .pb file holds one output of one sample, got %zu of %zu; write a .npz file",
            path, outputs, samples);
    return VQC_OK;
}

/* The type of an output in a .npz file: its own, or one that holds its values exactly. */
static int32_t npz_type(int32_t dtype)
{
    if (vqc_npy_supports((vqc_dtype)dtype))
        return dtype;
    switch (vqc_class_of(dtype)) {
    case VQC_CLASS_F32:
        return VQC_DTYPE_FLOAT;
    case VQC_CLASS_I64:
        return VQC_DTYPE_INT8;
    case VQC_CLASS_U64:
        return VQC_DTYPE_UINT8;
    default:
        return VQC_DTYPE_UNDEFINED;
    }
}

/* The bytes of a buffer as `dtype`. */
static void copy_as(const vqc_buffer *from, int32_t dtype, unsigned char *to)
{
    size_t width = vqc_exec_width(dtype);
    if (dtype == from->dtype) {
        memcpy(to, from->data, from->elements * from->width);
        return;
    }
    for (size_t at = 0; at < from->elements; at += VQC_EXEC_CHUNK) {
        size_t left = from->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        vqc_class source = vqc_class_of(from->dtype);
        vqc_chunk chunk;
        vqc_element_load(from->dtype, from->data + at * from->width, n, &chunk);
        vqc_element_convert(&chunk, source, vqc_class_of(dtype), n);
        vqc_element_store(dtype, vqc_class_of(dtype), &chunk, n, NULL, to + at * width);
    }
}

/* All samples of output `index` as one array in `arena` (data malloc'ed). */
static vqc_status stack_output(const vqc_run_results *results, size_t index, vqc_arena *arena,
                               vqc_array *out, vqc_error *error)
{
    vqc_buffer *const *kept = results->kept;
    const vqc_buffer *first = kept[index];
    const char *name = results->ports[index].name;
    int32_t dtype = npz_type(first->dtype);
    size_t lead = results->samples > 1 ? 1 : 0;
    if (dtype == VQC_DTYPE_UNDEFINED)
        return vqc_fail(error, VQC_ERR_MODEL, "output \"%s\": type %s cannot be written to .npz",
                        name, vqc_dtype_describe(first->dtype)->name);
    out->name = vqc_text_printf(arena, "%s", name);
    out->dtype = (vqc_dtype)dtype;
    out->rank = first->rank + lead;
    out->dims = vqc_cli_check(vqc_arena_calloc(arena, out->rank + 1, sizeof *out->dims));
    out->dims[0] = (int64_t)results->samples;
    if (first->rank > 0)
        memcpy(out->dims + lead, first->dims, first->rank * sizeof *first->dims);
    if (!vqc_npy_array_bytes(out->dtype, out->dims, out->rank, &out->size_bytes))
        return vqc_fail(error, VQC_ERR_MODEL,
                        "output \"%s\": the samples are too large for one "
                        "array",
                        name);
    unsigned char *data = malloc(out->size_bytes + 1);
    if (data == NULL)
        return vqc_fail_memory(error, out->size_bytes);
    out->data = data;
    for (size_t s = 0; s < results->samples; s++) {
        const vqc_buffer *buffer = kept[s * results->output_count + index];
        if (buffer->rank != first->rank || buffer->dtype != first->dtype ||
            (buffer->rank > 0 &&
             memcmp(buffer->dims, first->dims, first->rank * sizeof *first->dims) != 0)) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "output \"%s\": the shapes of samples 0 and %zu differ (%s and %s), so "
                            "they do not make one array; run them one by one",
                            name, s, vqc_text_shape(arena, first->dims, first->rank),
                            vqc_text_shape(arena, buffer->dims, buffer->rank));
        }
        copy_as(buffer, dtype, data + s * buffer->elements * vqc_exec_width(dtype));
    }
    return VQC_OK;
}

vqc_status vqc_run_write(const char *path, const vqc_run_results *results, vqc_error *error)
{
    if (ends_with(path, ".pb"))
        return vqc_tensor_pb_write(path, results->ports[0].name, results->kept[0], error);
    vqc_arena *arena = vqc_cli_arena();
    vqc_array *arrays = vqc_cli_check(calloc(results->output_count + 1, sizeof *arrays));
    vqc_status status = VQC_OK;
    for (size_t i = 0; i < results->output_count && status == VQC_OK; i++)
        status = stack_output(results, i, arena, &arrays[i], error);
    if (status == VQC_OK)
        status = vqc_npz_write(path, arrays, results->output_count, VQC_NPZ_STORED, error);
    for (size_t i = 0; i < results->output_count; i++)
        free(arrays[i].data);
    free(arrays);
    vqc_arena_destroy(&arena);
    return status;
}

/* ---- tables ---- */

/* All samples of output `index` together; *varies: their shapes differ. */
static vqc_run_figures add_figures(const vqc_run_results *results, size_t index, bool *varies)
{
    vqc_run_figures all = results->figures[index];
    *varies = false;
    for (size_t s = 1; s < results->samples; s++) {
        const vqc_run_figures *one = &results->figures[s * results->output_count + index];
        *varies = *varies || one->rank != all.rank ||
                  memcmp(one->dims, all.dims, all.rank * sizeof *all.dims) != 0;
        all.count += one->count;
        all.nonfinite += one->nonfinite;
        all.sum += one->sum;
        all.min = one->min < all.min ? one->min : all.min;
        all.max = one->max > all.max ? one->max : all.max;
    }
    return all;
}

void vqc_run_show(const vqc_run_results *results)
{
    static const vqc_column columns[] = {
        {"output", false, 20, 0},   {"type", false, 0, 2}, {"shape", false, 0, 0},
        {"min", true, 0, 0},        {"max", true, 0, 0},   {"mean", true, 0, 1},
        {"NaN or inf", true, 0, 0},
    };
    vqc_arena *arena = vqc_cli_arena();
    vqc_term term = vqc_term_stdout();
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < results->output_count && results->samples > 0; i++) {
        bool varies;
        vqc_run_figures all = add_figures(results, i, &varies);
        bool any = all.count > 0;
        const char *cells[] = {
            vqc_text_clean(arena, results->ports[i].name),
            vqc_dtype_describe(all.dtype)->name,
            varies ? "varies" : vqc_text_shape(arena, all.dims, all.rank),
            any ? vqc_text_real(arena, all.min) : "-",
            any ? vqc_text_real(arena, all.max) : "-",
            any ? vqc_text_real(arena, all.sum / (double)all.count) : "-",
            all.nonfinite > 0 ? vqc_text_count(arena, all.nonfinite) : NULL,
        };
        vqc_table_add(table, all.nonfinite > 0 ? VQC_STYLE_BAD : VQC_STYLE_NONE, cells);
    }
    vqc_table_print(table, stdout, &term);
    vqc_arena_destroy(&arena);
}

static int compare_times(const void *a, const void *b)
{
    const vqc_step_profile *x = a, *y = b;
    return x->time_ns != y->time_ns
               ? (x->time_ns < y->time_ns ? 1 : -1)
               : strcmp(x->label != NULL ? x->label : "", y->label != NULL ? y->label : "");
}

void vqc_run_show_profile(const vqc_run_results *results)
{
    static const vqc_column columns[] = {
        {"node", false, 20, 0}, {"operator", false, 0, 0}, {"calls", true, 0, 1},
        {"time", true, 0, 0},   {"share", true, 0, 0},
    };
    vqc_arena *arena = vqc_cli_arena();
    vqc_term term = vqc_term_stdout();
    vqc_table *table = vqc_table_create(arena, columns, sizeof columns / sizeof *columns);
    uint64_t total = 0;
    qsort(results->profile, results->profile_count, sizeof *results->profile, compare_times);
    for (size_t i = 0; i < results->profile_count; i++)
        total += results->profile[i].time_ns;
    for (size_t i = 0; i < results->profile_count && i < PROFILE_ROWS; i++) {
        const vqc_step_profile *step = &results->profile[i];
        if (step->calls == 0)
            break;
        const char *cells[] = {
            vqc_text_clean(arena, step->label),
            vqc_text_clean(arena, step->op),
            vqc_text_count(arena, step->calls),
            vqc_text_printf(arena, "%.3f ms", (double)step->time_ns * 1e-6),
            vqc_text_percent(arena, step->time_ns, total),
        };
        vqc_table_add(table, VQC_STYLE_NONE, cells);
    }
    vqc_table_print(table, stdout, &term);
    printf("  %zu steps, %.3f ms in all; at most %s of arrays at a time per thread\n",
           results->profile_count, (double)total * 1e-6, vqc_text_size(arena, results->peak_bytes));
    vqc_arena_destroy(&arena);
}
