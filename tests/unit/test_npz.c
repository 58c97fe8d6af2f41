/* .npy and .npz: round trips, byte orders, and archives that lie. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/npz.h"

static char folder[] = "/tmp/vqc-npz-XXXXXX";
static char path[64];

static void setup(void)
{
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a.npz", folder);
}

/* Names in the folder other than "." and "..". */
static size_t count_files(void)
{
    DIR *dir = opendir(folder);
    size_t count = 0;
    cr_assert_not_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        count += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    }
    closedir(dir);
    return count;
}

static void teardown(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

TestSuite(npz, .init = setup, .fini = teardown);

/* ---- a builder for archives with every field at the caller's will ---- */

typedef struct bytes {
    uint8_t data[1 << 16];
    size_t length;
} bytes;

static void put(bytes *out, uint64_t value, int size_bytes)
{
    for (int i = 0; i < size_bytes; i++) {
        out->data[out->length++] = (uint8_t)(value >> (8 * i));
    }
}

static void append(bytes *out, const void *data, size_t size_bytes)
{
    memcpy(out->data + out->length, data, size_bytes);
    out->length += size_bytes;
}

/* .npy with format 1.0 and the text as it is. */
static void make_npy(bytes *out, const char *text, const void *data, size_t size_bytes)
{
    out->length = 0;
    append(out, "\x93NUMPY\x01\x00", 8);
    put(out, strlen(text), 2);
    append(out, text, strlen(text));
    append(out, data, size_bytes);
}

typedef struct member {
    const char *name;
    const void *packed;
    size_t packed_bytes;
    uint64_t claimed_packed; /* in local header and directory */
    uint64_t claimed_plain;
    unsigned method;
    unsigned flags;
    uint32_t crc;
} member;

static member stored(const char *name, const bytes *npy)
{
    return (member){
        name,        npy->data, npy->length, npy->length,
        npy->length, 0,         0,           (uint32_t)crc32_z(0, npy->data, npy->length)};
}

static void put_common(bytes *out, const member *m)
{
    put(out, 20, 2);
    put(out, m->flags, 2);
    put(out, m->method, 2);
    put(out, 0x210000, 4);
    put(out, m->crc, 4);
    put(out, m->claimed_packed, 4);
    put(out, m->claimed_plain, 4);
    put(out, strlen(m->name), 2);
    put(out, 0, 2);
}

static void make_zip(bytes *out, const member *members, size_t count)
{
    size_t offsets[8];
    size_t directory;
    size_t directory_bytes;

    out->length = 0;
    for (size_t i = 0; i < count; i++) {
        offsets[i] = out->length;
        put(out, 0x04034b50, 4);
        put_common(out, &members[i]);
        append(out, members[i].name, strlen(members[i].name));
        append(out, members[i].packed, members[i].packed_bytes);
    }
    directory = out->length;
    for (size_t i = 0; i < count; i++) {
        put(out, 0x02014b50, 4);
        put(out, 20, 2);
        put_common(out, &members[i]);
        put(out, 0, 2); /* comment */
        put(out, 0, 8); /* disk, attributes */
        put(out, offsets[i], 4);
        append(out, members[i].name, strlen(members[i].name));
    }
    directory_bytes = out->length - directory;
    put(out, 0x06054b50, 4);
    put(out, 0, 4);
    put(out, count, 2);
    put(out, count, 2);
    put(out, directory_bytes, 4);
    put(out, directory, 4);
    put(out, 0, 2);
}

static size_t deflate_raw(const void *plain, size_t plain_bytes, uint8_t *out, size_t capacity)
{
    z_stream z = {0};
    cr_assert_eq(deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)plain;
    z.avail_in = (uInt)plain_bytes;
    z.next_out = out;
    z.avail_out = (uInt)capacity;
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    capacity -= z.avail_out;
    cr_assert_eq(deflateEnd(&z), Z_OK);
    return capacity;
}

static void expect_refused(const bytes *zip, const char *part_of_message)
{
    vqc_npz *npz = (vqc_npz *)(uintptr_t)1;
    vqc_error error = {0};
    vqc_status status = vqc_npz_read_memory(zip->data, zip->length, "x.npz", 1 << 30, &npz, &error);

    cr_assert_eq(status, VQC_ERR_MODEL, "got status %d: %s", (int)status, error.message);
    cr_assert_eq(error.code, VQC_ERR_MODEL);
    cr_assert_null(npz);
    cr_assert_not_null(strstr(error.message, part_of_message), "got message: %s", error.message);
    cr_assert_not_null(strstr(error.message, "x.npz"), "got message: %s", error.message);
}

static const char *const two_floats = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
static const float pair[2] = {1.5f, -2.0f};

/* ---- round trips ---- */

static int64_t image_dims[3] = {2, 3, 4};
static float image_data[24];
static int64_t label_dims[1] = {3};
static int64_t label_data[3] = {7, -1, INT64_MAX};
static uint8_t scalar_data[1] = {1};
static int64_t empty_dims[2] = {0, 5};

static void make_arrays(vqc_array out[4])
{
    for (int i = 0; i < 24; i++) {
        image_data[i] = (float)i * 0.5f;
    }
    out[0] = (vqc_array){"image", VQC_DTYPE_FLOAT, image_dims, 3, image_data, sizeof image_data};
    out[1] = (vqc_array){"labels", VQC_DTYPE_INT64, label_dims, 1, label_data, sizeof label_data};
    out[2] = (vqc_array){"a/b \xc3\xa4", VQC_DTYPE_BOOL, NULL, 0, scalar_data, 1};
    out[3] = (vqc_array){"none", VQC_DTYPE_FLOAT16, empty_dims, 2, NULL, 0};
}

static void expect_same(const vqc_array *got, const vqc_array *wanted)
{
    cr_assert_not_null(got);
    cr_assert_str_eq(got->name, wanted->name);
    cr_assert_eq(got->dtype, wanted->dtype);
    cr_assert_eq(got->rank, wanted->rank);
    cr_assert_eq(got->size_bytes, wanted->size_bytes);
    for (size_t i = 0; i < got->rank; i++) {
        cr_assert_eq(got->dims[i], wanted->dims[i]);
    }
    cr_assert_not_null(got->data);
    cr_assert_eq((uintptr_t)got->data % VQC_NPY_DATA_ALIGNMENT, 0);
    if (got->size_bytes > 0) {
        cr_assert_eq(memcmp(got->data, wanted->data, got->size_bytes), 0);
    }
}

static size_t slurp(uint8_t *data, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    size_t length;
    cr_assert_not_null(file);
    length = fread(data, 1, capacity, file);
    cr_assert_eq(fclose(file), 0);
    return length;
}

Test(npz, round_trip_of_both_methods_is_exact_and_repeatable)
{
    static uint8_t first[1 << 16];
    static uint8_t second[1 << 16];
    static const vqc_npz_method methods[2] = {VQC_NPZ_STORED, VQC_NPZ_DEFLATED};
    vqc_array arrays[4];
    vqc_error error = {0};

    make_arrays(arrays);
    for (int m = 0; m < 2; m++) {
        vqc_npz *npz = NULL;
        size_t length;
        cr_assert_eq(vqc_npz_write(path, arrays, 4, methods[m], &error), VQC_OK, "%s",
                     error.message);
        length = slurp(first, sizeof first);
        cr_assert_eq(vqc_npz_write(path, arrays, 4, methods[m], &error), VQC_OK);
        cr_assert_eq(slurp(second, sizeof second), length);
        cr_assert_eq(memcmp(first, second, length), 0);
        cr_assert_eq(count_files(), 1);
        cr_assert_eq(vqc_npz_read(path, &npz, &error), VQC_OK, "%s", error.message);
        cr_assert_eq(npz->count, 4);
        for (int i = 0; i < 4; i++) {
            expect_same(vqc_npz_find(npz, arrays[i].name), &arrays[i]);
            expect_same(&npz->arrays[i], &arrays[i]);
        }
        cr_assert_null(vqc_npz_find(npz, "imag"));
        vqc_npz_destroy(&npz);
        cr_assert_null(npz);
        vqc_npz_destroy(&npz);
    }
}

Test(npz, empty_archive_round_trips)
{
    vqc_npz *npz = NULL;
    vqc_error error = {0};
    cr_assert_eq(vqc_npz_write(path, NULL, 0, VQC_NPZ_STORED, &error), VQC_OK);
    cr_assert_eq(vqc_npz_read(path, &npz, &error), VQC_OK, "%s", error.message);
    cr_assert_eq(npz->count, 0);
    vqc_npz_destroy(&npz);
}

/* Larger than the windows of reader and writer, and not compressible. */
Test(npz, large_member_round_trips)
{
    enum { COUNT = 300001 };
    int64_t dims[1] = {COUNT};
    uint32_t *data = malloc(COUNT * sizeof *data);
    vqc_array array = {"x", VQC_DTYPE_UINT32, dims, 1, data, COUNT * sizeof *data};
    vqc_npz *npz = NULL;
    vqc_error error = {0};
    uint32_t state = 1;

    for (int i = 0; i < COUNT; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = state ^ state >> 15;
    }
    cr_assert_eq(vqc_npz_write(path, &array, 1, VQC_NPZ_DEFLATED, &error), VQC_OK);
    cr_assert_eq(vqc_npz_read(path, &npz, &error), VQC_OK, "%s", error.message);
    expect_same(npz->arrays, &array);
    vqc_npz_destroy(&npz);
    cr_assert_eq(vqc_npz_read_limited(path, array.size_bytes - 1, &npz, &error), VQC_ERR_MODEL);
    cr_assert_not_null(strstr(error.message, "limit"), "%s", error.message);
    cr_assert_null(npz);
    free(data);
}

Test(npz, npy_file_round_trips)
{
    vqc_array arrays[4];
    vqc_array back;
    vqc_error error = {0};

    make_arrays(arrays);
    cr_assert_eq(vqc_npy_write(path, &arrays[0], &error), VQC_OK, "%s", error.message);
    cr_assert_eq(vqc_npy_read(path, &back, &error), VQC_OK, "%s", error.message);
    cr_assert_null(back.name);
    cr_assert_eq(vqc_array_count(&back), 24);
    cr_assert_eq(memcmp(back.data, image_data, sizeof image_data), 0);
    vqc_array_clear(&back);
    cr_assert_null(back.data);
}

/* ---- .npy: orders and types ---- */

static void decode_ok(const char *text, const void *data, size_t size_bytes, vqc_array *out)
{
    bytes npy;
    vqc_error error = {0};
    make_npy(&npy, text, data, size_bytes);
    cr_assert_eq(vqc_npy_read_memory(npy.data, npy.length, "m", out, &error), VQC_OK, "%s",
                 error.message);
}

Test(npz, big_endian_is_swapped)
{
    static const uint8_t halves[4] = {0x3c, 0x00, 0xc0, 0x01};
    static const uint8_t longs[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const uint16_t wanted[2] = {0x3c00, 0xc001};
    vqc_array a;

    decode_ok("{'descr': '>f2', 'fortran_order': False, 'shape': (2,)}", halves, 4, &a);
    cr_assert_eq(a.dtype, VQC_DTYPE_FLOAT16);
    cr_assert_eq(memcmp(a.data, wanted, 4), 0);
    vqc_array_clear(&a);
    decode_ok("{\"shape\": (), 'descr':'>u8','fortran_order':False}", longs, 8, &a);
    cr_assert_eq(a.rank, 0);
    cr_assert_eq(*(uint64_t *)a.data, 0x0102030405060708u);
    vqc_array_clear(&a);
}

Test(npz, fortran_order_is_reordered)
{
    /* a[i][j][k] = 100 i + 10 j + k, first index fastest */
    int16_t columns[2 * 3 * 4];
    vqc_array a;
    const int16_t *got;
    size_t n = 0;

    for (int k = 0; k < 4; k++) {
        for (int j = 0; j < 3; j++) {
            for (int i = 0; i < 2; i++) {
                columns[n++] = (int16_t)(100 * i + 10 * j + k);
            }
        }
    }
    decode_ok("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3, 4L)}", columns,
              sizeof columns, &a);
    got = a.data;
    for (int i = 0; i < 24; i++) {
        cr_assert_eq(got[i], 100 * (i / 12) + 10 * (i / 4 % 3) + i % 4);
    }
    vqc_array_clear(&a);
}

Test(npz, bool_bytes_become_0_or_1)
{
    static const uint8_t raw[3] = {0, 1, 0xff};
    static const uint8_t wanted[3] = {0, 1, 1};
    vqc_array a;
    decode_ok("{'descr': '|b1', 'fortran_order': False, 'shape': (3,)}", raw, 3, &a);
    cr_assert_eq(memcmp(a.data, wanted, 3), 0);
    vqc_array_clear(&a);
}

Test(npz, every_supported_type_keeps_its_bytes)
{
    static const struct {
        const char *descr;
        vqc_dtype dtype;
        size_t item_bytes;
    } rows[] = {
        {"|i1", VQC_DTYPE_INT8, 1},   {"<i2", VQC_DTYPE_INT16, 2},  {"<i4", VQC_DTYPE_INT32, 4},
        {"<i8", VQC_DTYPE_INT64, 8},  {"|u1", VQC_DTYPE_UINT8, 1},  {"<u2", VQC_DTYPE_UINT16, 2},
        {"<u4", VQC_DTYPE_UINT32, 4}, {"<u8", VQC_DTYPE_UINT64, 8}, {"<f2", VQC_DTYPE_FLOAT16, 2},
        {"<f4", VQC_DTYPE_FLOAT, 4},  {"<f8", VQC_DTYPE_DOUBLE, 8}, {"<b1", VQC_DTYPE_BOOL, 1},
    };
    static const uint8_t raw[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[80];
        vqc_array a;
        (void)snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (2,)}",
                       rows[i].descr);
        decode_ok(text, raw, 2 * rows[i].item_bytes, &a);
        cr_assert_eq(a.dtype, rows[i].dtype);
        cr_assert_eq(a.size_bytes, 2 * rows[i].item_bytes);
        cr_assert_eq(memcmp(a.data, raw, a.size_bytes), 0);
        vqc_array_clear(&a);
    }
}

