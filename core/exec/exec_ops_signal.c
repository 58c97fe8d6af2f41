/* DFT, STFT, HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix. */
#include <math.h>
#include <string.h>

#include "core/exec/exec_op.h"
#include "core/exec/fourier.h"
#include "core/exec/working.h"
#include "core/graph.h"

#define PI 3.14159265358979323846

/* One integer of input i into *value, when it is there. */
static vqc_status read_int(vqc_exec_call *call, size_t i, int64_t *value, bool *given)
{
    const vqc_buffer *buffer = vqc_exec_input(call, i);
    size_t count;

    *given = buffer != NULL;
    if (buffer == NULL) {
        return VQC_OK;
    }
    if (buffer->elements != 1) {
        return vqc_exec_fail(call, "input %zu: got %zu values, expected one", i, buffer->elements);
    }
    return vqc_exec_ints(call, buffer, value, 1, &count);
}

static vqc_status check_floats(vqc_exec_call *call)
{
    vqc_class class = vqc_class_of(call->inputs[0]->dtype);

    return class == VQC_CLASS_F32 || class == VQC_CLASS_F64
               ? VQC_OK
               : vqc_exec_fail(call, "input: expected floats");
}

static vqc_status check_signal(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];

    if (in->rank < 2 || (in->dims[in->rank - 1] != 1 && in->dims[in->rank - 1] != 2)) {
        return vqc_exec_fail(call, "input: expected a last axis of 1 or 2");
    }
    return check_floats(call);
}

static bool make_plan(vqc_exec_call *call, size_t n, vqc_fourier *plan)
{
    double *memory = vqc_exec_scratch_array(call, vqc_fourier_doubles(n), 1, sizeof *memory, false);

    if (memory != NULL) {
        vqc_fourier_init(plan, n, memory);
    }
    return memory != NULL;
}

/* ---- DFT ---- */

typedef struct dft {
    size_t axis, n;
    bool inverse, onesided;
} dft;

static vqc_status parse_dft(vqc_exec_call *call, dft *d)
{
    const vqc_buffer *in = call->inputs[0];
    int64_t axis = call->opset < 20 ? vqc_node_attr_int(call->node, "axis", 1) : -2;
    int64_t n;
    bool given;
    vqc_status status = check_signal(call);

    if (status == VQC_OK && call->opset >= 20) {
        status = read_int(call, 2, &axis, &given);
    }
    if (status == VQC_OK) {
        status = vqc_exec_axis(call, axis, in->rank, &d->axis);
    }
    if (status == VQC_OK) {
        status = read_int(call, 1, &n, &given);
    }
    if (status != VQC_OK) {
        return status;
    }
    d->inverse = vqc_node_attr_int(call->node, "inverse", 0) != 0;
    d->onesided = vqc_node_attr_int(call->node, "onesided", 0) != 0;
    if (d->axis + 1 == in->rank) {
        return vqc_exec_fail(call, "axis: got the last one, which has the parts of the numbers");
    }
    if (!given) {
        n = d->inverse && d->onesided ? 2 * (in->dims[d->axis] - 1) : in->dims[d->axis];
    }
    if (n < 1 || n > VQC_FOURIER_MAX) {
        return vqc_exec_fail(call, "dft_length: got %lld, expected 1 to %d", (long long)n,
                             VQC_FOURIER_MAX);
    }
    if (d->onesided && !d->inverse && in->dims[in->rank - 1] == 2) {
        return vqc_exec_fail(call, "onesided: the input is complex, expected a real one");
    }
    d->n = (size_t)n;
    return VQC_OK;
}

static vqc_status shape_dft(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    dft d;
    vqc_status status = parse_dft(call, &d);

    if (status != VQC_OK) {
        return status;
    }
    vqc_exec_type_like(type, call->inputs[0]);
    type->dims[d.axis] = (int64_t)(d.onesided && !d.inverse ? d.n / 2 + 1 : d.n);
    type->dims[type->rank - 1] = d.onesided && d.inverse ? 1 : 2;
    return VQC_OK;
}

/* Line of `length` numbers of `parts` at `stride` elements into data [n] complex, filled up with
 * zeros; a one-sided spectrum is completed by its mirror image. */
