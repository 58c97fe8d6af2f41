#include "core/evaluate_sums.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/exec/element.h"
#include "core/metrics.h"

static bool is_float(const vqc_buffer *buffer)
{
    vqc_class class = vqc_class_of(buffer->dtype);

    return class == VQC_CLASS_F32 || class == VQC_CLASS_F64;
}

void vqc_buffer_load_f64(const vqc_buffer *buffer, size_t at, size_t n, double *values)
{
    vqc_chunk chunk;

    vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
    vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F64, n);
    memcpy(values, chunk.f64, n * sizeof *values);
}

static double load_value(const vqc_buffer *buffer, size_t at)
{
    double value = 0.0;

    vqc_buffer_load_f64(buffer, at, 1, &value);
    return value;
}

static size_t chunk_size(size_t left)
{
    return left < VQC_EXEC_CHUNK ? left : (size_t)VQC_EXEC_CHUNK;
}

/* The buffer's dimensions other than 1 into dims; returns their number. */
static size_t squeeze(const vqc_buffer *buffer, size_t dims[VQC_EXEC_MAX_RANK])
{
    size_t rank = 0;

    for (size_t d = 0; d < buffer->rank; d++) {
        if (buffer->dims[d] != 1) {
            dims[rank++] = (size_t)buffer->dims[d];
        }
    }
    return rank;
}

/* A part of the values of a buffer as double; starts as at = n = 0. */
typedef struct part {
    size_t at; /* of values[0], from the first value on */
    size_t n;
    double values[VQC_EXEC_CHUNK];
} part;

/* The next part of buffer[first, first + count); false behind the last one. */
static bool next_part(const vqc_buffer *buffer, size_t first, size_t count, part *p)
{
    p->at += p->n;
    if (p->at >= count) {
        return false;
    }
    p->n = chunk_size(count - p->at);
    vqc_buffer_load_f64(buffer, first + p->at, p->n, p->values);
    return true;
}

static uint64_t count_nonfinite(const vqc_buffer *buffer)
{
    uint64_t count = 0;
    part p;

    if (!is_float(buffer)) {
        return 0;
    }
    if (buffer->dtype == VQC_DTYPE_FLOAT) {
        return vqc_kernels_get()->f32_count_nonfinite((const float *)(const void *)buffer->data,
                                                      buffer->elements);
    }
    p.at = p.n = 0;
    while (next_part(buffer, 0, buffer->elements, &p)) {
        for (size_t i = 0; i < p.n; i++) {
            count += isfinite(p.values[i]) ? 0 : 1;
        }
    }
    return count;
}

/* ---- classes ---- */

/* How many values of the row [classes] come before `label` when they are sorted from the largest
 * on, equal ones in order; `classes` when the row has a NaN. */
static size_t rank_of(const vqc_buffer *output, size_t row, size_t classes, size_t label)
{
    double own = load_value(output, row * classes + label);
    size_t before = 0;
    part p;

    p.at = p.n = 0;
    while (next_part(output, row * classes, classes, &p)) {
        for (size_t i = 0; i < p.n; i++) {
            if (isnan(p.values[i])) {
                return classes;
            }
            before += p.values[i] > own || (p.values[i] == own && p.at + i < label);
        }
    }
    return before;
}

size_t vqc_buffer_argmax(const vqc_buffer *buffer, size_t first, size_t count)
{
    double best = -(double)INFINITY;
    size_t place = 0;
    part p;

    p.at = p.n = 0;
    while (next_part(buffer, first, count, &p)) {
        for (size_t i = 0; i < p.n; i++) {
            if (isnan(p.values[i])) {
                return count;
            }
            if (p.values[i] > best) {
                best = p.values[i];
                place = p.at + i;
            }
        }
    }
    return place;
}