Test(npz, bad_npy_headers_are_refused)
{
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", "'|O'"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "'<c8'"},
        {"{'descr': '<f3', 'fortran_order': False, 'shape': (2,)}", "'<f3'"},
        {"{'descr': '|f4', 'fortran_order': False, 'shape': (2,)}", "'|f4'"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "structured"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", "dimension"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2)}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "64 bits"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9000000000000000000, 3)}",
         "product"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387906,)}", "product"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", "product"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "expected 12"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "expected 4"},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}", "True or False"},
        {"{'descr': '<f4', 'fortran_order': False}", "missing"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "repeated"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "unknown"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", "nothing after"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,", "dimension"},
        {"{'descr': '<f4", "quote"},
        {"", "'{'"},
    };
    bytes npy;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vqc_array a;
        vqc_error error = {0};
        make_npy(&npy, rows[i].text, pair, sizeof pair);
        cr_assert_eq(vqc_npy_read_memory(npy.data, npy.length, "m.npy", &a, &error), VQC_ERR_MODEL,
                     "accepted %s", rows[i].text);
        cr_assert_null(a.data);
        cr_assert_not_null(strstr(error.message, rows[i].message), "%s: got message: %s",
                           rows[i].text, error.message);
        cr_assert_eq(strncmp(error.message, "m.npy: ", 7), 0);
    }
    /* more dimensions than NumPy has; a wrong version; a wrong magic; every truncation */
    for (size_t cut = 0; cut < 4; cut++) {
        char text[400] = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
        vqc_array a;
        vqc_error error = {0};
        for (int i = 0; i < 65 && cut == 0; i++) {
            strcat(text, "1, ");
        }
        strcat(text, cut == 0 ? ")}" : "2,)}");
        make_npy(&npy, text, pair, sizeof pair);
        npy.data[6] = cut == 1 ? 4 : npy.data[6];
        npy.data[0] = cut == 2 ? 0 : npy.data[0];
        npy.length -= cut == 3 ? 1 : 0;
        cr_assert_eq(vqc_npy_read_memory(npy.data, npy.length, "m.npy", &a, &error), VQC_ERR_MODEL);
    }
}