static void load_line(const double *in, size_t length, size_t stride, size_t parts, const dft *d,
                      double *data)
{
    size_t used = length < d->n ? length : d->n;

    memset(data, 0, 2 * d->n * sizeof *data);
    if (d->onesided && d->inverse) {
        used = used < d->n / 2 + 1 ? used : d->n / 2 + 1;
    }
    for (size_t i = 0; i < used; i++) {
        double re = in[i * stride];
        double im = parts == 2 ? in[i * stride + 1] : 0.0;
        size_t mirror = i == 0 ? 0 : d->n - i;

        if (d->onesided && d->inverse) {
            im = mirror == i ? 0.0 : im;
            data[2 * mirror] = re;
            data[2 * mirror + 1] = -im;
        }
        data[2 * i] = re;
        data[2 * i + 1] = im;
    }
}

static vqc_status run_dft(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    const vqc_buffer *out = call->outputs[0];
    vqc_fourier plan;
    dft d;
    vqc_status status = parse_dft(call, &d);
    const double *x = vqc_exec_values(call, in, VQC_CLASS_F64);
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);
    double *line = vqc_exec_scratch_array(call, d.n, 2, sizeof *line, false);
    size_t parts = (size_t)in->dims[in->rank - 1];
    size_t out_parts = (size_t)out->dims[in->rank - 1];
    size_t length = (size_t)in->dims[d.axis];
    size_t bins = (size_t)out->dims[d.axis];
    size_t outer, inner;

    if (status != VQC_OK || x == NULL || y == NULL || line == NULL ||
        !make_plan(call, d.n, &plan)) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    outer = out->elements == 0 ? 0 : vqc_exec_product(in->dims, 0, d.axis);
    inner = vqc_exec_product(in->dims, d.axis + 1, in->rank - 1);
    for (size_t i = 0; i < outer * inner; i++) {
        size_t o = i / inner;
        size_t k = i % inner;
        double *to = y + (o * bins * inner + k) * out_parts;

        load_line(x + (o * length * inner + k) * parts, length, inner * parts, parts, &d, line);
        vqc_fourier_run(&plan, line, d.inverse);
        for (size_t b = 0; b < bins; b++) {
            for (size_t p = 0; p < out_parts; p++) {
                double value = line[2 * b + p];
                to[b * inner * out_parts + p] = d.inverse ? value / (double)d.n : value;
            }
        }
    }
    vqc_exec_target_store(call->outputs[0], VQC_CLASS_F64, y);
    return VQC_OK;
}

/* ---- STFT ---- */

enum { STEP = 1, WINDOW, FRAME };

typedef struct stft {
    size_t step, frame, frames, bins;
    size_t parts; /* 1: real, 2: complex */
} stft;

static vqc_status parse_stft(vqc_exec_call *call, stft *s)
{
    const vqc_buffer *in = call->inputs[0];
    const vqc_buffer *window = vqc_exec_input(call, WINDOW);
    bool onesided = vqc_node_attr_int(call->node, "onesided", 1) != 0;
    int64_t step, frame;
    /* [batch, length], as exporters write real signals, besides the standard's [.., 1 or 2] */
    bool is_plain = in->rank == 2;
    bool given;
    vqc_status status = is_plain ? check_floats(call) : check_signal(call);

    if (status == VQC_OK) {
        status = read_int(call, STEP, &step, &given);
    }
    if (status == VQC_OK) {
        status = read_int(call, FRAME, &frame, &given);
    }
    if (status == VQC_OK) {
        status = vqc_exec_expect(call, WINDOW, in->dtype, 1, NULL);
    }
    if (status != VQC_OK) {
        return status;
    }
    if (in->rank != 3 && !is_plain) {
        return vqc_exec_fail(call, "signal: got rank %zu, expected 2 or 3", in->rank);
    }
    s->parts = is_plain ? 1 : (size_t)in->dims[2];
    if (!given) {
        frame = window != NULL ? window->dims[0] : in->dims[1];
    }
    if (step < 1 || frame < 1 || frame > in->dims[1] || frame > VQC_FOURIER_MAX ||
        (window != NULL && window->dims[0] != frame)) {
        return vqc_exec_fail(call, "got frames of %lld at steps of %lld for a signal of %lld",
                             (long long)frame, (long long)step, (long long)in->dims[1]);
    }
    if (onesided && s->parts == 2) {
        return vqc_exec_fail(call, "onesided: the signal is complex, expected a real one");
    }
    s->step = (size_t)step;
    s->frame = (size_t)frame;
    s->frames = (size_t)((in->dims[1] - frame) / step + 1);
    s->bins = onesided ? s->frame / 2 + 1 : s->frame;
    return VQC_OK;
}

