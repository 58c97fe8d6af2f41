/* Samples from .npz and .npy files: one file with an axis of samples, or a folder of files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "formats/npz_slices.h"
#include "formats/samples_source.h"

/* Where the samples of one array lie. */
typedef struct binding {
    bool used;
    bool shared;                     /* one value for all samples */
    size_t array;                    /* which one of the file */
    size_t count;                    /* samples; no meaning when shared */
    int64_t dims[VQC_EXEC_MAX_RANK]; /* [rank] of one sample */
    size_t rank;
    size_t sample_bytes;
} binding;

typedef struct array_samples {
    vqc_npz_slices *slices;
    binding *inputs; /* [port_count] */
    binding labels;
    binding target;
    size_t count;
} array_samples;

/* What an array is for. */
static bool is_named(const vqc_npz_slices_array *array, const char *name)
{
    return array->name != NULL && strcmp(array->name, name) == 0;
}

static const char *describe_array(const vqc_npz_slices_array *array, char *text)
{
    return vqc_samples_describe((int32_t)array->type.dtype, array->type.dims, array->type.rank,
                                text);
}

/* Sets dims and sample_bytes from dims [rank] behind a first dimension of `chunk` (0: no first
 * dimension). */
static bool set_sample_dims(binding *out, const vqc_npz_slices_array *array, const int64_t *dims,
                            size_t rank, int64_t chunk)
{
    size_t first = chunk > 0 ? 1 : 0;
    size_t elements;

    if (rank + first > VQC_EXEC_MAX_RANK) {
        return false;
    }
    if (chunk > 0) {
        out->dims[0] = chunk;
    }
    for (size_t d = 0; d < rank; d++) {
        out->dims[first + d] = dims[d];
    }
    out->rank = rank + first;
    return vqc_exec_sizes(out->dims, out->rank, array->type.item_bytes, &elements,
                          &out->sample_bytes);
}

/* How the array serves the port: along its batch axis, a leading axis, or (whole) as it is. */
static bool bind_input(const vqc_program_port *port, const vqc_npz_slices_array *array, bool whole,
                       binding *out)
{
    const int64_t *dims = array->type.dims;
    size_t rank = array->type.rank;
    int64_t chunk = 1;

    if (port->rank >= 0 && rank == (size_t)port->rank + 1 && (!whole || dims[0] == 1)) {
        out->count = (size_t)dims[0];
        return set_sample_dims(out, array, dims + 1, rank - 1, 0) &&
               vqc_samples_shape_fits(port, out->dims, out->rank);
    }
    if (whole || rank == 0) {
        out->count = 1;
        out->shared = rank == 0 && !whole;
        return set_sample_dims(out, array, dims, rank, 0) &&
               vqc_samples_shape_fits(port, out->dims, out->rank);
    }
    if (port->rank > 0 && port->dims[0] > 0) {
        chunk = port->dims[0];
    }
    if (dims[0] % chunk != 0) {
        return false;
    }
    out->count = (size_t)(dims[0] / chunk);
    return set_sample_dims(out, array, dims + 1, rank - 1, chunk) &&
           vqc_samples_shape_fits(port, out->dims, out->rank);
}

/* The wanted shape, with what may stand in front of it. */
static void shape_problem(const char *path, const vqc_program_port *port,
                          const vqc_npz_slices_array *array, bool whole,
                          vqc_samples_problems *problems)
{
    char got[VQC_SAMPLES_TEXT];
    char wanted[VQC_SAMPLES_TEXT];
    const char *how = whole ? "" : ", with samples along its first axis or one axis more in front";

    if (!whole && port->rank > 0 && port->dims[0] > 1) {
        how =
            ", with samples in groups of that many along its first axis or one axis more in front";
    }
    vqc_samples_problem(problems, VQC_ERR_MODEL,
                        "%.300s: input \"%.100s\": got %.200s, expected %.200s%s", path, port->name,
                        describe_array(array, got), vqc_samples_describe_port(port, wanted), how);
}

