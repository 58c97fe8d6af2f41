/* Arrays in files without a header, for the tools of the oracle tests. */
#ifndef VQC_TESTS_ORACLE_RAW_FILES_H
#define VQC_TESTS_ORACLE_RAW_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `size` bytes of the file, to be freed; NULL for "-". Ends the program when it cannot be read. */
static inline void *raw_read(const char *path, size_t size)
{
    FILE *file;
    void *data;

    if (strcmp(path, "-") == 0) {
        return NULL;
    }
    file = fopen(path, "rb");
    data = malloc(size + 1);
    if (file == NULL || data == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(2);
    }
    (void)fclose(file);
    return data;
}

/* Writes `size` bytes to path + suffix; nothing when data is NULL or the path is "-". */
static inline void raw_write(const char *path, const char *suffix, const void *data, size_t size)
{
    char name[4096];
    FILE *file;

    if (data == NULL || strcmp(path, "-") == 0) {
        return;
    }
    (void)snprintf(name, sizeof name, "%s%s", path, suffix);
    file = fopen(name, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        fprintf(stderr, "%s: cannot be written\n", name);
        exit(2);
    }
}

#endif