/* ---- archives ---- */

Test(npz, honest_built_archive_is_read)
{
    bytes npy;
    bytes zip;
    member m[2];
    vqc_npz *npz = NULL;
    vqc_error error = {0};

    make_npy(&npy, two_floats, pair, sizeof pair);
    m[0] = stored("w.npy", &npy);
    m[1] = (member){"folder/", "", 0, 0, 0, 0, 0, 0};
    make_zip(&zip, m, 2);
    cr_assert_eq(vqc_npz_read_memory(zip.data, zip.length, "x.npz", 8, &npz, &error), VQC_OK, "%s",
                 error.message);
    cr_assert_eq(npz->count, 1);
    cr_assert_eq(memcmp(npz->arrays[0].data, pair, sizeof pair), 0);
    vqc_npz_destroy(&npz);
}

Test(npz, lying_archives_are_refused)
{
    bytes npy;
    bytes zip;
    member m[2];

    make_npy(&npy, two_floats, pair, sizeof pair);
    m[0] = m[1] = stored("w.npy", &npy);
    make_zip(&zip, m, 2);
    expect_refused(&zip, "twice");

    m[0].crc ^= 1;
    make_zip(&zip, m, 1);
    expect_refused(&zip, "CRC");

    m[0] = stored("w.npy", &npy);
    m[0].claimed_packed = m[0].claimed_plain = 0x7fffffff;
    make_zip(&zip, m, 1);
    expect_refused(&zip, "reach over the directory");

    m[0] = stored("w.npy", &npy);
    m[0].claimed_plain += 1;
    make_zip(&zip, m, 1);
    expect_refused(&zip, "stored, but takes");

    m[0] = stored("w.npy", &npy);
    m[0].claimed_plain = m[0].claimed_packed = m[0].packed_bytes - 1;
    make_zip(&zip, m, 1);
    expect_refused(&zip, "expected 8");

    m[0] = stored("w.txt", &npy);
    make_zip(&zip, m, 1);
    expect_refused(&zip, ".npy");

    m[0] = stored("w\n\x1b[31m.npy", &npy);
    m[0].crc ^= 1;
    make_zip(&zip, m, 1);
    expect_refused(&zip, "w??[31m.npy");

    m[0] = stored("w.npy", &npy);
    m[0].flags = 1;
    make_zip(&zip, m, 1);
    expect_refused(&zip, "encrypted");

    m[0] = stored("w.npy", &npy);
    m[0].method = 14;
    make_zip(&zip, m, 1);
    expect_refused(&zip, "method 14");

    m[0] = stored("w.npy", &npy);
    m[0].claimed_plain = 0xffffffff; /* "see zip64", and there is none */
    make_zip(&zip, m, 1);
    expect_refused(&zip, "64 bits");

    zip.length = 0;
    expect_refused(&zip, "too few");
}