/* Finds the array of every port. */
static void bind_inputs(const vqc_samples_source *self, const char *path, array_samples *arrays,
                        bool whole, vqc_samples_problems *problems)
{
    size_t count = 0;
    const vqc_npz_slices_array *list = vqc_npz_slices_arrays(arrays->slices, &count);
    size_t required = 0;
    size_t only = 0;

    for (size_t i = 0; i < self->port_count; i++) {
        required += !self->ports[i].has_default;
        only = self->ports[i].has_default ? only : i;
    }
    for (size_t i = 0; i < self->port_count; i++) {
        const vqc_program_port *port = &self->ports[i];
        binding *bound = &arrays->inputs[i];
        size_t at = 0;
        char got[VQC_SAMPLES_TEXT];
        char wanted[VQC_SAMPLES_TEXT];
        while (at < count && !is_named(&list[at], port->name) &&
               !(list[at].name == NULL && required == 1 && only == i)) {
            at++;
        }
        if (at == count) {
            if (!port->has_default && list != NULL && (count == 0 || list[0].name != NULL)) {
                vqc_samples_problem(problems, VQC_ERR_MODEL,
                                    "%.300s: input \"%.100s\" is missing, expected %.200s", path,
                                    port->name, vqc_samples_describe_port(port, wanted));
            }
            continue;
        }
        bound->array = at;
        if (!vqc_samples_type_fits((int32_t)list[at].type.dtype, port->dtype)) {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "%.300s: input \"%.100s\": got type %.200s, expected %.200s", path,
                                port->name, describe_array(&list[at], got),
                                vqc_samples_describe_port(port, wanted));
        } else if (!bind_input(port, &list[at], whole, bound)) {
            shape_problem(path, port, &list[at], whole, problems);
        } else {
            bound->used = true;
        }
    }
    if (count == 1 && list[0].name == NULL && required != 1) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: is one array, but the model needs %zu inputs; give a .npz "
                            "file whose keys are their names",
                            path, required);
    }
}

/* Checks that all inputs have the same number of samples, and sets it. */
static void count_samples(const vqc_samples_source *self, const char *path, array_samples *arrays,
                          vqc_samples_problems *problems)
{
    const binding *first = NULL;
    size_t first_port = 0;

    arrays->count = 1;
    for (size_t i = 0; i < self->port_count; i++) {
        const binding *bound = &arrays->inputs[i];
        if (!bound->used || bound->shared) {
            continue;
        }
        if (first == NULL) {
            first = bound;
            first_port = i;
            arrays->count = bound->count;
        } else if (bound->count != first->count) {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "%.300s: \"%.100s\" has %zu samples, but \"%.100s\" has %zu", path,
                                self->ports[i].name, bound->count, self->ports[first_port].name,
                                first->count);
        }
    }
    if (arrays->count == 0 && problems->count == 0) {
        vqc_samples_problem(problems, VQC_ERR_MODEL, "%.300s: has no samples", path);
    }
}

/* Labels or targets: as many rows as samples, or so many for each. */
static void bind_rows(const char *path, array_samples *arrays, size_t at, bool integers, bool whole,
                      binding *out, vqc_samples_problems *problems)
{
    size_t count = 0;
    const vqc_npz_slices_array *array = &vqc_npz_slices_arrays(arrays->slices, &count)[at];
    int32_t type = (int32_t)array->type.dtype;
    size_t rank = array->type.rank;
    const int64_t *dims = array->type.dims;
    int64_t rows = rank > 0 ? dims[0] : 1;
    int64_t each;
    char got[VQC_SAMPLES_TEXT];
    bool good;

    good = vqc_samples_type_fits(type, integers ? VQC_DTYPE_INT64 : VQC_DTYPE_FLOAT);
    each = arrays->count > 0 ? rows / (int64_t)arrays->count : 0;
    if (good && !whole) {
        good = rank > 0 && each > 0 && rows == each * (int64_t)arrays->count &&
               set_sample_dims(out, array, dims + 1, rank - 1, each);
    } else if (good) {
        good = set_sample_dims(out, array, dims, rank, 0);
    }
    if (!good) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: \"%.40s\": got %.200s, expected %s for each of %zu samples",
                            path, array->name, describe_array(array, got),
                            integers ? "integers" : "numbers", arrays->count);
        return;
    }
    out->used = true;
    out->array = at;
}

static vqc_status bind_all(const vqc_samples_source *self, const char *path, array_samples *arrays,
                           bool whole, vqc_samples_problems *problems, vqc_error *error)
{
    char names[VQC_SAMPLES_TEXT];
    size_t count = 0;
    const vqc_npz_slices_array *list;

    arrays->inputs = calloc(self->port_count + 1, sizeof *arrays->inputs);
    if (arrays->inputs == NULL) {
        return vqc_fail_memory(error, (self->port_count + 1) * sizeof *arrays->inputs);
    }
    bind_inputs(self, path, arrays, whole, problems);
    count_samples(self, path, arrays, problems);
    list = vqc_npz_slices_arrays(arrays->slices, &count);
    for (size_t at = 0; at < count; at++) {
        if (list[at].name == NULL ||
            vqc_samples_find_port(self, list[at].name) < self->port_count) {
            continue;
        }
        if (is_named(&list[at], "labels")) {
            bind_rows(path, arrays, at, true, whole, &arrays->labels, problems);
        } else if (is_named(&list[at], "target") || is_named(&list[at], "targets")) {
            bind_rows(path, arrays, at, false, whole, &arrays->target, problems);
        } else {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "%.300s: \"%.100s\" is no input of the model; its inputs: %s", path,
                                list[at].name, vqc_samples_list_ports(self, names));
        }
    }
    return VQC_OK;
}

