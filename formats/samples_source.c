#include "formats/samples_source.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- problems ---- */

void vqc_samples_problem(vqc_samples_problems *problems, vqc_status code, const char *format, ...)
{
    vqc_error line = {code, ""};
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line.message, sizeof line.message, format, args);
    va_end(args);
    for (char *p = line.message; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            *p = '?'; /* names come from files */
        }
    }
    vqc_samples_problem_error(problems, &line);
}

void vqc_samples_problem_error(vqc_samples_problems *problems, const vqc_error *error)
{
    if (problems->count == 0) {
        problems->status = error->code;
        if (problems->error != NULL) {
            *problems->error = *error;
        }
    }
    problems->count++;
    if (problems->list == NULL || problems->count > VQC_SAMPLES_MAX_PROBLEMS + 1) {
        return;
    }
    if (problems->count > VQC_SAMPLES_MAX_PROBLEMS) {
        (void)vqc_messages_add(problems->list, "there are more problems; these are the first %d",
                               (int)VQC_SAMPLES_MAX_PROBLEMS);
    } else {
        (void)vqc_messages_add(problems->list, "%s", error->message);
    }
}

/* ---- the source ---- */

static void empty_slot(const vqc_samples_source *self, vqc_samples_slot *slot)
{
    for (size_t i = 0; slot->inputs != NULL && i < self->port_count; i++) {
        vqc_buffer_destroy(&slot->inputs[i]);
    }
    vqc_buffer_destroy(&slot->target);
    free(slot->labels);
    slot->labels = NULL;
    slot->label_count = 0;
}

static vqc_status source_read(vqc_samples *samples, size_t index, size_t slot_index,
                              vqc_sample *out, vqc_error *error)
{
    vqc_samples_source *self = samples->state;
    vqc_samples_slot *slot;
    size_t from;
    vqc_status status;

    if (index >= vqc_samples_total(samples) || slot_index >= VQC_SAMPLES_MAX_SLOTS) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%s: sample %zu of %zu, slot %zu", self->path,
                        index, samples->count, slot_index);
    }
    slot = &self->slots[slot_index];
    if (slot->inputs == NULL) {
        slot->inputs = calloc(self->port_count + 1, sizeof(vqc_buffer *));
        if (slot->inputs == NULL) {
            return vqc_fail_memory(error, (self->port_count + 1) * sizeof(vqc_buffer *));
        }
    }
    empty_slot(self, slot);
    from = vqc_samples_spread(index % samples->count, samples->count, self->total);
    slot->view = index / samples->count;
    status = self->fill(self, from, slot, error);
    if (status != VQC_OK) {
        empty_slot(self, slot);
        return status;
    }
    *out = (vqc_sample){
        .index = index,
        .inputs = (const vqc_buffer *const *)slot->inputs,
        .labels = slot->labels,
        .label_count = slot->label_count,
        .target = slot->target,
    };
    return VQC_OK;
}

static void source_release(vqc_samples *samples, size_t slot)
{
    vqc_samples_source *self = samples->state;

    empty_slot(self, &self->slots[slot]);
}

static void source_destroy(vqc_samples *samples)
{
    vqc_samples_source *self = samples->state;

    vqc_samples_source_destroy(&self);
}

/* A copy of `text` that the source owns; NULL when out of memory. */
static const char *keep_string(vqc_samples_source *self, const char *text)
{
    char *copy = strdup(text);

    if (copy != NULL) {
        self->strings[self->string_count++] = copy;
    }
    return copy;
}

vqc_status vqc_samples_source_create(const char *path, const vqc_program_port *inputs,
                                     size_t input_count, vqc_samples_source **out, vqc_error *error)
{
    vqc_samples_source *self = calloc(1, sizeof *self);
    bool good = self != NULL;

    *out = NULL;
    if (good) {
        self->ports = calloc(input_count + 1, sizeof *self->ports);
        self->strings = calloc((input_count + 1) * (VQC_EXEC_MAX_RANK + 1), sizeof *self->strings);
        self->slots = calloc(VQC_SAMPLES_MAX_SLOTS, sizeof *self->slots);
        self->path = strdup(path);
        good = self->ports != NULL && self->strings != NULL && self->slots != NULL &&
               self->path != NULL;
    }
    for (size_t i = 0; good && i < input_count; i++) {
        vqc_program_port *port = &self->ports[i];
        *port = inputs[i];
        port->name = keep_string(self, inputs[i].name);
        good = port->name != NULL;
        for (int d = 0; good && d < port->rank; d++) {
            if (port->dim_names[d] != NULL) {
                port->dim_names[d] = keep_string(self, port->dim_names[d]);
                good = port->dim_names[d] != NULL;
            }
        }
        self->port_count = i + 1;
    }
    if (!good) {
        vqc_samples_source_destroy(&self);
        return vqc_fail_memory(error, VQC_SAMPLES_MAX_SLOTS * sizeof(vqc_samples_slot));
    }
    self->samples.path = self->path;
    self->samples.input_count = input_count;
    self->samples.views = 1;
    self->samples.state = self;
    self->samples.read = source_read;
    self->samples.release = source_release;
    self->samples.destroy = source_destroy;
    *out = self;
    return VQC_OK;
}

