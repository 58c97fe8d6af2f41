/* What all kinds of samples share: ports, slots, labels, type changes, problems. Only for
 * formats/samples_*.c. */
#ifndef VQC_FORMATS_SAMPLES_SOURCE_H
#define VQC_FORMATS_SAMPLES_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/data/samples.h"
#include "core/data/samples_convert.h"
#include "core/data/samples_request.h"

enum { VQC_SAMPLES_TEXT = 400, VQC_SAMPLES_MAX_PROBLEMS = 32 };

/* One thread's sample. */
typedef struct vqc_samples_slot {
    vqc_buffer **inputs; /* [input_count] owned; NULL: the model's default */
    vqc_buffer *target;  /* owned, or NULL */
    int64_t *labels;     /* malloc'ed [label_count], or NULL */
    size_t label_count;
    size_t view; /* of the sample that is wanted, below samples.views */
} vqc_samples_slot;

typedef struct vqc_samples_source vqc_samples_source;

struct vqc_samples_source {
    vqc_samples samples; /* .state is the source */
    char *path;
    vqc_program_port *ports; /* [port_count] copies */
    size_t port_count;
    char **strings; /* [2 * VQC_EXEC_MAX_RANK + ...] that the ports point to */
    size_t string_count;
    vqc_samples_slot *slots; /* [VQC_SAMPLES_MAX_SLOTS] */
    size_t total;            /* samples there are; samples.count of them are used */
    int64_t label_offset;    /* added to classes that come with the arrays */
    void *detail;            /* of the kind */
    /* Fills an empty slot with sample `index` of `total`; what it put there is freed also after an
     * error. */
    vqc_status (*fill)(vqc_samples_source *self, size_t index, vqc_samples_slot *slot,
                       vqc_error *error);
    void (*close)(void *detail); /* frees detail; may be NULL */
};

/* A list of problems under construction. */
typedef struct vqc_samples_problems {
    vqc_messages *list; /* or NULL */
    size_t count;
    vqc_status status; /* of the first one */
    vqc_error *error;  /* gets the first one */
} vqc_samples_problems;

/* Adds a problem. */
void vqc_samples_problem(vqc_samples_problems *problems, vqc_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds the problem that `error` holds. */
void vqc_samples_problem_error(vqc_samples_problems *problems, const vqc_error *error);

/* New source with copies of the ports; `path` is what messages say. */
vqc_status vqc_samples_source_create(const char *path, const vqc_program_port *inputs,
                                     size_t input_count, vqc_samples_source **out,
                                     vqc_error *error);

/* Sets how many samples there are, and which of them are used: max_samples (0: all) evenly spread.
 */
void vqc_samples_source_set_count(vqc_samples_source *self, size_t total, size_t max_samples);

void vqc_samples_source_destroy(vqc_samples_source **self);

/* Whether dims [rank] fit the port: rank, and every dimension that the port fixes. */
bool vqc_samples_shape_fits(const vqc_program_port *port, const int64_t *dims, size_t rank);

/* Checks type and shape of a whole tensor for a port and converts it. */
vqc_status vqc_samples_fit_port(const vqc_program_port *port, vqc_buffer **buffer, const char *what,
                                vqc_error *error);

/* "float32 [1,3,224,224]" into text [VQC_SAMPLES_TEXT]; returns text. */
const char *vqc_samples_describe(int32_t dtype, const int64_t *dims, size_t rank, char *text);

/* "float32 [batch,3,?,?]" of a port. */
const char *vqc_samples_describe_port(const vqc_program_port *port, char *text);

/* The port called `name`, or port_count. */
size_t vqc_samples_find_port(const vqc_samples_source *self, const char *name);

/* "a", "b" and "c": the names of all inputs, shortened, into text [VQC_SAMPLES_TEXT]. */
const char *vqc_samples_list_ports(const vqc_samples_source *self, char *text);

/* ---- folders and labels ---- */

typedef struct vqc_samples_names {
    char **names; /* [count], sorted by their bytes */
    size_t count;
} vqc_samples_names;

/* Names in `folder` that do not begin with a dot and for which `wanted` (may be NULL: all) says
 * yes. VQC_ERR_IO when it cannot be read. */
vqc_status vqc_samples_list_folder(const char *folder, bool (*wanted)(const char *name),
                                   vqc_samples_names *out, vqc_error *error);
void vqc_samples_names_clear(vqc_samples_names *names);

/* Whether `name` ends in `ending`, in any case of letters. */
bool vqc_samples_name_ends(const char *name, const char *ending);

/* folder/name, malloc'ed; NULL: out of memory. */
char *vqc_samples_join(const char *folder, const char *name);

/* Classes by file name. */
typedef struct vqc_samples_labels vqc_samples_labels;

/*
 * Reads a file of lines `file<TAB>class` or `file,class` (double quotes around a field are taken
 * off, blank lines skipped). A first line whose class is no number is a header; its columns "file",
 * "filename", "image" or "path" and "class", "label" or "target" are used when it has them, else
 * the first two. Of a file with folders only the last part counts. offset is added to every class.
 * Adds a problem per bad line; errors: VQC_ERR_IO, memory.
 */
vqc_status vqc_samples_labels_read(const char *path, int64_t offset, vqc_samples_labels **out,
                                   vqc_samples_problems *problems, vqc_error *error);

/* The class of file `name`; false when it has none. */
bool vqc_samples_labels_find(const vqc_samples_labels *labels, const char *name, int64_t *label);
void vqc_samples_labels_destroy(vqc_samples_labels **labels);

/* classes [names->count] of the files, VQC_SAMPLES_NO_LABEL for those without; a problem for every
 * listed file that is not there, and when no file has a class. */
vqc_status vqc_samples_labels_match(const vqc_samples_labels *labels, const char *labels_path,
                                    const vqc_samples_names *names, int64_t **classes,
                                    vqc_samples_problems *problems, vqc_error *error);

/* ---- the kinds: each fills detail, fill, close and the counts of `self` ---- */

vqc_status vqc_samples_open_arrays(vqc_samples_source *self, const vqc_samples_request *request,
                                   vqc_samples_problems *problems, vqc_error *error);
vqc_status vqc_samples_open_array_folder(vqc_samples_source *self,
                                         const vqc_samples_request *request,
                                         vqc_samples_problems *problems, vqc_error *error);
vqc_status vqc_samples_open_tensors(vqc_samples_source *self, const vqc_samples_request *request,
                                    vqc_samples_problems *problems, vqc_error *error);
vqc_status vqc_samples_open_files(vqc_samples_source *self, const vqc_samples_request *request,
                                  vqc_samples_problems *problems, vqc_error *error);
vqc_status vqc_samples_open_images(vqc_samples_source *self, const vqc_samples_request *request,
                                   vqc_samples_problems *problems, vqc_error *error);
vqc_status vqc_samples_open_synthetic(vqc_samples_source *self, const vqc_samples_request *request,
                                      vqc_samples_problems *problems, vqc_error *error);

/* One array file (.npy, .npz) as one whole sample into `slot`; with `check_only` the headers are
 * compared with the ports and nothing is read. */
vqc_status vqc_samples_read_array_file(const vqc_samples_source *self, const char *path,
                                       bool check_only, vqc_samples_slot *slot,
                                       vqc_samples_problems *problems, vqc_error *error);

#endif