static vqc_status labels_misfit(const vqc_sample *sample, const vqc_buffer *output,
                                vqc_error *error)
{
    char shape[160] = "";
    size_t used = 0;

    for (size_t d = 0; d < output->rank && used + 24 < sizeof shape; d++) {
        const char *comma = d > 0 ? "," : "";
        int64_t dim = output->dims[d];
        char digits[24];
        size_t length = sizeof digits;
        do {
            digits[--length] = (char)('0' + dim % 10);
            dim /= 10;
        } while (dim > 0);
        if (*comma != '\0') {
            shape[used++] = ',';
        }
        memcpy(shape + used, digits + length, sizeof digits - length);
        used += sizeof digits - length;
        shape[used] = '\0';
    }
    return vqc_fail(error, VQC_ERR_MODEL,
                    "sample %zu: got %zu labels for an output of shape [%s], expected one label "
                    "per row of two and more classes",
                    sample->index, sample->label_count, shape);
}

static vqc_status add_labels(const vqc_sample *sample, const vqc_buffer *output,
                             vqc_accuracy_sums *sums, vqc_error *error)
{
    size_t count = sample->label_count;
    size_t classes = count > 0 && output->elements % count == 0 ? output->elements / count : 0;
    size_t dims[VQC_EXEC_MAX_RANK];
    size_t rank = squeeze(output, dims);
    bool is_class = classes == 1 && !is_float(output);

    if (vqc_class_of(output->dtype) == VQC_CLASS_NONE || classes == 0 ||
        (!is_class && (classes < 2 || rank == 0 || dims[rank - 1] != classes))) {
        return labels_misfit(sample, output, error);
    }
    sums->classes = is_class ? 0 : classes;
    for (size_t row = 0; row < count; row++) {
        int64_t label = sample->labels[row];
        if (label == VQC_SAMPLES_NO_LABEL) {
            continue;
        }
        if (label < 0 || (!is_class && (uint64_t)label >= classes)) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "sample %zu: label %" PRId64 " is none of the output's %zu classes, "
                            "0 to %zu; a label offset shifts them",
                            sample->index, label, classes, classes - 1);
        }
        sums->labelled++;
        if (is_class) {
            sums->top1_hits += vqc_element_int(output->dtype, output->data, row) == label;
        } else {
            size_t before = rank_of(output, row, classes, (size_t)label);
            sums->top1_hits += before == 0;
            sums->top5_hits += before < 5 && before < classes;
        }
    }
    return VQC_OK;
}

/* ---- targets ---- */

static vqc_status add_target(const vqc_sample *sample, const vqc_buffer *output,
                             vqc_accuracy_sums *sums, vqc_error *error)
{
    const vqc_buffer *target = sample->target;

    if (target->elements != output->elements || vqc_class_of(output->dtype) == VQC_CLASS_NONE) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "sample %zu: the target has %zu values, output 0 has %zu", sample->index,
                        target->elements, output->elements);
    }
    for (size_t at = 0; at < output->elements; at += VQC_EXEC_CHUNK) {
        double values[VQC_EXEC_CHUNK];
        double wanted[VQC_EXEC_CHUNK];
        size_t n = chunk_size(output->elements - at);
        vqc_buffer_load_f64(output, at, n, values);
        vqc_buffer_load_f64(target, at, n, wanted);
        for (size_t i = 0; i < n; i++) {
            sums->sum_err2 += (values[i] - wanted[i]) * (values[i] - wanted[i]);
        }
    }
    sums->target_values += output->elements;
    return VQC_OK;
}

/* ---- tokens ---- */

static bool is_integer_type(int32_t dtype)
{
    return dtype == VQC_DTYPE_INT64 || dtype == VQC_DTYPE_INT32;
}

size_t vqc_accuracy_token_input(const vqc_program *program)
{
    size_t input_count = 0;
    size_t output_count = 0;
    const vqc_program_port *inputs = vqc_program_inputs(program, &input_count);
    const vqc_program_port *outputs = vqc_program_outputs(program, &output_count);
    size_t found = input_count;
    vqc_class class;

    if (output_count == 0 || (outputs[0].rank >= 0 && outputs[0].rank != 3)) {
        return input_count;
    }
    class = vqc_class_of(outputs[0].dtype);
    if (outputs[0].dtype != VQC_DTYPE_UNDEFINED && class != VQC_CLASS_F32 &&
        class != VQC_CLASS_F64) {
        return input_count;
    }
    for (size_t i = input_count; i-- > 0;) {
        if (is_integer_type(inputs[i].dtype) && (inputs[i].rank == 2 || inputs[i].rank < 0)) {
            bool named = found < input_count && strstr(inputs[found].name, "input_ids") != NULL &&
                         strstr(inputs[i].name, "input_ids") == NULL;
            found = named ? found : i;
        }
    }
    return found;
}

