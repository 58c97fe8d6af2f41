/* Samples from TensorProto files: ONNX test_data_set folders, and single files per input. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/samples_source.h"
#include "formats/tensor_pb.h"

enum { NO_FILE = -1 };

/* The files of one sample. */
typedef struct tensor_set {
    char **inputs; /* [port_count] path of each input's file, NULL: none */
    char *target;  /* path, or NULL */
} tensor_set;

typedef struct tensor_samples {
    tensor_set *sets; /* [count] */
    size_t count;
    size_t port_count;
} tensor_samples;

static void close_tensors(void *detail)
{
    tensor_samples *all = detail;

    if (all == NULL) {
        return;
    }
    for (size_t s = 0; s < all->count; s++) {
        for (size_t i = 0; all->sets[s].inputs != NULL && i < all->port_count; i++) {
            free(all->sets[s].inputs[i]);
        }
        free(all->sets[s].inputs);
        free(all->sets[s].target);
    }
    free(all->sets);
    free(all);
}

/* Number K of "input_K.pb" (prefix "input_"), NO_FILE for other names. */
static long file_number(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    char *end = NULL;
    long number;

    if (strncmp(name, prefix, length) != 0 || name[length] < '0' || name[length] > '9') {
        return NO_FILE;
    }
    errno = 0;
    number = strtol(name + length, &end, 10);
    return errno == 0 && strcmp(end, ".pb") == 0 && number >= 0 ? number : NO_FILE;
}

static bool is_input_file(const char *name)
{
    return file_number(name, "input_") != NO_FILE;
}

/* Port of the K-th of `files` tensors called `name`. */
static size_t choose_port(const vqc_samples_source *self, const char *name, size_t number,
                          size_t files)
{
    size_t by_name = vqc_samples_find_port(self, name);
    size_t required = 0;

    if (by_name < self->port_count) {
        return by_name;
    }
    for (size_t i = 0; i < self->port_count; i++) {
        required += !self->ports[i].has_default;
    }
    if (files > required) {
        return number < self->port_count ? number : self->port_count;
    }
    for (size_t i = 0; i < self->port_count; i++) {
        if (!self->ports[i].has_default && number-- == 0) {
            return i;
        }
    }
    return self->port_count;
}

/* Checks one file's header against its port and remembers it; takes `path`. */
static void add_file(const vqc_samples_source *self, const char *folder, char *path, size_t number,
                     size_t files, tensor_set *set, vqc_samples_problems *problems)
{
    int32_t dtype = VQC_DTYPE_UNDEFINED;
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t rank = 0;
    char *name = NULL;
    char got[VQC_SAMPLES_TEXT];
    char wanted[VQC_SAMPLES_TEXT];
    vqc_error bad = {VQC_OK, ""};
    size_t port;

    if (vqc_tensor_pb_peek(path, &dtype, dims, &rank, &name, &bad) != VQC_OK) {
        vqc_samples_problem_error(problems, &bad);
        free(path);
        free(name);
        return;
    }
    port = choose_port(self, name, number, files);
    if (port == self->port_count) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: tensor \"%.100s\" belongs to no input of the model; its "
                            "inputs: %.300s",
                            path, name, vqc_samples_list_ports(self, got));
        free(path);
    } else if (set->inputs[port] != NULL) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: input \"%.100s\" is there twice, in %.300s as well", folder,
                            self->ports[port].name, path);
        free(path);
    } else {
        if (!vqc_samples_shape_fits(&self->ports[port], dims, rank) ||
            !vqc_samples_type_fits(dtype, self->ports[port].dtype)) {
            vqc_samples_problem(
                problems, VQC_ERR_MODEL, "%.300s: input \"%.100s\": got %.200s, expected %.200s",
                path, self->ports[port].name, vqc_samples_describe(dtype, dims, rank, got),
                vqc_samples_describe_port(&self->ports[port], wanted));
        }
        set->inputs[port] = path;
    }
    free(name);
}

static void check_missing(const vqc_samples_source *self, const char *where, const tensor_set *set,
                          vqc_samples_problems *problems)
{
    char wanted[VQC_SAMPLES_TEXT];

    for (size_t i = 0; i < self->port_count; i++) {
        if (set->inputs[i] == NULL && !self->ports[i].has_default) {
            vqc_samples_problem(
                problems, VQC_ERR_MODEL, "%.300s: input \"%.100s\" is missing, expected %.200s",
                where, self->ports[i].name, vqc_samples_describe_port(&self->ports[i], wanted));
        }
    }
}