/* Two directory entries (with two names) that share one member's bytes. */
Test(npz, overlapping_members_are_refused)
{
    bytes npy;
    bytes zip;
    member m[2];
    size_t second;
    size_t directory;

    make_npy(&npy, two_floats, pair, sizeof pair);
    m[0] = stored("a.npy", &npy);
    m[1] = stored("b.npy", &npy);
    second = 30 + 5 + npy.length;
    directory = 2 * second;
    make_zip(&zip, m, 2);
    /* the first member now claims to reach into the second, in both of its headers */
    zip.data[18] = zip.data[22] = (uint8_t)(npy.length + 20);
    zip.data[directory + 20] = zip.data[directory + 24] = (uint8_t)(npy.length + 20);
    expect_refused(&zip, "inside the member before it");
}

/* The member inflates to a million zeros, its headers claim less, in three ways. */
Test(npz, bombs_are_stopped_at_what_the_headers_claim)
{
    enum { ZEROS = 1000000 };
    static uint8_t plain[ZEROS];
    static uint8_t packed[4096];
    bytes npy;
    bytes zip;
    member m = {"w.npy", packed, 0, 0, 0, 8, 0, 0};
    struct rusage before;
    struct rusage after;

    make_npy(&npy, two_floats, pair, sizeof pair);
    memcpy(plain, npy.data, npy.length);
    m.packed_bytes = m.claimed_packed = deflate_raw(plain, ZEROS, packed, sizeof packed);
    m.claimed_plain = npy.length;
    m.crc = (uint32_t)crc32_z(0, plain, npy.length);
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "data go on after the 8 bytes");

    m.claimed_plain = ZEROS;
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "expected 8 for its shape");

    m.claimed_plain = 0x7fffffff; /* more than deflate can reach */
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "at most 1032 times");

    /* header and directory agree on 4 MB, the data end earlier */
    make_npy(&npy, "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000,)}", "", 0);
    memcpy(plain, npy.data, npy.length);
    m.packed_bytes = m.claimed_packed = deflate_raw(plain, ZEROS, packed, sizeof packed);
    m.claimed_plain = npy.length + ZEROS;
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "truncated in the data");

    /* a header that claims an exabyte costs no memory */
    cr_assert_eq(getrusage(RUSAGE_SELF, &before), 0);
    make_npy(&npy, "{'descr': '<f4', 'fortran_order': False, 'shape': (250000000000000000,)}", pair,
             8);
    m = stored("w.npy", &npy);
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "expected 1000000000000000000");
    cr_assert_eq(getrusage(RUSAGE_SELF, &after), 0);
    cr_assert_lt(after.ru_maxrss - before.ru_maxrss, 16 * 1024);
}

