/* Output groups: temporary files beside their targets, fsync, rename, undo. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "formats/file_util.h"

enum { BUFFER_BYTES = 256 * 1024, NAME_ATTEMPTS = 8 };

/*
 * Names of temporary files that exist, for the signal handler. Slots are never freed, only used
 * again, so a handler may walk the list at any time. `active` is set before the file is created:
 * the name is random, so nobody else's file can be meant.
 */
typedef struct temp_slot {
    struct temp_slot *next;
    atomic_bool taken;
    atomic_bool active;
    char path[PATH_MAX];
} temp_slot;

static _Atomic(temp_slot *) slots;

typedef enum file_state {
    FILE_WRITING,
    FILE_FINISHED,  /* complete under its temporary name */
    FILE_CREATED,   /* renamed; there was no target before */
    FILE_EXCHANGED, /* target and temporary name have changed places: the old file can come back */
    FILE_REPLACED   /* renamed over the target */
} file_state;

struct vqc_writer {
    char *path;
    temp_slot *slot;
    int fd;
    file_state state;
    bool overwrite;
    vqc_error error; /* the first failure; code VQC_OK: none */
    size_t size_bytes;
    size_t used; /* of buffer */
    uint8_t *buffer;
    vqc_writer *next;
};

struct vqc_output {
    vqc_writer *first;
    vqc_writer *last;
};

static temp_slot *slot_take(void)
{
    temp_slot *slot;

    for (slot = atomic_load(&slots); slot != NULL; slot = slot->next) {
        bool free_slot = false;
        if (atomic_compare_exchange_strong(&slot->taken, &free_slot, true)) {
            return slot;
        }
    }
    slot = calloc(1, sizeof *slot);
    if (slot != NULL) {
        atomic_init(&slot->taken, true);
        slot->next = atomic_load(&slots);
        while (!atomic_compare_exchange_weak(&slots, &slot->next, slot)) {
        }
    }
    return slot;
}

static void slot_release(temp_slot *slot)
{
    atomic_store(&slot->active, false);
    atomic_store(&slot->taken, false);
}

void *vqc_temporary_note(const char *path)
{
    temp_slot *slot = slot_take();

    if (slot != NULL && strlen(path) < sizeof slot->path) {
        memcpy(slot->path, path, strlen(path) + 1);
        atomic_store(&slot->active, true);
    }
    return slot;
}

void vqc_temporary_forget(void *slot)
{
    if (slot != NULL) {
        slot_release(slot);
    }
}

void vqc_output_cleanup(void)
{
    for (temp_slot *slot = atomic_load(&slots); slot != NULL; slot = slot->next) {
        if (atomic_load(&slot->active)) {
            (void)unlink(slot->path);
        }
    }
}

vqc_status vqc_output_create(vqc_output **out, vqc_error *error)
{
    *out = calloc(1, sizeof **out);
    return *out == NULL ? vqc_fail_memory(error, sizeof **out) : VQC_OK;
}

static uint64_t random_name(void)
{
    uint64_t value = 0;

    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != (ssize_t)sizeof value) {
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        value = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid();
    }
    return value;
}

/* Creates the temporary file in the folder of writer->path. */
static vqc_status create_temporary(vqc_writer *writer, vqc_error *error)
{
    char *folder = vqc_path_folder(writer->path);
    vqc_status status = VQC_OK;

    if (folder == NULL) {
        return vqc_fail_memory(error, strlen(writer->path));
    }
    for (int attempt = 0; attempt < NAME_ATTEMPTS && writer->fd < 0; attempt++) {
        int length = snprintf(writer->slot->path, sizeof writer->slot->path, "%s/.vqc-%016llx.tmp",
                              folder, (unsigned long long)random_name());
        if (length < 0 || (size_t)length >= sizeof writer->slot->path) {
            errno = ENAMETOOLONG;
            break;
        }
        atomic_store(&writer->slot->active, true);
        writer->fd = open(writer->slot->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd < 0) {
            atomic_store(&writer->slot->active, false);
            if (errno != EEXIST) {
                break;
            }
        }
    }
    if (writer->fd < 0) {
        status = vqc_fail(error, VQC_ERR_IO, "%s: cannot create a file in folder %s: %s",
                          writer->path, folder, strerror(errno));
    }
    free(folder);
    return status;
}

