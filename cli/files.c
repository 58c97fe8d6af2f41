#include "cli/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/text.h"
#include "core/error.h"
#include "formats/file_util.h"

vqc_status vqc_file_check_input(const char *path, vqc_error *error)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return vqc_fail(error, VQC_ERR_IO, "%s: this is a folder, expected an ONNX file", path);
    if (!S_ISREG(info.st_mode))
        return vqc_fail(error, VQC_ERR_IO, "%s: not a regular file; models are mapped into memory",
                        path);
    if (access(path, R_OK) != 0)
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    return VQC_OK;
}

char *vqc_file_folder(vqc_arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    return vqc_text_printf(arena, "%.*s", slash != NULL ? (int)(slash + 1 - path) : 0, path);
}

vqc_status vqc_file_check_output(const char *path, vqc_error *error)
{
    vqc_arena *arena = vqc_cli_arena();
    vqc_status status = VQC_OK;
    char *folder = vqc_file_folder(arena, path);
    if (*folder == '\0')
        folder = vqc_text_printf(arena, "./");
    if (vqc_file_is_folder(path))
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot be written: this is a folder", path);
    else if (!vqc_file_is_folder(folder))
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot be written: there is no folder %s", path,
                          folder);
    else if (access(folder, W_OK | X_OK) != 0)
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot be written: folder %s: %s", path, folder,
                          strerror(errno));
    vqc_arena_destroy(&arena);
    return status;
}

bool vqc_file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool vqc_file_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool vqc_file_same(const char *a, const char *b)
{
    struct stat a_info, b_info;
    bool a_there = stat(a, &a_info) == 0;
    bool b_there = stat(b, &b_info) == 0;
    if (a_there && b_there)
        return a_info.st_dev == b_info.st_dev && a_info.st_ino == b_info.st_ino;
    if (a_there != b_there)
        return false;
    const char *a_slash = strrchr(a, '/');
    const char *b_slash = strrchr(b, '/');
    if (strcmp(a_slash != NULL ? a_slash + 1 : a, b_slash != NULL ? b_slash + 1 : b) != 0)
        return false;
    vqc_arena *arena = vqc_cli_arena();
    char *a_folder = vqc_text_printf(arena, "%s.", vqc_file_folder(arena, a));
    char *b_folder = vqc_text_printf(arena, "%s.", vqc_file_folder(arena, b));
    bool same = strcmp(a_folder, b_folder) == 0 ||
                (vqc_file_is_folder(a_folder) && vqc_file_is_folder(b_folder) &&
                 vqc_file_same(a_folder, b_folder));
    vqc_arena_destroy(&arena);
    return same;
}

vqc_status vqc_file_make_folder(const char *path, vqc_error *error)
{
    vqc_arena *arena = vqc_cli_arena();
    vqc_status status = VQC_OK;
    char *part = vqc_text_printf(arena, "%s", path);
    for (char *at = part + 1; status == VQC_OK && *part != '\0'; at++) {
        char here = *at;
        if (here != '/' && here != '\0')
            continue;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && !(errno == EEXIST && vqc_file_is_folder(part)) &&
            !(errno != EEXIST && vqc_file_is_folder(part)))
            status = vqc_fail(error, VQC_ERR_IO, "%s: folder cannot be made: %s", part,
                              errno == EEXIST ? "a file has this name" : strerror(errno));
        *at = here;
        if (here == '\0')
            break;
    }
    vqc_arena_destroy(&arena);
    return status;
}

char *vqc_file_output_name(vqc_arena *arena, const char *model, const char *recipe_name)
{
    const char *slash = strrchr(model, '/');
    const char *base = slash != NULL ? slash + 1 : model;
    size_t length = strlen(base);
    if (length > 5 && strcmp(base + length - 5, ".onnx") == 0)
        length -= 5;
    return vqc_text_printf(arena, "%.*s.%s.onnx", (int)length, base, recipe_name);
}

static bool write_all(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, text, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        text += written;
        size -= (size_t)written;
    }
    return true;
}

/* Writes to something that cannot be renamed over: a device or a pipe. */
static vqc_status write_directly(const char *path, const char *text, vqc_error *error)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    vqc_status status = VQC_OK;
    if (!write_all(fd, text, strlen(text)))
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (close(fd) != 0 && status == VQC_OK)
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    return status;
}

vqc_status vqc_file_write(const char *path, const char *text, vqc_error *error)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return write_directly(path, text, error);
    vqc_status status = vqc_file_check_output(path, error);
    if (status != VQC_OK)
        return status;
    vqc_output *output;
    vqc_writer *writer;
    status = vqc_output_create(&output, error);
    if (status == VQC_OK)
        status = vqc_output_add(output, path, true, &writer, error);
    if (status == VQC_OK) {
        vqc_writer_put(writer, text, strlen(text));
        status = vqc_writer_finish(writer, error);
    }
    if (status == VQC_OK)
        status = vqc_output_commit(output, error);
    vqc_output_destroy(&output);
    return status;
}
