/* A fuzz target's input as a file without a disk, for readers that want a path. */
#ifndef VQC_TESTS_FUZZ_FUZZ_FILE_H
#define VQC_TESTS_FUZZ_FUZZ_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FUZZ_PATH_BYTES = 64 };

#define REQUIRE(condition) fuzz_require(condition, #condition, __FILE__, __LINE__)

static inline void fuzz_require(int condition, const char *text, const char *file, int line)
{
    if (!condition) {
        (void)fprintf(stderr, "%s:%d: not so: %s\n", file, line, text);
        abort();
    }
}

/* An open descriptor (close() is the caller's) of a file with these bytes; its path goes into
 * `path`. */
static inline int fuzz_file_open(const uint8_t *data, size_t size, char path[FUZZ_PATH_BYTES])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    size_t done = 0;

    REQUIRE(fd >= 0);
    while (done < size) {
        ssize_t count = write(fd, data + done, size - done);
        REQUIRE(count > 0);
        done += (size_t)count;
    }
    (void)snprintf(path, FUZZ_PATH_BYTES, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