/* Refuses targets that must not be replaced. */
static vqc_status check_target(const char *path, bool overwrite, vqc_error *error)
{
    struct stat info;
    struct stat link_info;

    if (vqc_path_base(path)[0] == '\0') {
        return vqc_fail(error, VQC_ERR_IO, "%s: not a file name", path);
    }
    /* A rename would replace a device or a pipe by a file (as root even /dev/null): never do that.
     */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return vqc_fail(error, VQC_ERR_IO, "%s: %s", path,
                        S_ISDIR(info.st_mode) ? "is a folder, expected a file name"
                                              : "is not a regular file");
    }
    if (!overwrite && lstat(path, &link_info) == 0) {
        return vqc_fail(error, VQC_ERR_USAGE, "%s: exists already and is not overwritten", path);
    }
    return VQC_OK;
}

vqc_status vqc_output_add(vqc_output *output, const char *path, bool overwrite, vqc_writer **writer,
                          vqc_error *error)
{
    vqc_writer *item;
    vqc_status status = check_target(path, overwrite, error);

    *writer = NULL;
    if (status != VQC_OK) {
        return status;
    }
    item = calloc(1, sizeof *item);
    if (item == NULL) {
        return vqc_fail_memory(error, sizeof *item);
    }
    item->fd = -1;
    item->overwrite = overwrite;
    if (output->last == NULL) {
        output->first = item;
    } else {
        output->last->next = item;
    }
    output->last = item;
    item->path = strdup(path);
    item->buffer = malloc(BUFFER_BYTES);
    item->slot = slot_take();
    if (item->path == NULL || item->buffer == NULL || item->slot == NULL) {
        return vqc_fail_memory(error, BUFFER_BYTES);
    }
    status = create_temporary(item, error);
    if (status == VQC_OK) {
        *writer = item;
    }
    return status;
}

static void write_all(vqc_writer *writer, const uint8_t *data, size_t size_bytes)
{
    while (size_bytes > 0 && writer->error.code == VQC_OK) {
        ssize_t done = write(writer->fd, data, size_bytes);
        if (done > 0) {
            data += done;
            size_bytes -= (size_t)done;
        } else if (done < 0 && errno != EINTR) {
            (void)vqc_fail(&writer->error, VQC_ERR_IO, "%s: cannot write: %s", writer->path,
                           strerror(errno));
        } else if (done == 0) {
            (void)vqc_fail(&writer->error, VQC_ERR_IO, "%s: cannot write", writer->path);
        }
    }
}

static void flush(vqc_writer *writer)
{
    write_all(writer, writer->buffer, writer->used);
    writer->used = 0;
}

void vqc_writer_put(vqc_writer *writer, const void *data, size_t size_bytes)
{
    writer->size_bytes += size_bytes;
    if (writer->error.code != VQC_OK || size_bytes == 0) {
        return;
    }
    if (size_bytes > BUFFER_BYTES - writer->used) {
        flush(writer);
    }
    if (size_bytes >= BUFFER_BYTES / 4) {
        flush(writer);
        write_all(writer, data, size_bytes);
        return;
    }
    memcpy(writer->buffer + writer->used, data, size_bytes);
    writer->used += size_bytes;
}

size_t vqc_writer_size(const vqc_writer *writer)
{
    return writer->size_bytes;
}

vqc_status vqc_writer_finish(vqc_writer *writer, vqc_error *error)
{
    flush(writer);
    free(writer->buffer);
    writer->buffer = NULL;
    if (writer->error.code == VQC_OK && fsync(writer->fd) != 0) {
        (void)vqc_fail(&writer->error, VQC_ERR_IO, "%s: cannot be flushed to the disk: %s",
                       writer->path, strerror(errno));
    }
    /* Network file systems report late write errors at close. */
    if (close(writer->fd) != 0 && writer->error.code == VQC_OK) {
        (void)vqc_fail(&writer->error, VQC_ERR_IO, "%s: cannot be closed: %s", writer->path,
                       strerror(errno));
    }
    writer->fd = -1;
    if (writer->error.code != VQC_OK) {
        if (error != NULL) {
            *error = writer->error;
        }
        return writer->error.code;
    }
    writer->state = FILE_FINISHED;
    return VQC_OK;
}