bool vqc_accuracy_tokens_fit(const vqc_buffer *tokens, const vqc_buffer *output)
{
    return tokens->rank == 2 && output->rank == 3 && is_integer_type(tokens->dtype) &&
           is_float(output) && tokens->dims[0] == output->dims[0] &&
           tokens->dims[1] == output->dims[1] && tokens->dims[1] >= 2 && output->dims[2] >= 2;
}

/* -log softmax(row)[label] = log sum exp(x - max) - (x[label] - max), in double. */
static double negative_log_likelihood(const vqc_buffer *output, size_t row, size_t classes,
                                      size_t label)
{
    double highest = -(double)INFINITY;
    double sum = 0.0;
    part p;

    p.at = p.n = 0;
    while (next_part(output, row * classes, classes, &p)) {
        for (size_t i = 0; i < p.n; i++) {
            highest = p.values[i] > highest ? p.values[i] : highest;
        }
    }
    p.at = p.n = 0;
    while (next_part(output, row * classes, classes, &p)) {
        for (size_t i = 0; i < p.n; i++) {
            sum += exp(p.values[i] - highest);
        }
    }
    return log(sum) - (load_value(output, row * classes + label) - highest);
}

static vqc_status add_tokens(const vqc_sample *sample, const vqc_buffer *tokens,
                             const vqc_buffer *output, vqc_accuracy_sums *sums, vqc_error *error)
{
    size_t length = (size_t)tokens->dims[1];
    size_t vocabulary = (size_t)output->dims[2];

    for (size_t row = 0; row < tokens->elements; row++) {
        int64_t next;
        if (row % length == length - 1) {
            continue; /* nothing follows the last token */
        }
        next = vqc_element_int(tokens->dtype, tokens->data, row + 1);
        if (next < 0 || (uint64_t)next >= vocabulary) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "sample %zu: token %" PRId64 " is outside of the output's vocabulary "
                            "of %zu",
                            sample->index, next, vocabulary);
        }
        sums->sum_nll += negative_log_likelihood(output, row, vocabulary, (size_t)next);
        sums->tokens++;
    }
    return VQC_OK;
}

vqc_status vqc_accuracy_add(const vqc_sample *sample, const vqc_buffer *tokens,
                            vqc_buffer *const *outputs, size_t output_count,
                            vqc_accuracy_sums *sums, vqc_error *error)
{
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < output_count; i++) {
        sums->nonfinite += count_nonfinite(outputs[i]);
    }
    if (output_count == 0) {
        return VQC_OK;
    }
    if (sample->labels != NULL) {
        status = add_labels(sample, outputs[0], sums, error);
    } else if (tokens != NULL && vqc_accuracy_tokens_fit(tokens, outputs[0])) {
        status = add_tokens(sample, tokens, outputs[0], sums, error);
    }
    if (status == VQC_OK && sample->target != NULL) {
        status = add_target(sample, outputs[0], sums, error);
    }
    return status;
}

/* ---- two models ---- */