/* The files of one folder. */
static vqc_status add_set(const vqc_samples_source *self, tensor_samples *all, const char *folder,
                          vqc_samples_problems *problems, vqc_error *error)
{
    tensor_set *set = &all->sets[all->count];
    vqc_samples_names names = {0};
    size_t found = problems->count;
    struct stat info;
    vqc_status status = vqc_samples_list_folder(folder, is_input_file, &names, error);

    if (status != VQC_OK) {
        return status;
    }
    all->count++;
    set->inputs = calloc(self->port_count + 1, sizeof *set->inputs);
    set->target = vqc_samples_join(folder, "output_0.pb");
    if (set->inputs == NULL || set->target == NULL) {
        vqc_samples_names_clear(&names);
        return vqc_fail_memory(error, (self->port_count + 1) * sizeof *set->inputs);
    }
    if (stat(set->target, &info) != 0) {
        free(set->target);
        set->target = NULL;
    }
    for (size_t k = 0; k < names.count; k++) {
        char *path = vqc_samples_join(folder, names.names[k]);
        if (path == NULL) {
            status = vqc_fail_memory(error, 0);
            break;
        }
        add_file(self, folder, path, (size_t)file_number(names.names[k], "input_"), names.count,
                 set, problems);
    }
    vqc_samples_names_clear(&names);
    if (status == VQC_OK && problems->count == found) {
        check_missing(self, folder, set, problems);
    }
    return status;
}

/* The target is what the model should give: only floats are compared by value. */
static vqc_status read_target(const char *path, vqc_buffer **out, vqc_error *error)
{
    int64_t dims[VQC_EXEC_MAX_RANK];
    size_t rank = 0;
    int32_t dtype = VQC_DTYPE_UNDEFINED;
    vqc_status status = vqc_tensor_pb_peek(path, &dtype, dims, &rank, NULL, error);

    if (status != VQC_OK || !vqc_dtype_describe(dtype)->is_float) {
        return status;
    }
    status = vqc_tensor_pb_read(path, out, NULL, error);
    return status == VQC_OK ? vqc_samples_convert(out, VQC_DTYPE_FLOAT, path, error) : status;
}

static vqc_status fill_tensors(vqc_samples_source *self, size_t index, vqc_samples_slot *slot,
                               vqc_error *error)
{
    tensor_samples *all = self->detail;
    const tensor_set *set = &all->sets[index];
    vqc_status status = VQC_OK;

    for (size_t i = 0; i < self->port_count && status == VQC_OK; i++) {
        if (set->inputs[i] == NULL) {
            continue;
        }
        status = vqc_tensor_pb_read(set->inputs[i], &slot->inputs[i], NULL, error);
        if (status == VQC_OK) {
            status = vqc_samples_fit_port(&self->ports[i], &slot->inputs[i], set->inputs[i], error);
        }
    }
    if (status == VQC_OK && set->target != NULL) {
        status = read_target(set->target, &slot->target, error);
    }
    return status;
}

static bool is_data_set(const char *name)
{
    return strncmp(name, "test_data_set_", strlen("test_data_set_")) == 0;
}

static int compare_sets(const void *a, const void *b)
{
    const char *x = *(const char *const *)a;
    const char *y = *(const char *const *)b;
    size_t n = strlen(x);
    size_t m = strlen(y);

    return n != m ? (n > m) - (n < m) : strcmp(x, y); /* test_data_set_10 after _9 */
}

static tensor_samples *create_detail(vqc_samples_source *self, size_t capacity)
{
    tensor_samples *all = calloc(1, sizeof *all);

    if (all == NULL) {
        return NULL;
    }
    all->sets = calloc(capacity + 1, sizeof *all->sets);
    all->port_count = self->port_count;
    if (all->sets == NULL) {
        free(all);
        return NULL;
    }
    self->detail = all;
    self->close = close_tensors;
    self->fill = fill_tensors;
    return all;
}

vqc_status vqc_samples_open_tensors(vqc_samples_source *self, const vqc_samples_request *request,
                                    vqc_samples_problems *problems, vqc_error *error)
{
    vqc_samples_names sets = {0};
    vqc_samples_names here = {0};
    tensor_samples *all;
    vqc_status status = vqc_samples_list_folder(self->path, is_input_file, &here, error);

    if (request->labels != NULL) {
        vqc_samples_problem(problems, VQC_ERR_USAGE,
                            "%.300s: a file of labels does not go with test data sets",
                            request->labels);
    }
    if (status == VQC_OK && here.count == 0) {
        status = vqc_samples_list_folder(self->path, is_data_set, &sets, error);
    }
    if (status != VQC_OK) {
        goto done;
    }
    all = create_detail(self, sets.count + 1);
    if (all == NULL) {
        status = vqc_fail_memory(error, (sets.count + 1) * sizeof *all->sets);
        goto done;
    }
    if (here.count > 0) {
        status = add_set(self, all, self->path, problems, error);
    } else if (sets.count == 0) {
        status = vqc_fail(error, VQC_ERR_MODEL,
                          "%s: has no input_0.pb and no folders test_data_set_0, ...", self->path);
    } else {
        qsort(sets.names, sets.count, sizeof *sets.names, compare_sets);
    }
    for (size_t s = 0; s < sets.count && status == VQC_OK; s++) {
        char *folder = vqc_samples_join(self->path, sets.names[s]);
        if (folder == NULL) {
            status = vqc_fail_memory(error, 0);
            break;
        }
        status = add_set(self, all, folder, problems, error);
        free(folder);
    }
    vqc_samples_source_set_count(self, all->count, request->max_samples);
done:
    vqc_samples_names_clear(&here);
    vqc_samples_names_clear(&sets);
    return status;
}

/* ---- one file per input ---- */