Test(npz, damaged_deflate_data_are_refused)
{
    static uint8_t packed[4096];
    bytes npy;
    bytes zip;
    member m = {"w.npy", packed, 0, 0, 0, 8, 0, 0};

    make_npy(&npy, two_floats, pair, sizeof pair);
    m.crc = (uint32_t)crc32_z(0, npy.data, npy.length);
    m.claimed_plain = npy.length;
    m.packed_bytes = deflate_raw(npy.data, npy.length, packed, sizeof packed);
    m.claimed_packed = m.packed_bytes;
    make_zip(&zip, &m, 1);
    {
        vqc_npz *npz = NULL;
        cr_assert_eq(vqc_npz_read_memory(zip.data, zip.length, "x", 8, &npz, NULL), VQC_OK);
        vqc_npz_destroy(&npz);
    }
    m.packed_bytes += 3; /* bytes after the stream's end */
    m.claimed_packed = m.packed_bytes;
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "3 of ");
    m.packed_bytes -= 4; /* the end cut off */
    m.claimed_packed = m.packed_bytes;
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "x.npz: member \"w.npy\"");
    packed[0] = 0xff; /* a reserved block type */
    make_zip(&zip, &m, 1);
    expect_refused(&zip, "corrupt");
}

/* Whatever one byte says, or wherever the file ends: the same arrays, or an error; never a crash.
 */
