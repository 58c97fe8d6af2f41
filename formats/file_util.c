#include "formats/file_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif
#endif

/* O_NONBLOCK: opening a FIFO must not wait for a writer; regular files ignore it. */
enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

const char *vqc_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

char *vqc_path_folder(const char *path)
{
    size_t length = (size_t)(vqc_path_base(path) - path);

    if (length == 0) {
        return strdup(".");
    }
    return strndup(path, length == 1 ? 1 : length - 1);
}

bool vqc_path_is_below(const char *location)
{
    if (location[0] == '\0' || location[0] == '/') {
        return false;
    }
    for (const char *part = location; part != NULL;) {
        const char *slash = strchr(part, '/');
        size_t length = slash == NULL ? strlen(part) : (size_t)(slash - part);
        if (length == 2 && part[0] == '.' && part[1] == '.') {
            return false;
        }
        part = slash == NULL ? NULL : slash + 1;
    }
    return true;
}

/* Maps an open file and closes it. `what` is its name in messages. */
static vqc_status map_and_close(int fd, const char *what, vqc_file_map *map, vqc_error *error)
{
    static const uint8_t empty[1];
    struct stat info;
    void *data;
    vqc_status status = VQC_OK;

    if (fstat(fd, &info) != 0) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: %s", what, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: %s", what,
                          S_ISDIR(info.st_mode) ? "is a folder, expected a file"
                                                : "is not a regular file");
    } else if ((uintmax_t)info.st_size > (uintmax_t)(SIZE_MAX / 2)) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: too large to be mapped", what);
    } else {
        map->size_bytes = (size_t)info.st_size;
        map->device = info.st_dev;
        map->inode = info.st_ino;
        map->data = empty;
        if (map->size_bytes > 0) {
            data = mmap(NULL, map->size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
            if (data == MAP_FAILED) {
                status =
                    vqc_fail(error, VQC_ERR_IO, "%s: cannot be mapped: %s", what, strerror(errno));
                map->size_bytes = 0;
            } else {
                map->data = data;
            }
        }
    }
    (void)close(fd);
    return status;
}

vqc_status vqc_file_map_open(const char *path, vqc_file_map *map, vqc_error *error)
{
    int fd;

    memset(map, 0, sizeof *map);
    fd = open(path, OPEN_FLAGS);
    if (fd < 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: %s", path, strerror(errno));
    }
    return map_and_close(fd, path, map, error);
}

/* Opens component by component and follows no symbolic link: for kernels without openat2. */
static int open_without_links(int folder, const char *location)
{
    const char *part = location;
    int current = folder;

    for (;;) {
        char name[256];
        const char *slash = strchr(part, '/');
        size_t length = slash == NULL ? strlen(part) : (size_t)(slash - part);
        int next;

        if (length >= sizeof name) {
            errno = ENAMETOOLONG;
            next = -1;
        } else {
            memcpy(name, length == 0 ? "." : part, length == 0 ? 1 : length);
            name[length == 0 ? 1 : length] = '\0';
            next = openat(current, name,
                          slash == NULL ? OPEN_FLAGS | O_NOFOLLOW
                                        : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        if (current != folder) {
            int saved = errno;
            (void)close(current);
            errno = saved;
        }
        if (next < 0 || slash == NULL) {
            return next;
        }
        current = next;
        part = slash + 1;
    }
}

/* Opens `location` so that no symbolic link leads out of `folder`. errno = EXDEV or ELOOP when one
 * does. */
static int open_below(int folder, const char *location)
{
#if defined(SYS_openat2) && defined(RESOLVE_BENEATH)
    struct open_how how;

    memset(&how, 0, sizeof how);
    how.flags = OPEN_FLAGS;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    /* EAGAIN: a rename somewhere raced with the lookup; the manual page says to try again. */
    for (int attempt = 0; attempt < 16; attempt++) {
        long fd = syscall(SYS_openat2, folder, location, &how, sizeof how);
        if (fd >= 0) {
            return (int)fd;
        }
        if (errno != EAGAIN && errno != EINTR) {
            break;
        }
    }
    if (errno != ENOSYS && errno != EPERM) { /* EPERM: seccomp filters that do not know the call */
        return -1;
    }
#endif
    return open_without_links(folder, location);
}

vqc_status vqc_file_map_below(const char *folder, const char *location, const char *what,
                              vqc_file_map *map, vqc_error *error)
{
    int folder_fd;
    int fd;
    int saved;

    memset(map, 0, sizeof *map);
    if (!vqc_path_is_below(location)) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: \"%s\" is not a path below the model's folder (empty, absolute or "
                        "with \"..\")",
                        what, location);
    }
    folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: folder %s: %s", what, folder, strerror(errno));
    }
    fd = open_below(folder_fd, location);
    saved = errno;
    (void)close(folder_fd);
    if (fd < 0 && (saved == EXDEV || saved == ELOOP)) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: \"%s\" leads out of the model's folder through a symbolic link; put "
                        "the file itself beside the model",
                        what, location);
    }
    if (fd < 0) {
        return vqc_fail(error, VQC_ERR_IO, "%s: \"%s\" in folder %s: %s", what, location, folder,
                        strerror(saved));
    }
    return map_and_close(fd, what, map, error);
}

void vqc_file_map_close(vqc_file_map *map)
{
    if (map->size_bytes > 0) {
        (void)munmap((void *)(uintptr_t)map->data, map->size_bytes);
    }
    memset(map, 0, sizeof *map);
}