static void close_arrays(void *detail)
{
    array_samples *arrays = detail;

    if (arrays != NULL) {
        vqc_npz_slices_destroy(&arrays->slices);
        free(arrays->inputs);
        free(arrays);
    }
}

/* Sample `index` of one bound array as `to`. */
static vqc_status read_bound(array_samples *arrays, const char *path, const binding *bound,
                             size_t index, int32_t to, vqc_buffer **out, vqc_error *error)
{
    size_t count = 0;
    const vqc_npz_slices_array *array =
        &vqc_npz_slices_arrays(arrays->slices, &count)[bound->array];
    vqc_buffer *buffer = vqc_buffer_create((int32_t)array->type.dtype, bound->dims, bound->rank);
    char what[VQC_SAMPLES_TEXT];
    vqc_status status;

    *out = NULL;
    if (buffer == NULL) {
        return vqc_fail_memory(error, bound->sample_bytes);
    }
    status = vqc_npz_slices_read(arrays->slices, bound->array,
                                 bound->shared ? 0 : index * bound->sample_bytes,
                                 bound->sample_bytes, buffer->data, error);
    if (status == VQC_OK) {
        (void)snprintf(what, sizeof what, "%.200s: \"%.80s\", sample %zu", path,
                       array->name != NULL ? array->name : "array", index);
        status = vqc_samples_convert(&buffer, to, what, error);
    }
    if (status != VQC_OK) {
        vqc_buffer_destroy(&buffer);
    }
    *out = buffer;
    return status;
}

static vqc_status fill_from(const vqc_samples_source *self, array_samples *arrays, const char *path,
                            size_t index, vqc_samples_slot *slot, vqc_error *error)
{
    vqc_buffer *labels = NULL;
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < self->port_count && status == VQC_OK; i++) {
        if (arrays->inputs[i].used) {
            status = read_bound(arrays, path, &arrays->inputs[i], index, self->ports[i].dtype,
                                &slot->inputs[i], error);
        }
    }
    if (status == VQC_OK && arrays->labels.used) {
        status = read_bound(arrays, path, &arrays->labels, index, VQC_DTYPE_INT64, &labels, error);
    }
    if (status == VQC_OK && labels != NULL) {
        slot->labels = malloc((labels->elements + 1) * sizeof *slot->labels);
        if (slot->labels == NULL) {
            status = vqc_fail_memory(error, labels->elements * sizeof *slot->labels);
        } else {
            memcpy(slot->labels, labels->data, labels->elements * sizeof *slot->labels);
            slot->label_count = labels->elements;
            for (size_t i = 0; i < labels->elements; i++) {
                int64_t *label = &slot->labels[i];
                if (*label != VQC_SAMPLES_NO_LABEL &&
                    __builtin_add_overflow(*label, self->label_offset, label)) {
                    status = vqc_fail(error, VQC_ERR_MODEL, "%s: sample %zu: label out of range",
                                      path, index);
                }
            }
        }
    }
    if (status == VQC_OK && arrays->target.used) {
        status =
            read_bound(arrays, path, &arrays->target, index, VQC_DTYPE_FLOAT, &slot->target, error);
    }
    vqc_buffer_destroy(&labels);
    return status;
}

static vqc_status fill_arrays(vqc_samples_source *self, size_t index, vqc_samples_slot *slot,
                              vqc_error *error)
{
    return fill_from(self, self->detail, self->path, index, slot, error);
}

vqc_status vqc_samples_open_arrays(vqc_samples_source *self, const vqc_samples_request *request,
                                   vqc_samples_problems *problems, vqc_error *error)
{
    array_samples *arrays = calloc(1, sizeof *arrays);
    size_t count = 0;
    const vqc_npz_slices_array *list;
    vqc_status status;

    if (arrays == NULL) {
        return vqc_fail_memory(error, sizeof *arrays);
    }
    self->detail = arrays;
    self->close = close_arrays;
    self->fill = fill_arrays;
    if (request->labels != NULL) {
        vqc_samples_problem(problems, VQC_ERR_USAGE,
                            "%.300s: a file of labels goes with a folder; of arrays the classes "
                            "are the key \"labels\"",
                            request->labels);
    }
    status = vqc_npz_slices_open(self->path, &arrays->slices, error);
    if (status == VQC_OK) {
        status = bind_all(self, self->path, arrays, false, problems, error);
    }
    if (status != VQC_OK || problems->count > 0) {
        return status;
    }
    list = vqc_npz_slices_arrays(arrays->slices, &count);
    for (size_t i = 0; i < self->port_count; i++) {
        const binding *bound = &arrays->inputs[i];
        self->samples.sequential =
            self->samples.sequential || (bound->used && list[bound->array].sequential);
    }
    self->samples.sequential = self->samples.sequential ||
                               (arrays->labels.used && list[arrays->labels.array].sequential) ||
                               (arrays->target.used && list[arrays->target.array].sequential);
    self->samples.has_labels = arrays->labels.used;
    vqc_samples_source_set_count(self, arrays->count, request->max_samples);
    return VQC_OK;
}