static vqc_status shape_stft(vqc_exec_call *call)
{
    vqc_exec_type *type = &call->types[0];
    stft s;
    vqc_status status = parse_stft(call, &s);

    if (status == VQC_OK) {
        type->dtype = call->inputs[0]->dtype;
        type->rank = 4;
        type->dims[0] = call->inputs[0]->dims[0];
        type->dims[1] = (int64_t)s.frames;
        type->dims[2] = (int64_t)s.bins;
        type->dims[3] = 2;
    }
    return status;
}

static vqc_status run_stft(vqc_exec_call *call)
{
    const vqc_buffer *in = call->inputs[0];
    const vqc_buffer *window = vqc_exec_input(call, WINDOW);
    vqc_fourier plan;
    stft s;
    vqc_status status = parse_stft(call, &s);
    const double *x = vqc_exec_values(call, in, VQC_CLASS_F64);
    const double *w = window == NULL ? NULL : vqc_exec_values(call, window, VQC_CLASS_F64);
    double *y = vqc_exec_target(call, call->outputs[0], VQC_CLASS_F64);
    double *line = vqc_exec_scratch_array(call, s.frame, 2, sizeof *line, false);
    size_t length = (size_t)in->dims[1];

    if (status != VQC_OK || x == NULL || y == NULL || line == NULL ||
        (window != NULL && w == NULL) || !make_plan(call, s.frame, &plan)) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < (size_t)in->dims[0] * s.frames; i++) {
        const double *from = x + (i / s.frames * length + i % s.frames * s.step) * s.parts;

        for (size_t k = 0; k < s.frame; k++) {
            double factor = w == NULL ? 1.0 : w[k];
            line[2 * k] = from[k * s.parts] * factor;
            line[2 * k + 1] = s.parts == 2 ? from[k * s.parts + 1] * factor : 0.0;
        }
        vqc_fourier_run(&plan, line, false);
        memcpy(y + i * s.bins * 2, line, s.bins * 2 * sizeof *y);
    }
    vqc_exec_target_store(call->outputs[0], VQC_CLASS_F64, y);
    return VQC_OK;
}

/* ---- windows: a sum of cosines ---- */

typedef struct cosine_window {
    double a0, a1, a2; /* a0 - a1 cos(x) + a2 cos(2 x) */
} cosine_window;

static const cosine_window HANN = {0.5, 0.5, 0.0};
static const cosine_window HAMMING = {25.0 / 46.0, 21.0 / 46.0, 0.0};
static const cosine_window BLACKMAN = {0.42, 0.5, 0.08};

static vqc_status set_output_type(vqc_exec_call *call)
{
    int64_t dtype = vqc_node_attr_int(call->node, "output_datatype", VQC_DTYPE_FLOAT);

    if (dtype < 0 || dtype >= VQC_DTYPE_COUNT || vqc_class_of((int32_t)dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "output_datatype: got %lld", (long long)dtype);
    }
    call->types[0].dtype = (int32_t)dtype;
    return VQC_OK;
}

static vqc_status shape_window(vqc_exec_call *call)
{
    int64_t size;
    bool given;
    vqc_status status = read_int(call, 0, &size, &given);

    if (status == VQC_OK && size < 0) {
        status = vqc_exec_fail(call, "size: got %lld", (long long)size);
    }
    call->types[0].rank = 1;
    call->types[0].dims[0] = size;
    return status == VQC_OK ? set_output_type(call) : status;
}

static vqc_status run_window(vqc_exec_call *call)
{
    const cosine_window *window = call->detail;
    vqc_buffer *out = call->outputs[0];
    bool periodic = vqc_node_attr_int(call->node, "periodic", 1) != 0;
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);
    double span = (double)out->elements - (periodic ? 0.0 : 1.0);

    if (y == NULL) {
        return VQC_ERR_INTERNAL;
    }
    for (size_t i = 0; i < out->elements; i++) {
        double x = 2.0 * PI * (double)i / span;
        y[i] = window->a0 - window->a1 * cos(x) + window->a2 * cos(2.0 * x);
        y[i] = span > 0.0 ? y[i] : 1.0; /* a window of one element */
    }
    vqc_exec_target_store(out, VQC_CLASS_F64, y);
    return VQC_OK;
}

/* ---- MelWeightMatrix ---- */

enum { BINS, DFT_LENGTH, SAMPLE_RATE, LOW, HIGH, MAX_BINS = 1 << 20 };