typedef struct single_sample {
    vqc_samples_slot slot; /* what every read copies */
    size_t port_count;
} single_sample;

static void close_single(void *detail)
{
    single_sample *single = detail;

    if (single == NULL) {
        return;
    }
    for (size_t i = 0; single->slot.inputs != NULL && i < single->port_count; i++) {
        vqc_buffer_destroy(&single->slot.inputs[i]);
    }
    free(single->slot.inputs);
    free(single);
}

static vqc_status fill_single(vqc_samples_source *self, size_t index, vqc_samples_slot *slot,
                              vqc_error *error)
{
    const single_sample *single = self->detail;

    (void)index;
    for (size_t i = 0; i < self->port_count; i++) {
        const vqc_buffer *from = single->slot.inputs[i];
        if (from == NULL) {
            continue;
        }
        slot->inputs[i] = vqc_buffer_create(from->dtype, from->dims, from->rank);
        if (slot->inputs[i] == NULL) {
            return vqc_fail_memory(error, from->elements * from->width);
        }
        memcpy(slot->inputs[i]->data, from->data, from->elements * from->width);
    }
    return VQC_OK;
}

/* Reads a .npy file as a tensor. */
static vqc_status read_npy(const char *path, vqc_buffer **out, vqc_error *error)
{
    const vqc_program_port any = {.name = "", .dtype = VQC_DTYPE_UNDEFINED, .rank = -1};
    vqc_samples_problems problems = {.error = error};
    vqc_samples_source *one = NULL;
    vqc_buffer *inputs[1] = {NULL};
    vqc_samples_slot slot = {.inputs = inputs};
    vqc_status status = vqc_samples_source_create(path, &any, 1, &one, error);

    if (status == VQC_OK) {
        status = vqc_samples_read_array_file(one, path, false, &slot, &problems, error);
        status = status == VQC_OK && problems.count > 0 ? problems.status : status;
    }
    *out = inputs[0];
    vqc_samples_source_destroy(&one);
    return status;
}

/* The port that file `k` of the request is for. */
static size_t find_file_port(const vqc_samples_source *self, const vqc_samples_request *request,
                             size_t k, const char *name, vqc_samples_problems *problems)
{
    const vqc_samples_file *file = &request->files[k];
    char names[VQC_SAMPLES_TEXT];
    size_t port = file->input != NULL
                      ? vqc_samples_find_port(self, file->input)
                      : choose_port(self, name != NULL ? name : "", k, request->file_count);

    if (port == self->port_count) {
        vqc_samples_problem(problems, VQC_ERR_MODEL,
                            "%.300s: \"%.100s\" is no input of the model; its inputs: %.300s",
                            file->path, file->input != NULL ? file->input : name,
                            vqc_samples_list_ports(self, names));
    }
    return port;
}

vqc_status vqc_samples_open_files(vqc_samples_source *self, const vqc_samples_request *request,
                                  vqc_samples_problems *problems, vqc_error *error)
{
    single_sample *single = calloc(1, sizeof *single);
    char wanted[VQC_SAMPLES_TEXT];

    if (single == NULL) {
        return vqc_fail_memory(error, sizeof *single);
    }
    self->detail = single;
    self->close = close_single;
    self->fill = fill_single;
    single->port_count = self->port_count;
    single->slot.inputs = calloc(self->port_count + 1, sizeof(vqc_buffer *));
    if (single->slot.inputs == NULL) {
        return vqc_fail_memory(error, (self->port_count + 1) * sizeof(vqc_buffer *));
    }
    for (size_t k = 0; k < request->file_count; k++) {
        const char *path = request->files[k].path;
        vqc_buffer *buffer = NULL;
        char *name = NULL;
        vqc_error bad = {VQC_OK, ""};
        vqc_status status = vqc_samples_name_ends(path, ".npy")
                                ? read_npy(path, &buffer, &bad)
                                : vqc_tensor_pb_read(path, &buffer, &name, &bad);
        size_t port = self->port_count;
        if (status == VQC_OK) {
            port = find_file_port(self, request, k, name, problems);
        } else {
            vqc_samples_problem_error(problems, &bad);
        }
        if (port < self->port_count && single->slot.inputs[port] != NULL) {
            vqc_samples_problem(problems, VQC_ERR_USAGE, "%.300s: input \"%.100s\" is given twice",
                                path, self->ports[port].name);
        } else if (port < self->port_count) {
            status = vqc_samples_fit_port(&self->ports[port], &buffer, path, &bad);
            if (status != VQC_OK) {
                vqc_samples_problem_error(problems, &bad);
            }
            single->slot.inputs[port] = buffer;
            buffer = NULL;
        }
        vqc_buffer_destroy(&buffer);
        free(name);
    }
    for (size_t i = 0; i < self->port_count; i++) {
        if (single->slot.inputs[i] == NULL && !self->ports[i].has_default) {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "input \"%.100s\" is missing, expected %.200s", self->ports[i].name,
                                vqc_samples_describe_port(&self->ports[i], wanted));
        }
    }
    vqc_samples_source_set_count(self, 1, 0);
    return VQC_OK;
}