/* ---- a folder, one file per sample ---- */

vqc_status vqc_samples_read_array_file(const vqc_samples_source *self, const char *path,
                                       bool check_only, vqc_samples_slot *slot,
                                       vqc_samples_problems *problems, vqc_error *error)
{
    array_samples *arrays = calloc(1, sizeof *arrays);
    vqc_status status;

    if (arrays == NULL) {
        return vqc_fail_memory(error, sizeof *arrays);
    }
    status = vqc_npz_slices_open(path, &arrays->slices, error);
    if (status == VQC_OK) {
        status = bind_all(self, path, arrays, true, problems, error);
    }
    if (status == VQC_OK && problems->count == 0 && !check_only) {
        status = fill_from(self, arrays, path, 0, slot, error);
    }
    close_arrays(arrays);
    return status;
}

typedef struct array_folder {
    char *folder;
    vqc_samples_names names;
    int64_t *classes; /* [names.count], or NULL */
} array_folder;

static void close_folder(void *detail)
{
    array_folder *folder = detail;

    if (folder != NULL) {
        vqc_samples_names_clear(&folder->names);
        free(folder->classes);
        free(folder->folder);
        free(folder);
    }
}

static vqc_status fill_folder(vqc_samples_source *self, size_t index, vqc_samples_slot *slot,
                              vqc_error *error)
{
    array_folder *folder = self->detail;
    char *path = vqc_samples_join(folder->folder, folder->names.names[index]);
    vqc_samples_problems problems = {.error = error};
    vqc_status status;

    if (path == NULL) {
        return vqc_fail_memory(error, 0);
    }
    status = vqc_samples_read_array_file(self, path, false, slot, &problems, error);
    free(path);
    if (status == VQC_OK && problems.count > 0) {
        return problems.status;
    }
    if (status == VQC_OK && folder->classes != NULL) {
        free(slot->labels);
        slot->labels = malloc(sizeof *slot->labels);
        if (slot->labels == NULL) {
            return vqc_fail_memory(error, sizeof *slot->labels);
        }
        slot->labels[0] = folder->classes[index];
        slot->label_count = 1;
    }
    return status;
}

static bool is_array_file(const char *name)
{
    return vqc_samples_name_ends(name, ".npz") || vqc_samples_name_ends(name, ".npy");
}

vqc_status vqc_samples_open_array_folder(vqc_samples_source *self,
                                         const vqc_samples_request *request,
                                         vqc_samples_problems *problems, vqc_error *error)
{
    array_folder *folder = calloc(1, sizeof *folder);
    vqc_samples_labels *labels = NULL;
    vqc_status status;

    if (folder == NULL) {
        return vqc_fail_memory(error, sizeof *folder);
    }
    self->detail = folder;
    self->close = close_folder;
    self->fill = fill_folder;
    folder->folder = strdup(self->path);
    if (folder->folder == NULL) {
        return vqc_fail_memory(error, strlen(self->path) + 1);
    }
    status = vqc_samples_list_folder(self->path, is_array_file, &folder->names, error);
    if (status == VQC_OK && folder->names.count == 0) {
        status = vqc_fail(error, VQC_ERR_MODEL, "%s: has no .npz or .npy files", self->path);
    }
    if (status == VQC_OK && request->labels != NULL) {
        status = vqc_samples_labels_read(request->labels, request->label_offset, &labels, problems,
                                         error);
        if (status == VQC_OK) {
            status = vqc_samples_labels_match(labels, request->labels, &folder->names,
                                              &folder->classes, problems, error);
        }
        vqc_samples_labels_destroy(&labels);
    }
    for (size_t i = 0; i < folder->names.count && status == VQC_OK; i++) {
        char *path = vqc_samples_join(self->path, folder->names.names[i]);
        vqc_error bad = {VQC_OK, ""};
        if (path == NULL) {
            return vqc_fail_memory(error, 0);
        }
        if (vqc_samples_read_array_file(self, path, true, NULL, problems, &bad) != VQC_OK) {
            vqc_samples_problem_error(problems, &bad);
        }
        free(path);
    }
    self->samples.has_labels = folder->classes != NULL;
    vqc_samples_source_set_count(self, folder->names.count, request->max_samples);
    return status;
}