Test(npz, every_single_byte_damage_is_harmless)
{
    static uint8_t good[1 << 14];
    vqc_array arrays[4];
    vqc_error error = {0};
    size_t length;
    size_t refused = 0;

    make_arrays(arrays);
    cr_assert_eq(vqc_npz_write(path, arrays, 4, VQC_NPZ_DEFLATED, &error), VQC_OK);
    length = slurp(good, sizeof good);
    for (size_t cut = 0; cut < length; cut++) {
        /* a copy of its own, so that a sanitizer sees reads beyond the end */
        uint8_t *copy = malloc(cut + 1);
        vqc_npz *npz = NULL;
        memcpy(copy, good, cut);
        cr_assert_eq(vqc_npz_read_memory(copy, cut, "x", 1 << 20, &npz, &error), VQC_ERR_MODEL,
                     "cut at %zu of %zu", cut, length);
        free(copy);
    }
    for (size_t at = 0; at < length; at++) {
        for (int change = 0; change < 10; change++) {
            uint8_t old = good[at];
            vqc_npz *npz = NULL;
            vqc_status status;
            good[at] = (uint8_t)(change < 8 ? old ^ (1 << change) : change == 8 ? 0 : 0xff);
            status = vqc_npz_read_memory(good, length, "x", 1 << 20, &npz, &error);
            good[at] = old;
            if (status != VQC_OK) {
                cr_assert_eq(status, VQC_ERR_MODEL, "byte %zu: %s", at, error.message);
                refused++;
                continue;
            }
            cr_assert_eq(npz->count, 4);
            for (int i = 0; i < 4; i++) {
                expect_same(&npz->arrays[i], &arrays[i]);
            }
            vqc_npz_destroy(&npz);
        }
    }
    cr_assert_gt(refused, length * 7);
}