/* Floats of any type in double; the same infinity, or NaN, in both is left out. */
static void add_floats(const vqc_buffer *ref, const vqc_buffer *got, vqc_pair_sums *sums)
{
    vqc_error_sums both = {0};

    for (size_t at = 0; at < ref->elements; at += VQC_EXEC_CHUNK) {
        double a[VQC_EXEC_CHUNK];
        double b[VQC_EXEC_CHUNK];
        size_t n = chunk_size(ref->elements - at);
        vqc_buffer_load_f64(ref, at, n, a);
        vqc_buffer_load_f64(got, at, n, b);
        for (size_t i = 0; i < n; i++) {
            double difference = a[i] - b[i];
            if (!isfinite(a[i]) || !isfinite(b[i])) {
                bool same = (isnan(a[i]) && isnan(b[i])) || a[i] == b[i];
                sums->poisoned = sums->poisoned || !same;
                continue;
            }
            both.sum_err2 += difference * difference;
            both.sum_ref2 += a[i] * a[i];
            both.sum_dec2 += b[i] * b[i];
            both.sum_ref_dec += a[i] * b[i];
            both.max_abs_err = fmaxf(both.max_abs_err, (float)fabs(difference));
            both.count++;
        }
    }
    vqc_error_sums_add(&sums->errors, &both);
}

static void add_integers(const vqc_buffer *ref, const vqc_buffer *got, vqc_pair_sums *sums)
{
    bool mixed = vqc_class_of(ref->dtype) != vqc_class_of(got->dtype);

    for (size_t at = 0; at < ref->elements; at += VQC_EXEC_CHUNK) {
        vqc_chunk a;
        vqc_chunk b;
        size_t n = chunk_size(ref->elements - at);
        vqc_element_load(ref->dtype, ref->data + at * ref->width, n, &a);
        vqc_element_load(got->dtype, got->data + at * got->width, n, &b);
        for (size_t i = 0; i < n; i++) {
            /* the same bits are the same number unless one is negative and the other above 2^63 */
            sums->equal += a.u64[i] == b.u64[i] && !(mixed && a.i64[i] < 0);
        }
    }
    sums->values += ref->elements;
}

/* Whether the output holds rows of classes. */
static bool find_rows(const vqc_buffer *output, size_t *rows, size_t *classes)
{
    size_t dims[VQC_EXEC_MAX_RANK];
    size_t rank = squeeze(output, dims);

    if (rank < 1 || rank > 2 || output->elements == 0) {
        return false;
    }
    *rows = rank == 2 ? dims[0] : 1;
    *classes = dims[rank - 1];
    return true;
}

vqc_status vqc_pair_add(const vqc_buffer *ref, const vqc_buffer *got, const char *name,
                        vqc_pair_sums *sums, vqc_error *error)
{
    size_t rows = 0;
    size_t classes = 0;

    if (ref->rank != got->rank || ref->elements != got->elements ||
        (ref->rank > 0 && memcmp(ref->dims, got->dims, ref->rank * sizeof *ref->dims) != 0)) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "output \"%.200s\": the models give different shapes (%zu and %zu values)",
                        name, ref->elements, got->elements);
    }
    if (is_float(ref) != is_float(got)) {
        return vqc_fail(error, VQC_ERR_MODEL, "output \"%.200s\": one model gives %s, the other %s",
                        name, vqc_dtype_describe(ref->dtype)->name,
                        vqc_dtype_describe(got->dtype)->name);
    }
    if (vqc_class_of(ref->dtype) == VQC_CLASS_NONE || vqc_class_of(got->dtype) == VQC_CLASS_NONE) {
        return VQC_OK; /* no numbers: nothing to compare */
    }
    if (!is_float(ref)) {
        add_integers(ref, got, sums);
        return VQC_OK;
    }
    sums->nonfinite_ref = count_nonfinite(ref);
    sums->nonfinite = count_nonfinite(got);
    if (ref->dtype == VQC_DTYPE_FLOAT && got->dtype == VQC_DTYPE_FLOAT &&
        sums->nonfinite_ref == 0 && sums->nonfinite == 0) {
        vqc_error_sums_add_f32((const float *)(const void *)ref->data,
                               (const float *)(const void *)got->data, ref->elements,
                               &sums->errors);
    } else {
        add_floats(ref, got, sums);
    }
    if (find_rows(ref, &rows, &classes)) {
        sums->rows = rows;
        for (size_t row = 0; row < rows; row++) {
            size_t place = vqc_buffer_argmax(ref, row * classes, classes);
            sums->top1_equal +=
                place < classes && place == vqc_buffer_argmax(got, row * classes, classes);
        }
    }
    return VQC_OK;
}