void vqc_samples_source_set_count(vqc_samples_source *self, size_t total, size_t max_samples)
{
    self->total = total;
    self->samples.count = max_samples != 0 && max_samples < total ? max_samples : total;
}

void vqc_samples_source_destroy(vqc_samples_source **source)
{
    vqc_samples_source *self;

    if (source == NULL || *source == NULL) {
        return;
    }
    self = *source;
    for (size_t i = 0; self->slots != NULL && i < VQC_SAMPLES_MAX_SLOTS; i++) {
        empty_slot(self, &self->slots[i]);
        free(self->slots[i].inputs);
    }
    if (self->close != NULL) {
        self->close(self->detail);
    }
    for (size_t i = 0; i < self->string_count; i++) {
        free(self->strings[i]);
    }
    free(self->strings);
    free(self->slots);
    free(self->ports);
    free(self->path);
    free(self);
    *source = NULL;
}

/* ---- ports ---- */

bool vqc_samples_shape_fits(const vqc_program_port *port, const int64_t *dims, size_t rank)
{
    if (port->rank < 0) {
        return true;
    }
    if ((size_t)port->rank != rank) {
        return false;
    }
    for (size_t d = 0; d < rank; d++) {
        if (port->dims[d] >= 0 && port->dims[d] != dims[d]) {
            return false;
        }
    }
    return true;
}

/* Text that grows in a fixed buffer and ends in "..." when it is full. */
typedef struct short_text {
    char *text; /* [VQC_SAMPLES_TEXT] */
    size_t used;
} short_text;

static void append(short_text *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(short_text *out, const char *format, ...)
{
    size_t room = VQC_SAMPLES_TEXT - out->used;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(out->text + out->used, room, format, args);
    va_end(args);
    if (length < 0) {
        return;
    }
    if ((size_t)length >= room) {
        memcpy(out->text + VQC_SAMPLES_TEXT - 4, "...", 4);
        out->used = VQC_SAMPLES_TEXT - 1;
    } else {
        out->used += (size_t)length;
    }
}

const char *vqc_samples_describe(int32_t dtype, const int64_t *dims, size_t rank, char *text)
{
    short_text out = {text, 0};

    append(&out, "%s [", vqc_dtype_describe(dtype)->name);
    for (size_t d = 0; d < rank; d++) {
        append(&out, "%s%" PRId64, d > 0 ? "," : "", dims[d]);
    }
    append(&out, "]");
    return text;
}

const char *vqc_samples_describe_port(const vqc_program_port *port, char *text)
{
    short_text out = {text, 0};

    append(&out, "%s",
           port->dtype == VQC_DTYPE_UNDEFINED ? "any type" : vqc_dtype_describe(port->dtype)->name);
    if (port->rank < 0) {
        append(&out, " of any shape");
        return text;
    }
    append(&out, " [");
    for (int d = 0; d < port->rank; d++) {
        const char *comma = d > 0 ? "," : "";
        if (port->dims[d] >= 0) {
            append(&out, "%s%" PRId64, comma, port->dims[d]);
        } else {
            append(&out, "%s%.40s", comma, port->dim_names[d] != NULL ? port->dim_names[d] : "?");
        }
    }
    append(&out, "]");
    return text;
}

size_t vqc_samples_find_port(const vqc_samples_source *self, const char *name)
{
    size_t i = 0;

    while (i < self->port_count && strcmp(self->ports[i].name, name) != 0) {
        i++;
    }
    return i;
}

const char *vqc_samples_list_ports(const vqc_samples_source *self, char *text)
{
    short_text out = {text, 0};

    text[0] = '\0';
    for (size_t i = 0; i < self->port_count; i++) {
        const char *before = i == 0 ? "" : i + 1 == self->port_count ? " and " : ", ";
        append(&out, "%s\"%.80s\"", before, self->ports[i].name);
    }
    return text;
}

vqc_status vqc_samples_fit_port(const vqc_program_port *port, vqc_buffer **buffer, const char *what,
                                vqc_error *error)
{
    char got[VQC_SAMPLES_TEXT];
    char wanted[VQC_SAMPLES_TEXT];

    if (!vqc_samples_shape_fits(port, (*buffer)->dims, (*buffer)->rank) ||
        !vqc_samples_type_fits((*buffer)->dtype, port->dtype)) {
        return vqc_fail(
            error, VQC_ERR_MODEL, "%s: input \"%.100s\": got %.200s, expected %.200s", what,
            port->name,
            vqc_samples_describe((*buffer)->dtype, (*buffer)->dims, (*buffer)->rank, got),
            vqc_samples_describe_port(port, wanted));
    }
    return vqc_samples_convert(buffer, port->dtype, what, error);
}