/* Moves a finished file to a name that must be free. */
static int move_to_free_name(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -1;
    }
    /* File systems without RENAME_NOREPLACE: link() fails on an existing name as well. */
    if (link(from, to) != 0) {
        return -1;
    }
    (void)unlink(from);
    return 0;
}

/* Puts one finished file in place. `last`: nothing after it can fail, so it need not be undoable.
 */
static vqc_status put_in_place(vqc_writer *writer, bool last, vqc_error *error)
{
    const char *from = writer->slot->path;
    struct stat info;

    if (!writer->overwrite || lstat(writer->path, &info) != 0) {
        if (move_to_free_name(from, writer->path) == 0) {
            writer->state = FILE_CREATED;
            return VQC_OK;
        }
        if (errno == EEXIST && !writer->overwrite) {
            return vqc_fail(error, VQC_ERR_USAGE, "%s: exists already and is not overwritten",
                            writer->path);
        }
    }
    if (writer->overwrite) {
        if (!last && renameat2(AT_FDCWD, from, AT_FDCWD, writer->path, RENAME_EXCHANGE) == 0) {
            writer->state = FILE_EXCHANGED;
            return VQC_OK;
        }
        if (rename(from, writer->path) == 0) {
            writer->state = FILE_REPLACED;
            return VQC_OK;
        }
    }
    return vqc_fail(error, VQC_ERR_IO, "%s: cannot be put in place: %s", writer->path,
                    strerror(errno));
}

static void undo(vqc_writer *writer)
{
    if (writer->state == FILE_CREATED) {
        (void)unlink(writer->path);
    } else if (writer->state == FILE_EXCHANGED) {
        (void)renameat2(AT_FDCWD, writer->slot->path, AT_FDCWD, writer->path, RENAME_EXCHANGE);
        writer->state = FILE_FINISHED;
    }
}

/* Makes the renames durable. Best effort: the files are complete and visible, and some file systems
 * cannot fsync a folder. */
static void sync_folder(const char *path)
{
    char *folder = vqc_path_folder(path);
    int fd = folder == NULL ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    free(folder);
}

vqc_status vqc_output_commit(vqc_output *output, vqc_error *error)
{
    vqc_status status = VQC_OK;
    sigset_t all;
    sigset_t before;

    for (vqc_writer *item = output->first; item != NULL; item = item->next) {
        if (item->state != FILE_FINISHED) {
            return vqc_fail(error, VQC_ERR_INTERNAL, "%s: renamed before it was finished",
                            item->path);
        }
    }
    /* Several renames should not be torn apart by a signal that ends the process. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    for (vqc_writer *item = output->first; item != NULL && status == VQC_OK; item = item->next) {
        status = put_in_place(item, item->next == NULL, error);
    }
    for (vqc_writer *item = output->first; item != NULL; item = item->next) {
        if (status != VQC_OK) {
            undo(item);
        }
        /* What is still under the temporary name (nothing, the old file or the one that failed)
         * goes. */
        if (item->state == FILE_EXCHANGED || item->state == FILE_FINISHED) {
            (void)unlink(item->slot->path);
        }
        slot_release(item->slot);
        item->slot = NULL;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == VQC_OK) {
        for (vqc_writer *item = output->first; item != NULL; item = item->next) {
            sync_folder(item->path);
        }
    }
    return status;
}

void vqc_output_destroy(vqc_output **output)
{
    if (output == NULL || *output == NULL) {
        return;
    }
    for (vqc_writer *item = (*output)->first; item != NULL;) {
        vqc_writer *next = item->next;
        if (item->fd >= 0) {
            (void)close(item->fd);
        }
        if (item->slot != NULL) {
            if (atomic_load(&item->slot->active)) {
                (void)unlink(item->slot->path);
            }
            slot_release(item->slot);
        }
        free(item->buffer);
        free(item->path);
        free(item);
        item = next;
    }
    free(*output);
    *output = NULL;
}