static vqc_status read_real(vqc_exec_call *call, size_t i, double *value)
{
    const vqc_buffer *buffer = call->inputs[i];
    const double *values;

    if (buffer->elements != 1 || vqc_class_of(buffer->dtype) == VQC_CLASS_NONE) {
        return vqc_exec_fail(call, "input %zu: expected one number", i);
    }
    values = vqc_exec_values(call, buffer, VQC_CLASS_F64);
    if (values == NULL) {
        return VQC_ERR_INTERNAL;
    }
    memcpy(value, values, sizeof *value);
    return VQC_OK;
}

static vqc_status shape_mel(vqc_exec_call *call)
{
    int64_t bins, length;
    bool given;
    vqc_status status = read_int(call, BINS, &bins, &given);

    if (status == VQC_OK) {
        status = read_int(call, DFT_LENGTH, &length, &given);
    }
    if (status == VQC_OK && (bins < 0 || bins > MAX_BINS || length < 0 || length > INT32_MAX)) {
        status = vqc_exec_fail(call, "got %lld bins for a dft_length of %lld", (long long)bins,
                               (long long)length);
    }
    if (status != VQC_OK) {
        return status;
    }
    call->types[0].rank = 2;
    call->types[0].dims[0] = length / 2 + 1;
    call->types[0].dims[1] = bins;
    return set_output_type(call);
}

/* Column `band` of the matrix: a triangle over the spectrogram bins [left, right). */
static void fill_band(double *y, size_t bands, size_t band, size_t left, size_t center,
                      size_t right)
{
    for (size_t j = left; j <= center; j++) {
        y[j * bands + band] = center == left ? 1.0 : (double)(j - left) / (double)(center - left);
    }
    for (size_t j = center; j < right; j++) {
        y[j * bands + band] = (double)(right - j) / (double)(right - center);
    }
}

static vqc_status run_mel(vqc_exec_call *call)
{
    vqc_buffer *out = call->outputs[0];
    size_t bands = (size_t)out->dims[1];
    size_t rows = (size_t)out->dims[0];
    double *y = vqc_exec_target(call, out, VQC_CLASS_F64);
    int64_t length, rate;
    bool given;
    double low, high;
    vqc_status status = read_int(call, DFT_LENGTH, &length, &given);

    if (status == VQC_OK) {
        status = read_int(call, SAMPLE_RATE, &rate, &given);
    }
    if (status == VQC_OK) {
        status = read_real(call, LOW, &low);
    }
    if (status == VQC_OK) {
        status = read_real(call, HIGH, &high);
    }
    if (status != VQC_OK || y == NULL) {
        return status != VQC_OK ? status : VQC_ERR_INTERNAL;
    }
    if (rate < 1 || !(low >= 0.0) || !(high >= low)) {
        return vqc_exec_fail(call, "got sample_rate %lld and edges %g and %g Hz", (long long)rate,
                             low, high);
    }
    memset(y, 0, out->elements * sizeof *y);
    low = 2595.0 * log10(1.0 + low / 700.0); /* Hz to mel */
    high = 2595.0 * log10(1.0 + high / 700.0);
    for (size_t band = 0; band < bands; band++) {
        size_t edges[3];

        for (size_t i = 0; i < 3; i++) {
            double mel = low + (double)(band + i) * (high - low) / (double)(bands + 2);
            double hertz = 700.0 * (pow(10.0, mel / 2595.0) - 1.0);
            double edge = floor((double)(length + 1) * hertz / (double)rate);

            if (!(edge >= 0.0) || edge >= (double)rows) {
                return vqc_exec_fail(call, "upper_edge_hertz: band %zu reaches bin %g of %zu", band,
                                     edge, rows);
            }
            edges[i] = (size_t)edge;
        }
        fill_band(y, bands, band, edges[0], edges[1], edges[2]);
    }
    vqc_exec_target_store(out, VQC_CLASS_F64, y);
    return VQC_OK;
}

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("DFT", "", 17, 1, shape_dft, run_dft, .detail = NULL),
    VQC_EXEC_ROW("STFT", "", 17, 2, shape_stft, run_stft, .detail = NULL),
    VQC_EXEC_ROW("HannWindow", "", 17, 1, shape_window, run_window, .detail = &HANN),
    VQC_EXEC_ROW("HammingWindow", "", 17, 1, shape_window, run_window, .detail = &HAMMING),
    VQC_EXEC_ROW("BlackmanWindow", "", 17, 1, shape_window, run_window, .detail = &BLACKMAN),
    VQC_EXEC_ROW("MelWeightMatrix", "", 17, 5, shape_mel, run_mel, .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_signal = {OPS, sizeof OPS / sizeof OPS[0]};