/* ---- files ---- */

Test(npz, unreadable_paths_are_io_errors)
{
    vqc_npz *npz = NULL;
    vqc_array a;
    vqc_error error = {0};

    cr_assert_eq(vqc_npz_read(path, &npz, &error), VQC_ERR_IO);
    cr_assert_not_null(strstr(error.message, "a.npz"));
    cr_assert_eq(vqc_npz_read(folder, &npz, &error), VQC_ERR_IO);
    cr_assert_not_null(strstr(error.message, "folder"));
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(vqc_npz_read(path, &npz, &error), VQC_ERR_IO); /* and does not wait for a writer */
    cr_assert_eq(vqc_npy_read(path, &a, &error), VQC_ERR_IO);
}

Test(npz, failed_writes_leave_nothing_behind)
{
    vqc_array arrays[4];
    vqc_error error = {0};
    struct rlimit limit = {200, 200};

    make_arrays(arrays);
    cr_assert_eq(vqc_npz_write("/nonexistent/a.npz", arrays, 4, VQC_NPZ_STORED, &error),
                 VQC_ERR_IO);
    cr_assert_eq(vqc_npz_write("/dev/full", arrays, 4, VQC_NPZ_STORED, &error), VQC_ERR_IO);
    cr_assert_eq(vqc_npz_write(folder, arrays, 4, VQC_NPZ_STORED, &error), VQC_ERR_IO);
    arrays[3].name = arrays[0].name;
    cr_assert_eq(vqc_npz_write(path, arrays, 4, VQC_NPZ_STORED, &error), VQC_ERR_INTERNAL);
    cr_assert_not_null(strstr(error.message, "\"image\""));
    make_arrays(arrays);
    arrays[2].name = NULL;
    cr_assert_eq(vqc_npz_write(path, arrays, 4, VQC_NPZ_STORED, &error), VQC_ERR_INTERNAL);
    make_arrays(arrays);
    arrays[2].size_bytes = 2;
    cr_assert_eq(vqc_npz_write(path, arrays, 4, VQC_NPZ_STORED, &error), VQC_ERR_INTERNAL);
    cr_assert_eq(count_files(), 0);

    make_arrays(arrays);
    cr_assert_eq(vqc_npz_write(path, arrays, 1, VQC_NPZ_STORED, &error), VQC_OK);
    /* the disk "fills up" after 200 bytes: the old file stays as it was */
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(vqc_npz_write(path, arrays, 4, VQC_NPZ_STORED, &error), VQC_ERR_IO);
    cr_assert_eq(count_files(), 1);
    {
        vqc_npz *npz = NULL;
        cr_assert_eq(vqc_npz_read(path, &npz, &error), VQC_OK);
        cr_assert_eq(npz->count, 1);
        vqc_npz_destroy(&npz);
    }
}
