#include "formats/npz_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/file_util.h"

enum { MAX_NAME_TRIES = 10000 };

struct vqc_npz_file {
    int fd;
    char *path;
    char *temporary; /* path of the file while it is written; NULL when there is none to remove */
    void *note;      /* of the temporary file, for vqc_output_cleanup */
    uint64_t size_bytes;
};

vqc_status vqc_npz_file_open_input(const char *path, int *fd, uint64_t *size_bytes,
                                   vqc_error *error)
{
    struct stat info;
    vqc_status status = VQC_OK;

    *size_bytes = 0;
    /* without O_NONBLOCK, opening a pipe waits for a writer */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    if (fstat(*fd, &info) != 0) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: got a %s, expected a regular file", path,
                          S_ISDIR(info.st_mode) ? "folder" : "pipe or device");
    }
    if (status != VQC_OK) {
        (void)close(*fd);
        *fd = -1;
        return status;
    }
    *size_bytes = (uint64_t)info.st_size;
    return VQC_OK;
}

/* Opens a file beside file->path under a name that no other file has. */
static vqc_status open_temporary(vqc_npz_file *file, vqc_error *error)
{
    size_t capacity = strlen(file->path) + 48;
    const char *slash = strrchr(file->path, '/');
    int folder = slash == NULL ? 0 : (int)(slash - file->path) + 1;
    char *name = malloc(capacity);

    if (name == NULL) {
        return vqc_fail_memory(error, capacity);
    }
    for (int i = 0; i < MAX_NAME_TRIES && file->fd < 0; i++) {
        (void)snprintf(name, capacity, "%.*s.%.16s.%ld.%d.tmp", folder, file->path,
                       file->path + folder, (long)getpid(), i);
        vqc_temporary_forget(file->note);
        file->note = vqc_temporary_note(name); /* an interrupt removes it */
        file->fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (file->fd < 0 && errno != EEXIST) {
            break;
        }
    }
    if (file->fd < 0) {
        vqc_temporary_forget(file->note);
        file->note = NULL;
        vqc_status status = vqc_fail(error, VQC_ERR_IO, "%s: cannot create %s beside it: %s",
                                     file->path, name, strerror(errno));
        free(name);
        return status;
    }
    file->temporary = name;
    return VQC_OK;
}

vqc_status vqc_npz_file_create(const char *path, vqc_npz_file **out, vqc_error *error)
{
    vqc_npz_file *file;
    struct stat info;
    vqc_status status;

    *out = NULL;
    /* rename() would put a regular file in the place of a device such as /dev/full */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot write: got a %s, expected a regular file",
                        path, S_ISDIR(info.st_mode) ? "folder" : "pipe or device");
    }
    file = calloc(1, sizeof *file);
    if (file == NULL) {
        return vqc_fail_memory(error, sizeof *file);
    }
    file->fd = -1;
    file->path = strdup(path);
    status =
        file->path == NULL ? vqc_fail_memory(error, strlen(path) + 1) : open_temporary(file, error);
    if (status != VQC_OK) {
        vqc_npz_file_destroy(&file);
        return status;
    }
    *out = file;
    return VQC_OK;
}

static vqc_status write_at(vqc_npz_file *file, uint64_t offset, const void *data, size_t size_bytes,
                           vqc_error *error)
{
    const uint8_t *bytes = data;

    while (size_bytes > 0) {
        ssize_t n = pwrite(file->fd, bytes, size_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return vqc_fail(error, VQC_ERR_IO, "%s: cannot write %s: %s", file->path,
                            file->temporary, strerror(n < 0 ? errno : ENOSPC));
        }
        bytes += n;
        offset += (uint64_t)n;
        size_bytes -= (size_t)n;
    }
    return VQC_OK;
}

vqc_status vqc_npz_file_write(vqc_npz_file *file, const void *data, size_t size_bytes,
                              vqc_error *error)
{
    vqc_status status = write_at(file, file->size_bytes, data, size_bytes, error);

    if (status == VQC_OK) {
        file->size_bytes += size_bytes;
    }
    return status;
}

vqc_status vqc_npz_file_overwrite(vqc_npz_file *file, uint64_t offset, const void *data,
                                  size_t size_bytes, vqc_error *error)
{
    return write_at(file, offset, data, size_bytes, error);
}

uint64_t vqc_npz_file_size(const vqc_npz_file *file)
{
    return file->size_bytes;
}

/* Makes the rename itself survive a crash. Some file systems cannot sync folders (EINVAL). */
static vqc_status sync_folder(const char *path, vqc_error *error)
{
    char *folder = strdup(path);
    vqc_status status = VQC_OK;
    char *slash;
    int fd;

    if (folder == NULL) {
        return vqc_fail_memory(error, strlen(path) + 1);
    }
    slash = strrchr(folder, '/');
    if (slash != NULL) {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    fd = open(slash == NULL ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* a folder that may be written but not read (EACCES) cannot be synced, and need not be */
    if (fd < 0 ? errno != EACCES : fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
        status =
            vqc_fail(error, VQC_ERR_IO, "%s: cannot sync its folder: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(folder);
    return status;
}

vqc_status vqc_npz_file_commit(vqc_npz_file *file, vqc_error *error)
{
    int closed;

    if (fsync(file->fd) != 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot sync %s: %s", file->path, file->temporary,
                        strerror(errno));
    }
    closed = close(file->fd);
    file->fd = -1;
    if (closed != 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot close %s: %s", file->path, file->temporary,
                        strerror(errno));
    }
    if (rename(file->temporary, file->path) != 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: cannot rename %s to it: %s", file->path,
                        file->temporary, strerror(errno));
    }
    vqc_temporary_forget(file->note);
    file->note = NULL;
    free(file->temporary);
    file->temporary = NULL;
    return sync_folder(file->path, error);
}

void vqc_npz_file_destroy(vqc_npz_file **file)
{
    if (file == NULL || *file == NULL) {
        return;
    }
    if ((*file)->fd >= 0) {
        (void)close((*file)->fd);
    }
    if ((*file)->temporary != NULL) {
        (void)unlink((*file)->temporary);
        free((*file)->temporary);
    }
    vqc_temporary_forget((*file)->note);
    free((*file)->path);
    free(*file);
    *file = NULL;
}
