/* formats/onnx_file and formats/file_output: external data, atomic writing, what survives a
 * failure. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/tensor.h"
#include "formats/file_util.h"
#include "formats/onnx_file.h"

static char folder[] = "/tmp/vqc-onnx-XXXXXX";

static void setup(void)
{
    cr_assert_not_null(mkdtemp(folder));
}

/* "FOLDER/name" in one of a few static buffers. */
static const char *at(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];

    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Names in the folder that start with `prefix`, other than "." and "..". */
static size_t count_files(const char *prefix)
{
    DIR *dir = opendir(folder);
    size_t count = 0;

    cr_assert_not_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
                 strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    }
    (void)closedir(dir);
    return count;
}

static void teardown(void)
{
    char command[160];

    cr_assert_eq(count_files(".vqc-"), 0, "temporary files are left behind");
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(onnx_file, .init = setup, .fini = teardown);

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    cr_assert_not_null(file);
    cr_assert_eq(fwrite(data, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

/* The content of a small text file is `wanted`. */
static void expect_text(const char *path, const char *wanted)
{
    char text[64] = "";
    FILE *file = fopen(path, "rb");

    cr_assert_not_null(file, "%s", path);
    cr_assert(fread(text, 1, sizeof text - 1, file) > 0);
    (void)fclose(file);
    cr_assert_str_eq(text, wanted);
}

static off_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? info.st_size : -1;
}

/* A model with one float initializer per count, each filled with its index + 1. */
static vqc_model *make_model(const int64_t *counts, size_t tensors)
{
    vqc_model *model = NULL;
    vqc_error error;
    Onnx__GraphProto *graph;

    cr_assert_eq(vqc_model_create("made.onnx", &model, &error), VQC_OK);
    graph = vqc_arena_calloc(model->arena, 1, sizeof *graph);
    onnx__graph_proto__init(graph);
    graph->initializer = vqc_arena_calloc(model->arena, tensors, sizeof(void *));
    graph->n_initializer = tensors;
    for (size_t i = 0; i < tensors; i++) {
        float *values = vqc_arena_calloc(model->arena, (size_t)counts[i], sizeof *values);
        for (int64_t k = 0; k < counts[i]; k++) {
            values[k] = (float)(i + 1);
        }
        graph->initializer[i] =
            vqc_tensor_create(model->arena, vqc_arena_printf(model->arena, "w%zu", i),
                              VQC_DTYPE_FLOAT, &counts[i], 1, values, (size_t)counts[i] * 4);
    }
    model->proto->graph = graph;
    return model;
}

static vqc_model *open_model(const char *path)
{
    vqc_model *model = NULL;
    vqc_error error = {VQC_OK, ""};

    cr_assert_eq(vqc_onnx_open(path, &model, &error), VQC_OK, "%s", error.message);
    return model;
}

static void save(const vqc_model *model, const char *path, vqc_onnx_write_options options,
                 vqc_onnx_written *written)
{
    vqc_error error = {VQC_OK, ""};
    vqc_onnx_written measured;

    options.target = path;
    cr_assert_eq(vqc_onnx_measure(model, &options, &measured, &error), VQC_OK);
    cr_assert_eq(vqc_onnx_save(model, path, &options, written, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(written->file_size_bytes, measured.file_size_bytes);
    cr_assert_eq(written->external_size_bytes, measured.external_size_bytes);
    cr_assert_eq(size_of(path), (off_t)written->file_size_bytes);
}

static void expect_save_fails(const vqc_model *model, const char *path,
                              vqc_onnx_write_options options, vqc_status status, const char *text)
{
    vqc_error error = {VQC_OK, ""};

    cr_assert_eq(vqc_onnx_save(model, path, &options, NULL, &error), status, "%s", error.message);
    cr_assert_not_null(strstr(error.message, text), "got \"%s\", expected \"%s\"", error.message,
                       text);
}

static void expect_open_fails(const char *path, vqc_status status, const char *text)
{
    vqc_model *model = NULL;
    vqc_error error = {VQC_OK, ""};

    cr_assert_eq(vqc_onnx_open(path, &model, &error), status, "%s", error.message);
    cr_assert_not_null(strstr(error.message, text), "got \"%s\", expected \"%s\"", error.message,
                       text);
    cr_assert_null(model);
}

/* Every tensor holds its index + 1. */
static void expect_values(const vqc_model *model)
{
    const Onnx__GraphProto *graph = model->proto->graph;

    for (size_t i = 0; i < graph->n_initializer; i++) {
        const float *values;
        size_t count;
        vqc_error error;
        cr_assert_eq(
            vqc_tensor_borrow_f32(graph->initializer[i], model->arena, &values, &count, &error),
            VQC_OK);
        for (size_t k = 0; k < count; k++) {
            float value;
            memcpy(&value, (const char *)values + 4 * k, 4);
            cr_assert_float_eq(value, (float)(i + 1), 0);
        }
    }
}

static const int64_t COUNTS[] = {1000, 3, 257, 256, 255, 0, 100000};
enum { COUNT = sizeof COUNTS / sizeof COUNTS[0] };

Test(onnx_file, inline_and_external)
{
    vqc_model *model = make_model(COUNTS, COUNT);
    vqc_model *again;
    vqc_onnx_written written;
    size_t inline_bytes;

    save(model, at("a.onnx"), (vqc_onnx_write_options){0}, &written);
    inline_bytes = written.file_size_bytes;
    cr_assert_eq(written.external_size_bytes, 0);
    cr_assert_eq(size_of(at("a.onnx.data")), -1);
    save(model, at("b.onnx"), (vqc_onnx_write_options){.force_external = true}, &written);
    /* 1000, 257, 256 and 100000 floats: 4000 -> 4032, 1028 -> 1088, 1024 */
    cr_assert_eq(written.external_size_bytes, 4032 + 1088 + 1024 + 400000);
    cr_assert_eq(size_of(at("b.onnx.data")), (off_t)written.external_size_bytes);
    save(model, at("c.onnx"), (vqc_onnx_write_options){.external_limit = inline_bytes - 1},
         &written);
    cr_assert_gt(written.external_size_bytes, 0);
    save(model, at("d.onnx"), (vqc_onnx_write_options){.external_limit = inline_bytes}, &written);
    cr_assert_eq(written.external_size_bytes, 0);
    expect_values(model); /* writing put everything back */
    cr_assert_eq(onnx__model_proto__get_packed_size(model->proto), inline_bytes);
    vqc_model_destroy(&model);

    again = open_model(at("b.onnx"));
    cr_assert(again->has_external_data);
    cr_assert_eq(again->external_file_count, 1);
    cr_assert_eq(again->external_size_bytes, 4032 + 1088 + 1024 + 400000);
    expect_values(again);
    again->discard(again->release_context, again->proto->graph->initializer[6]->raw_data.data,
                   400000);
    expect_values(again); /* dropped pages come back */
    save(again, at("e.onnx"), (vqc_onnx_write_options){0}, &written);
    cr_assert_eq(written.external_size_bytes, 4032 + 1088 + 1024 + 400000);
    vqc_model_destroy(&again);
    again = open_model(at("a.onnx"));
    cr_assert_not(again->has_external_data);
    expect_values(again);
    vqc_model_destroy(&again);
    cr_assert_eq(count_files(""), 8);
}

Test(onnx_file, mode_of_new_files_follows_the_umask)
{
    static const int64_t counts[] = {300};
    vqc_model *model = make_model(counts, 1);
    vqc_onnx_written written;
    struct stat info;
    mode_t before = umask(027);

    save(model, at("a.onnx"), (vqc_onnx_write_options){.force_external = true}, &written);
    (void)umask(before);
    cr_assert(stat(at("a.onnx"), &info) == 0 && (info.st_mode & 0777) == 0640);
    cr_assert(stat(at("a.onnx.data"), &info) == 0 && (info.st_mode & 0777) == 0640);
    vqc_model_destroy(&model);
}

Test(onnx_file, targets_that_are_refused)
{
    vqc_model *model = make_model(COUNTS, COUNT);
    const vqc_onnx_write_options plain = {0};
    const vqc_onnx_write_options force = {.overwrite = true, .force_external = true};

    write_file(at("there.onnx"), "old", 3);
    write_file(at("data.onnx.data"), "old", 3);
    cr_assert_eq(mkdir(at("folder"), 0777), 0);
    cr_assert_eq(mkdir(at("x.onnx.data"), 0777), 0);
    cr_assert_eq(mkfifo(at("fifo"), 0777), 0);
    cr_assert_eq(symlink("nowhere", at("dangling")), 0);
    expect_save_fails(model, at("there.onnx"), plain, VQC_ERR_USAGE, "exists already");
    expect_save_fails(model, at("dangling"), plain, VQC_ERR_USAGE, "exists already");
    expect_save_fails(model, at("folder"), force, VQC_ERR_IO, "is a folder");
    expect_save_fails(model, at("x.onnx"), force, VQC_ERR_IO, "is a folder");
    expect_save_fails(model, at("fifo"), force, VQC_ERR_IO, "not a regular file");
    expect_save_fails(model, "/dev/null", force, VQC_ERR_IO, "not a regular file");
    expect_save_fails(model, "/dev/full", plain, VQC_ERR_IO, "not a regular file");
    expect_save_fails(model, at("none/a.onnx"), plain, VQC_ERR_IO, "No such file or directory");
    expect_save_fails(model, at("there.onnx/a.onnx"), plain, VQC_ERR_IO, "Not a directory");
    expect_save_fails(model, "/proc/a.onnx", plain, VQC_ERR_IO, "/proc");
    expect_save_fails(model, at("folder/"), plain, VQC_ERR_IO, "not a file name");
    expect_save_fails(model, at("data.onnx"), (vqc_onnx_write_options){.force_external = true},
                      VQC_ERR_USAGE, "data.onnx.data: exists already");
    expect_text(at("there.onnx"), "old");
    expect_text(at("data.onnx.data"), "old");
    cr_assert_eq(count_files(""), 6);
    vqc_model_destroy(&model);
}

Test(onnx_file, full_disk_leaves_everything_as_it_was)
{
    vqc_model *model = make_model(COUNTS, COUNT);
    vqc_onnx_write_options options = {.overwrite = true};
    struct rlimit limit;
    struct rlimit small;

    write_file(at("a.onnx"), "old", 3);
    write_file(at("a.onnx.data"), "older", 5);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 300000;
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_save_fails(model, at("a.onnx"), options, VQC_ERR_IO, "File too large");
    options.force_external = true;
    expect_save_fails(model, at("a.onnx"), options, VQC_ERR_IO, "a.onnx.data: cannot write");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_text(at("a.onnx"), "old");
    expect_text(at("a.onnx.data"), "older");
    cr_assert_eq(count_files(""), 2);
    expect_values(model);
    vqc_model_destroy(&model);
}

Test(onnx_file, overwriting_the_input)
{
    vqc_model *model = make_model(COUNTS, COUNT);
    vqc_onnx_write_options options = {.force_external = true};
    vqc_onnx_written written;

    save(model, at("a.onnx"), options, &written);
    vqc_model_destroy(&model);
    model = open_model(at("a.onnx"));
    options.overwrite = true;
    save(model, at("a.onnx"), options, &written);
    expect_values(model); /* the old files stay mapped */
    vqc_model_destroy(&model);
    model = open_model(at("a.onnx"));
    expect_values(model);
    /* Other outputs must not take the input's data away. */
    expect_save_fails(model, at("a.onnx.data"), options, VQC_ERR_USAGE, "is external data of");
    cr_assert_eq(rename(at("a.onnx"), at("b.onnx")), 0);
    expect_save_fails(model, at("a.onnx"), options, VQC_ERR_USAGE, "is external data of");
    vqc_model_destroy(&model);
    model = open_model(at("b.onnx"));
    expect_values(model);
    vqc_model_destroy(&model);
}

Test(onnx_file, copies)
{
    vqc_model *model = make_model(COUNTS, COUNT);
    vqc_onnx_write_options options = {.force_external = true};
    vqc_onnx_written written;
    vqc_error error;

    save(model, at("a.onnx"), options, &written);
    vqc_model_destroy(&model);
    model = open_model(at("a.onnx"));
    cr_assert_eq(mkdir(at("sub"), 0777), 0);
    cr_assert_eq(vqc_onnx_copy(model, at("b.onnx"), NULL, &written, &error), VQC_OK);
    cr_assert_eq(written.file_size_bytes, model->file_size_bytes);
    cr_assert_eq(written.external_size_bytes, model->external_size_bytes);
    cr_assert_eq(vqc_onnx_copy(model, at("sub/c.onnx"), NULL, &written, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(vqc_onnx_copy(model, at("b.onnx"), NULL, &written, &error), VQC_ERR_USAGE);
    cr_assert_eq(vqc_onnx_copy(model, at("sub/a.onnx.data"),
                               &(vqc_onnx_write_options){.overwrite = true}, &written, &error),
                 VQC_OK); /* another file than the input's data, though of the same name */
    cr_assert_eq(vqc_onnx_copy(model, at("a.onnx.data"),
                               &(vqc_onnx_write_options){.overwrite = true}, &written, &error),
                 VQC_ERR_USAGE);
    vqc_model_destroy(&model);
    model = open_model(at("b.onnx"));
    expect_values(model);
    vqc_model_destroy(&model);
}

/* Truncates `path` to `size`, which is sparse, and writes `text` at its end. */
static void make_sparse(const char *path, off_t size, const char *text)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    cr_assert(fd >= 0);
    cr_assert_eq(ftruncate(fd, size), 0);
    cr_assert_eq(pwrite(fd, text, strlen(text), size - (off_t)strlen(text)), (ssize_t)strlen(text));
    cr_assert_eq(close(fd), 0);
}

static Onnx__StringStringEntryProto *entry(vqc_arena *arena, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *item = vqc_arena_calloc(arena, 1, sizeof *item);

    onnx__string_string_entry_proto__init(item);
    item->key = vqc_arena_strdup(arena, key);
    item->value = vqc_arena_strdup(arena, value);
    return item;
}

Test(onnx_file, external_data_over_2_gib)
{
    static const int64_t counts[] = {1, 0};
    enum { GIB = 1 << 30 };
    vqc_model *model = make_model(counts, 2);
    vqc_error error;
    vqc_onnx_written written;
    uint8_t packed[512];
    size_t packed_size;

    for (size_t i = 0; i < 2; i++) {
        Onnx__TensorProto *tensor = model->proto->graph->initializer[i];
        tensor->external_data = vqc_arena_calloc(model->arena, 3, sizeof(void *));
        tensor->external_data[0] = entry(model->arena, "location", "big.bin");
        tensor->external_data[1] =
            entry(model->arena, "offset", i == 0 ? "3221225472" : "0"); /* 3 GiB */
        tensor->external_data[2] = entry(model->arena, "length", i == 0 ? "4" : "2684354560");
        tensor->n_external_data = 3;
        tensor->has_data_location = 1;
        tensor->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
        tensor->has_raw_data = 0;
        tensor->dims[0] = i == 0 ? 1 : 671088640; /* 2.5 GiB */
    }
    packed_size = onnx__model_proto__get_packed_size(model->proto);
    cr_assert(packed_size < sizeof packed);
    (void)onnx__model_proto__pack(model->proto, packed);
    vqc_model_destroy(&model);
    write_file(at("big.onnx"), packed, packed_size);
    make_sparse(at("big.bin"), (off_t)3 * GIB + 4, "tail");

    model = open_model(at("big.onnx"));
    cr_assert_eq(model->external_size_bytes, (size_t)3 * GIB + 4);
    cr_assert_eq(memcmp(model->proto->graph->initializer[0]->raw_data.data, "tail", 4), 0);
    cr_assert_eq(model->proto->graph->initializer[1]->raw_data.len, 2684354560u);
    cr_assert_eq(model->proto->graph->initializer[1]->raw_data.data[2684354559u], 0);
    cr_assert_eq(vqc_onnx_measure(model, NULL, &written, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(written.external_size_bytes, 2684354560u); /* the 4 bytes come inline */
    vqc_model_destroy(&model);
}

Test(onnx_file, model_file_over_2_gib)
{
    /* graph { initializer { dims: 671088640 data_type: FLOAT raw_data: 2.5 GiB } } */
    static const uint8_t head[] = {0x3a, 0x92, 0x80, 0x80, 0x80, 0x0a,             /* graph */
                                   0x2a, 0x8c, 0x80, 0x80, 0x80, 0x0a,             /* tensor */
                                   0x08, 0x80, 0x80, 0x80, 0xc0, 0x02, 0x10, 0x01, /* dims */
                                   0x4a, 0x80, 0x80, 0x80, 0x80, 0x0a};            /* raw */
    vqc_model *model;
    vqc_error error;
    vqc_onnx_written written;

    /* 2.5 GiB = 0xa0000000; the tensor has 14 bytes of its own, the graph 6 more than the tensor.
     */
    uint8_t bytes[sizeof head];
    memcpy(bytes, head, sizeof head);
    bytes[1] = 0x80 | 20;
    bytes[7] = 0x80 | 14;
    write_file(at("big.onnx"), bytes, sizeof bytes);
    make_sparse(at("big.onnx"), (off_t)sizeof bytes + 2684354560, "tail");
    model = open_model(at("big.onnx"));
    cr_assert_eq(model->proto->graph->initializer[0]->raw_data.len, 2684354560u);
    cr_assert_eq(
        memcmp(model->proto->graph->initializer[0]->raw_data.data + 2684354556u, "tail", 4), 0);
    cr_assert_eq(vqc_onnx_measure(model, NULL, &written, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(written.external_size_bytes, 2684354560u);
    cr_assert_lt(written.file_size_bytes, 200);
    vqc_model_destroy(&model);
}

Test(onnx_file, inputs_that_are_refused)
{
    write_file(at("empty"), "", 0);
    write_file(at("text"), "not a model", 11);
    cr_assert_eq(mkdir(at("folder"), 0777), 0);
    cr_assert_eq(mkfifo(at("fifo"), 0777), 0);
    expect_open_fails(at("empty"), VQC_ERR_MODEL, "empty: the file is empty");
    expect_open_fails(at("text"), VQC_ERR_MODEL, "text: byte 0: ");
    expect_open_fails(at("folder"), VQC_ERR_IO, "is a folder");
    expect_open_fails(at("fifo"), VQC_ERR_IO, "is not a regular file");
    expect_open_fails(at("none"), VQC_ERR_IO, "none: No such file or directory");
    expect_open_fails("/dev/null", VQC_ERR_IO, "is not a regular file");
}

static vqc_status map_below(const char *location)
{
    vqc_file_map map;
    vqc_error error;
    vqc_status status = vqc_file_map_below(folder, location, "test", &map, &error);

    cr_assert(status != VQC_OK || (map.size_bytes == 4 && memcmp(map.data, "data", 4) == 0));
    vqc_file_map_close(&map);
    return status;
}

static void make_links(void)
{
    cr_assert_eq(mkdir(at("sub"), 0777), 0);
    write_file(at("sub/file"), "data", 4);
    cr_assert_eq(symlink("sub/file", at("inside")), 0);
    cr_assert_eq(symlink("/etc/passwd", at("outside")), 0);
    cr_assert_eq(symlink("..", at("up")), 0);
    cr_assert_eq(symlink("/proc/self/root", at("magic")), 0);
}

static void expect_nothing_outside(void)
{
    char detour[64]; /* out of the folder and in again: the file is there */

    (void)snprintf(detour, sizeof detour, "up/%s/sub/file", vqc_path_base(folder));
    cr_assert_eq(map_below("sub/file"), VQC_OK);
    cr_assert_eq(map_below("./sub//file"), VQC_OK);
    cr_assert_eq(map_below("outside"), VQC_ERR_MODEL);
    cr_assert_neq(map_below(detour), VQC_OK);
    cr_assert_neq(map_below("magic/etc/passwd"), VQC_OK);
    cr_assert_eq(map_below("../passwd"), VQC_ERR_MODEL);
    cr_assert_eq(map_below("sub"), VQC_ERR_IO);
    cr_assert_eq(map_below("sub/file/x"), VQC_ERR_IO);
    cr_assert_eq(map_below("none"), VQC_ERR_IO);
}

Test(onnx_file, links_that_stay_inside_are_followed)
{
    make_links();
    expect_nothing_outside();
    cr_assert_eq(map_below("inside"), VQC_OK);
}

/* Kernels and sandboxes without openat2: no link is followed at all. */
Test(onnx_file, no_links_without_openat2)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

    make_links();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        cr_skip_test("this system does not let a process filter its own calls");
    }
    expect_nothing_outside();
    cr_assert_eq(map_below("inside"), VQC_ERR_MODEL);
}

/* ---- output groups ---- */

static vqc_writer *add(vqc_output *output, const char *path, bool overwrite, const char *text)
{
    vqc_writer *writer = NULL;
    vqc_error error;

    cr_assert_eq(vqc_output_add(output, path, overwrite, &writer, &error), VQC_OK);
    vqc_writer_put(writer, text, strlen(text));
    cr_assert_eq(vqc_writer_finish(writer, &error), VQC_OK);
    return writer;
}

/* When the last of three renames fails, the first two are undone. */
Test(onnx_file, failed_commit_is_undone)
{
    vqc_output *output = NULL;
    vqc_error error;

    write_file(at("replaced"), "old", 3);
    cr_assert_eq(vqc_output_create(&output, &error), VQC_OK);
    (void)add(output, at("replaced"), true, "new");
    (void)add(output, at("created"), true, "new");
    (void)add(output, at("blocked"), true, "new");
    cr_assert_eq(mkdir(at("blocked"), 0777), 0);
    cr_assert_eq(vqc_output_commit(output, &error), VQC_ERR_IO);
    cr_assert_not_null(strstr(error.message, "blocked: cannot be put in place"), "%s",
                       error.message);
    vqc_output_destroy(&output);
    expect_text(at("replaced"), "old");
    cr_assert_eq(count_files(""), 2);
}

Test(onnx_file, commit_does_not_overwrite_what_appeared_meanwhile)
{
    vqc_output *output = NULL;
    vqc_error error;

    cr_assert_eq(vqc_output_create(&output, &error), VQC_OK);
    (void)add(output, at("a"), false, "new");
    (void)add(output, at("b"), false, "new");
    write_file(at("b"), "theirs", 6);
    cr_assert_eq(vqc_output_commit(output, &error), VQC_ERR_USAGE);
    vqc_output_destroy(&output);
    expect_text(at("b"), "theirs");
    cr_assert_eq(count_files(""), 1);
}

Test(onnx_file, group_replaces_and_creates)
{
    vqc_output *output = NULL;
    vqc_error error;

    write_file(at("a"), "old", 3);
    write_file(at("b"), "old", 3);
    cr_assert_eq(vqc_output_create(&output, &error), VQC_OK);
    (void)add(output, at("a"), true, "new a");
    (void)add(output, at("b"), true, "new b");
    (void)add(output, at("c"), true, "new c");
    cr_assert_eq(vqc_output_commit(output, &error), VQC_OK, "%s", error.message);
    vqc_output_destroy(&output);
    expect_text(at("a"), "new a");
    expect_text(at("b"), "new b");
    expect_text(at("c"), "new c");
    cr_assert_eq(count_files(""), 3);
}

Test(onnx_file, cleanup_removes_unfinished_files)
{
    vqc_output *output = NULL;
    vqc_writer *writer = NULL;
    vqc_error error;

    cr_assert_eq(vqc_output_create(&output, &error), VQC_OK);
    (void)add(output, at("a"), false, "finished");
    cr_assert_eq(vqc_output_add(output, at("b"), false, &writer, &error), VQC_OK);
    cr_assert_eq(count_files(".vqc-"), 2);
    vqc_onnx_cleanup();
    cr_assert_eq(count_files(""), 0);
    vqc_output_destroy(&output);
}

Test(onnx_file, large_and_small_pieces_keep_their_order)
{
    enum { SIZE = 3 << 20 };
    vqc_output *output = NULL;
    vqc_writer *writer = NULL;
    vqc_error error;
    uint8_t *data = malloc(SIZE);
    vqc_file_map map;
    size_t at_byte = 0;

    cr_assert_not_null(data);
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (uint8_t)(i * 31 + i / 251);
    }
    cr_assert_eq(vqc_output_create(&output, &error), VQC_OK);
    cr_assert_eq(vqc_output_add(output, at("a"), false, &writer, &error), VQC_OK);
    for (size_t piece = 1; at_byte < SIZE; piece = piece * 7 % 300007) {
        size_t size = piece < SIZE - at_byte ? piece : SIZE - at_byte;
        vqc_writer_put(writer, data + at_byte, size);
        at_byte += size;
    }
    cr_assert_eq(vqc_writer_size(writer), SIZE);
    cr_assert_eq(vqc_writer_finish(writer, &error), VQC_OK);
    cr_assert_eq(vqc_output_commit(output, &error), VQC_OK);
    vqc_output_destroy(&output);
    cr_assert_eq(vqc_file_map_open(at("a"), &map, &error), VQC_OK);
    cr_assert_eq(map.size_bytes, SIZE);
    cr_assert_eq(memcmp(map.data, data, SIZE), 0);
    vqc_file_map_close(&map);
    free(data);
}

Test(onnx_file, paths)
{
    static const struct {
        const char *path;
        const char *folder;
        const char *base;
    } cases[] = {{"a", ".", "a"},       {"./a", ".", "a"},       {"/a", "/", "a"},
                 {"b/c/a", "b/c", "a"}, {"/b/c/a", "/b/c", "a"}, {"b/", "b", ""}};
    static const char *const inside[] = {"a", "a/b", "./a", "..a", "a..", "a/...", "a//b"};
    static const char *const outside[] = {"", "/", "/a", "..", "../a", "a/..", "a/../b", "./.."};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *part = vqc_path_folder(cases[i].path);
        cr_assert_str_eq(part, cases[i].folder);
        cr_assert_str_eq(vqc_path_base(cases[i].path), cases[i].base);
        free(part);
    }
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        cr_assert(vqc_path_is_below(inside[i]), "%s", inside[i]);
    }
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        cr_assert_not(vqc_path_is_below(outside[i]), "%s", outside[i]);
    }
}
