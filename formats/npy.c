#include "formats/npy.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "formats/npz_file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are kept in little-endian order");

enum { MAGIC_BYTES = 6, PREFIX_BYTES = 10, HEADER_ALIGNMENT = 64 };
static const uint8_t npy_magic[MAGIC_BYTES] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

/* NumPy's kind letter and item size of each type. */
typedef struct type_row {
    vqc_dtype dtype;
    char kind;
    unsigned item_bytes;
} type_row;

static const type_row type_rows[] = {
    {VQC_DTYPE_BOOL, 'b', 1},    {VQC_DTYPE_INT8, 'i', 1},   {VQC_DTYPE_INT16, 'i', 2},
    {VQC_DTYPE_INT32, 'i', 4},   {VQC_DTYPE_INT64, 'i', 8},  {VQC_DTYPE_UINT8, 'u', 1},
    {VQC_DTYPE_UINT16, 'u', 2},  {VQC_DTYPE_UINT32, 'u', 4}, {VQC_DTYPE_UINT64, 'u', 8},
    {VQC_DTYPE_FLOAT16, 'f', 2}, {VQC_DTYPE_FLOAT, 'f', 4},  {VQC_DTYPE_DOUBLE, 'f', 8},
};

static const type_row *find_type(vqc_dtype dtype)
{
    for (size_t i = 0; i < sizeof type_rows / sizeof *type_rows; i++) {
        if (type_rows[i].dtype == dtype) {
            return &type_rows[i];
        }
    }
    return NULL;
}

bool vqc_npy_supports(vqc_dtype dtype)
{
    return find_type(dtype) != NULL;
}

bool vqc_npy_array_bytes(vqc_dtype dtype, const int64_t *dims, size_t rank, size_t *size_bytes)
{
    const type_row *type = find_type(dtype);
    size_t product;
    bool empty = false;

    *size_bytes = 0;
    if (type == NULL) {
        return false;
    }
    product = type->item_bytes;
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] < 0) {
            return false;
        }
        if (dims[i] == 0) {
            empty = true;
        } else if (!vqc_size_mul(product, (size_t)dims[i], &product) || product > INT64_MAX) {
            return false;
        }
    }
    *size_bytes = empty ? 0 : product;
    return true;
}

size_t vqc_array_count(const vqc_array *array)
{
    const type_row *type = find_type(array->dtype);
    return type == NULL ? 0 : array->size_bytes / type->item_bytes;
}

void vqc_array_clear(vqc_array *array)
{
    if (array == NULL) {
        return;
    }
    free(array->name);
    free(array->dims);
    free(array->data);
    *array = (vqc_array){0};
}

/* ---- the header's text: a Python dict literal with three keys ---- */

typedef struct text_cursor {
    const char *at;
    const char *end;
    const char *where;
    vqc_error *error;
} text_cursor;

static void skip_space(text_cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t' ||
                                        *cursor->at == '\n' || *cursor->at == '\r')) {
        cursor->at++;
    }
}

/* Takes the character `c` (after white space) when it is next. */
static bool accept(text_cursor *cursor, char c)
{
    skip_space(cursor);
    if (cursor->at < cursor->end && *cursor->at == c) {
        cursor->at++;
        return true;
    }
    return false;
}

static vqc_status expected(const text_cursor *cursor, const char *what)
{
    char got[24];
    size_t length = 0;

    for (const char *p = cursor->at; p < cursor->end && length + 1 < sizeof got; p++) {
        got[length++] = isprint((unsigned char)*p) ? *p : '?';
    }
    got[length] = '\0';
    return vqc_fail(cursor->error, VQC_ERR_MODEL, "%s: .npy header: got \"%s\", expected %s",
                    cursor->where, got, what);
}

/* A quoted string without escapes into text [capacity], NUL-terminated. */
static vqc_status parse_string(text_cursor *cursor, char *text, size_t capacity, const char *what)
{
    char quote = '\'';
    size_t length = 0;

    if (!accept(cursor, '\'')) {
        if (!accept(cursor, '"')) {
            return expected(cursor, what);
        }
        quote = '"';
    }
    while (cursor->at < cursor->end && *cursor->at != quote) {
        if (*cursor->at == '\\' || !isprint((unsigned char)*cursor->at) || length + 1 >= capacity) {
            return expected(cursor, what);
        }
        text[length++] = *cursor->at++;
    }
    text[length] = '\0';
    return accept(cursor, quote) ? VQC_OK : expected(cursor, "a closing quote");
}

static vqc_status parse_descr(text_cursor *cursor, vqc_npy_layout *header)
{
    char text[16];
    vqc_status status;

    skip_space(cursor);
    if (cursor->at < cursor->end && *cursor->at == '[') {
        return vqc_fail(cursor->error, VQC_ERR_MODEL,
                        "%s: got a structured type, expected a plain number type", cursor->where);
    }
    status = parse_string(cursor, text, sizeof text, "a type such as '<f4'");
    if (status != VQC_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof type_rows / sizeof *type_rows; i++) {
        const type_row *row = &type_rows[i];
        char order = text[0];
        bool order_fits = order == '<' || order == '>' || (order == '|' && row->item_bytes == 1);
        if (order_fits && text[1] == row->kind && text[2] == (char)('0' + row->item_bytes) &&
            text[3] == '\0') {
            header->dtype = row->dtype;
            header->item_bytes = row->item_bytes;
            header->big_endian = order == '>';
            return VQC_OK;
        }
    }
    return vqc_fail(
        cursor->error, VQC_ERR_MODEL,
        "%s: got element type '%s', expected bool, an integer of 8 to 64 bits, or a float "
        "of 16, 32 or 64 bits (|b1, |i1 ... <i8, |u1 ... <u8, <f2, <f4, <f8)",
        cursor->where, text);
}

static vqc_status parse_bool(text_cursor *cursor, bool *value)
{
    static const char *const words[2] = {"False", "True"};

    skip_space(cursor);
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(cursor->end - cursor->at) >= length &&
            memcmp(cursor->at, words[i], length) == 0) {
            cursor->at += length;
            *value = i == 1;
            return VQC_OK;
        }
    }
    return expected(cursor, "True or False");
}

static vqc_status parse_shape(text_cursor *cursor, vqc_npy_layout *header)
{
    if (!accept(cursor, '(')) {
        return expected(cursor, "a shape such as (2, 3)");
    }
    header->rank = 0;
    while (!accept(cursor, ')')) {
        int64_t dim = 0;
        if (cursor->at >= cursor->end || *cursor->at < '0' || *cursor->at > '9') {
            return expected(cursor, "a dimension >= 0");
        }
        if (header->rank == VQC_NPY_MAX_RANK) {
            return vqc_fail(cursor->error, VQC_ERR_MODEL,
                            "%s: shape has more than %d dimensions, expected at most that",
                            cursor->where, (int)VQC_NPY_MAX_RANK);
        }
        for (; cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++) {
            if (__builtin_mul_overflow(dim, 10, &dim) ||
                __builtin_add_overflow(dim, *cursor->at - '0', &dim)) {
                return vqc_fail(cursor->error, VQC_ERR_MODEL,
                                "%s: dimension %zu does not fit into 64 bits", cursor->where,
                                header->rank);
            }
        }
        header->dims[header->rank++] = dim;
        if (cursor->at < cursor->end && *cursor->at == 'L') {
            cursor->at++; /* Python 2 wrote long integers as 3L */
        }
        if (!accept(cursor, ',')) {
            if (!accept(cursor, ')')) {
                return expected(cursor, "',' or ')' in the shape");
            }
            if (header->rank == 1) {
                return vqc_fail(
                    cursor->error, VQC_ERR_MODEL,
                    "%s: .npy header: shape is a number in parentheses, expected a tuple",
                    cursor->where);
            }
            break;
        }
    }
    return VQC_OK;
}

static vqc_status parse_header(const char *text, size_t length, const char *where,
                               vqc_npy_layout *header, vqc_error *error)
{
    static const char *const keys[3] = {"descr", "fortran_order", "shape"};
    text_cursor cursor = {text, text + length, where, error};
    bool seen[3] = {false, false, false};

    if (!accept(&cursor, '{')) {
        return expected(&cursor, "'{'");
    }
    while (!accept(&cursor, '}')) {
        char key[16];
        int which = 0;
        vqc_status status = parse_string(&cursor, key, sizeof key, "a quoted key");
        if (status != VQC_OK) {
            return status;
        }
        while (which < 3 && strcmp(key, keys[which]) != 0) {
            which++;
        }
        if (which == 3 || seen[which]) {
            return vqc_fail(error, VQC_ERR_MODEL,
                            "%s: .npy header: got %s key \"%s\", expected descr, fortran_order and "
                            "shape, once each",
                            where, which == 3 ? "unknown" : "repeated", key);
        }
        seen[which] = true;
        if (!accept(&cursor, ':')) {
            return expected(&cursor, "':'");
        }
        status = which == 0   ? parse_descr(&cursor, header)
                 : which == 1 ? parse_bool(&cursor, &header->fortran_order)
                              : parse_shape(&cursor, header);
        if (status != VQC_OK) {
            return status;
        }
        if (!accept(&cursor, ',')) {
            if (!accept(&cursor, '}')) {
                return expected(&cursor, "',' or '}'");
            }
            break;
        }
    }
    skip_space(&cursor);
    if (cursor.at != cursor.end) {
        return expected(&cursor, "nothing after '}'");
    }
    for (int i = 0; i < 3; i++) {
        if (!seen[i]) {
            return vqc_fail(error, VQC_ERR_MODEL, "%s: .npy header: key \"%s\" is missing", where,
                            keys[i]);
        }
    }
    return VQC_OK;
}

/* ---- reading ---- */

/* Exactly size_bytes bytes, or VQC_ERR_MODEL naming what was cut short. */
static vqc_status read_exactly(const vqc_npy_source *source, void *dst, size_t size_bytes,
                               const char *what, const char *where, vqc_error *error)
{
    size_t got = 0;
    vqc_status status = source->read(source->context, dst, size_bytes, &got, error);

    if (status == VQC_OK && got != size_bytes) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: truncated in the %s: got %zu bytes, expected %zu", where, what, got,
                        size_bytes);
    }
    return status;
}

/* Reads and parses magic, version and header text; *consumed is their size. */
static vqc_status read_header(const vqc_npy_source *source, const char *where,
                              vqc_npy_layout *header, uint64_t *consumed, vqc_error *error)
{
    uint8_t prefix[PREFIX_BYTES + 2];
    size_t prefix_bytes = PREFIX_BYTES;
    size_t length;
    char *text = NULL;
    vqc_status status =
        read_exactly(source, prefix, PREFIX_BYTES, "start of the .npy header", where, error);

    if (status != VQC_OK) {
        return status;
    }
    if (memcmp(prefix, npy_magic, MAGIC_BYTES) != 0) {
        return vqc_fail(
            error, VQC_ERR_MODEL,
            "%s: not a .npy array: got first bytes %02x %02x %02x %02x %02x %02x, expected "
            "93 4e 55 4d 50 59",
            where, prefix[0], prefix[1], prefix[2], prefix[3], prefix[4], prefix[5]);
    }
    if (prefix[6] < 1 || prefix[6] > 3 || prefix[7] != 0) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got .npy format version %u.%u, expected 1.0, 2.0 or 3.0", where,
                        prefix[6], prefix[7]);
    }
    length = (size_t)prefix[8] | (size_t)prefix[9] << 8;
    if (prefix[6] >= 2) { /* 4 length bytes instead of 2 */
        status = read_exactly(source, prefix + PREFIX_BYTES, 2, "length of the .npy header", where,
                              error);
        if (status != VQC_OK) {
            return status;
        }
        length |= (size_t)prefix[10] << 16 | (size_t)prefix[11] << 24;
        prefix_bytes += 2;
    }
    if (length > VQC_NPY_MAX_HEADER_BYTES) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: .npy header claims %zu bytes of text, expected at most %d", where,
                        length, (int)VQC_NPY_MAX_HEADER_BYTES);
    }
    text = malloc(length + 1);
    if (text == NULL) {
        return vqc_fail_memory(error, length + 1);
    }
    status = read_exactly(source, text, length, ".npy header", where, error);
    if (status == VQC_OK) {
        status = parse_header(text, length, where, header, error);
    }
    *consumed = prefix_bytes + length;
    free(text);
    return status;
}

static void swap_bytes(uint8_t *data, size_t count, size_t item_bytes)
{
    for (size_t i = 0; i < count; i++, data += item_bytes) {
        for (size_t a = 0, b = item_bytes - 1; a < b; a++, b--) {
            uint8_t t = data[a];
            data[a] = data[b];
            data[b] = t;
        }
    }
}

/* dst (C order) = src (Fortran order: the first index runs fastest), both [count] items. */
static void reorder_fortran(uint8_t *dst, const uint8_t *src, const vqc_npy_layout *header,
                            size_t count)
{
    size_t item_bytes = header->item_bytes;
    size_t stride[VQC_NPY_MAX_RANK]; /* in src, in items */
    int64_t index[VQC_NPY_MAX_RANK] = {0};
    size_t at = 0;

    stride[0] = 1;
    for (size_t d = 1; d < header->rank; d++) {
        stride[d] = stride[d - 1] * (size_t)header->dims[d - 1];
    }
    for (size_t i = 0; i < count; i++, dst += item_bytes) {
        memcpy(dst, src + at * item_bytes, item_bytes);
        for (size_t d = header->rank; d-- > 0;) {
            at += stride[d];
            if (++index[d] < header->dims[d]) {
                break;
            }
            at -= stride[d] * (size_t)header->dims[d];
            index[d] = 0;
        }
    }
}

static void *allocate_data(size_t size_bytes)
{
    size_t padded;

    if (!vqc_size_add(size_bytes, VQC_NPY_DATA_ALIGNMENT, &padded)) {
        return NULL;
    }
    return aligned_alloc(VQC_NPY_DATA_ALIGNMENT, padded - padded % VQC_NPY_DATA_ALIGNMENT);
}

void vqc_npy_normalise(const vqc_npy_layout *layout, void *data, size_t count)
{
    if (layout->big_endian) {
        swap_bytes(data, count, layout->item_bytes);
    }
    if (layout->dtype == VQC_DTYPE_BOOL) {
        uint8_t *bytes = data;
        for (size_t i = 0; i < count; i++) {
            bytes[i] = bytes[i] != 0;
        }
    }
}

/* Bytes as stored -> little-endian, C order, bool 0 or 1. */
static vqc_status normalise(const vqc_npy_layout *header, vqc_array *array, vqc_error *error)
{
    size_t count = vqc_array_count(array);

    vqc_npy_normalise(header, array->data, count);
    if (header->fortran_order && header->rank > 1 && count > 1) {
        void *ordered = allocate_data(array->size_bytes);
        if (ordered == NULL) {
            return vqc_fail_memory(error, array->size_bytes);
        }
        reorder_fortran(ordered, array->data, header, count);
        free(array->data);
        array->data = ordered;
    }
    return VQC_OK;
}

vqc_status vqc_npy_read_layout(const vqc_npy_source *source, const char *where,
                               vqc_npy_layout *layout, vqc_error *error)
{
    uint64_t held;
    vqc_status status;

    *layout = (vqc_npy_layout){0};
    status = read_header(source, where, layout, &layout->header_bytes, error);
    if (status != VQC_OK) {
        return status;
    }
    if (!vqc_npy_array_bytes(layout->dtype, layout->dims, layout->rank, &layout->size_bytes)) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: the shape's product does not fit into 63 bits",
                        where);
    }
    held = source->claimed_bytes >= layout->header_bytes
               ? source->claimed_bytes - layout->header_bytes
               : 0;
    if (layout->size_bytes != held) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: got %" PRIu64 " bytes of data, expected %zu for its shape and type",
                        where, held, layout->size_bytes);
    }
    return VQC_OK;
}

vqc_status vqc_npy_decode(const vqc_npy_source *source, const char *where, uint64_t max_bytes,
                          vqc_array *out, vqc_error *error)
{
    vqc_npy_layout header;
    vqc_array array = {0};
    uint8_t beyond;
    size_t got = 0;
    vqc_status status;

    *out = (vqc_array){0};
    status = vqc_npy_read_layout(source, where, &header, error);
    if (status != VQC_OK) {
        return status;
    }
    array.dtype = header.dtype;
    array.rank = header.rank;
    array.size_bytes = header.size_bytes;
    if (array.size_bytes > max_bytes) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: %zu bytes of data go over the limit: at most %" PRIu64 " are left",
                        where, array.size_bytes, max_bytes);
    }
    array.data = allocate_data(array.size_bytes);
    if (array.data == NULL) {
        return vqc_fail_memory(error, array.size_bytes);
    }
    if (header.rank > 0) {
        array.dims = malloc(header.rank * sizeof *array.dims);
        if (array.dims == NULL) {
            status = vqc_fail_memory(error, header.rank * sizeof *array.dims);
            goto done;
        }
        memcpy(array.dims, header.dims, header.rank * sizeof *array.dims);
    }
    status = read_exactly(source, array.data, array.size_bytes, "data", where, error);
    if (status == VQC_OK) {
        status = source->read(source->context, &beyond, 1, &got, error);
    }
    if (status == VQC_OK && got != 0) {
        status = vqc_fail(error, VQC_ERR_MODEL,
                          "%s: data go on after the %zu bytes expected for shape and type", where,
                          array.size_bytes);
    }
    if (status == VQC_OK) {
        status = normalise(&header, &array, error);
    }
done:
    if (status == VQC_OK) {
        *out = array;
    } else {
        vqc_array_clear(&array);
    }
    return status;
}

typedef struct memory_source {
    const uint8_t *at;
    size_t left;
} memory_source;

static vqc_status read_from_memory(void *context, void *dst, size_t size_bytes, size_t *got,
                                   vqc_error *error)
{
    memory_source *memory = context;

    (void)error;
    *got = size_bytes < memory->left ? size_bytes : memory->left;
    if (*got > 0) {
        memcpy(dst, memory->at, *got);
        memory->at += *got;
        memory->left -= *got;
    }
    return VQC_OK;
}

vqc_status vqc_npy_read_memory(const void *bytes, size_t size_bytes, const char *where,
                               vqc_array *out, vqc_error *error)
{
    memory_source memory = {bytes, size_bytes};
    vqc_npy_source source = {&memory, read_from_memory, size_bytes};

    return vqc_npy_decode(&source, where, UINT64_MAX, out, error);
}

typedef struct file_source {
    int fd;
    const char *path;
} file_source;

static vqc_status read_from_file(void *context, void *dst, size_t size_bytes, size_t *got,
                                 vqc_error *error)
{
    file_source *file = context;

    *got = 0;
    while (*got < size_bytes) {
        ssize_t n = read(file->fd, (uint8_t *)dst + *got, size_bytes - *got);
        if (n < 0 && errno != EINTR) {
            return vqc_fail(error, VQC_ERR_IO, "%s: cannot read: %s", file->path, strerror(errno));
        }
        if (n == 0) {
            break;
        }
        *got += n > 0 ? (size_t)n : 0;
    }
    return VQC_OK;
}

vqc_status vqc_npy_read(const char *path, vqc_array *out, vqc_error *error)
{
    file_source file = {-1, path};
    vqc_npy_source source = {&file, read_from_file, 0};
    uint64_t size_bytes = 0;
    vqc_status status;

    *out = (vqc_array){0};
    status = vqc_npz_file_open_input(path, &file.fd, &size_bytes, error);
    if (status != VQC_OK) {
        return status;
    }
    source.claimed_bytes = size_bytes;
    status = vqc_npy_decode(&source, path, UINT64_MAX, out, error);
    (void)close(file.fd);
    return status;
}

/* ---- writing ---- */

vqc_status vqc_npy_encode_header(const vqc_array *array, uint8_t **header, size_t *header_bytes,
                                 vqc_error *error)
{
    const type_row *type = find_type(array->dtype);
    char shape[VQC_NPY_MAX_RANK * 22 + 4]; /* a 64-bit number has 20 digits at most */
    size_t used = 0;
    size_t product = 0;
    size_t padded;
    uint8_t *bytes;
    char text[sizeof shape + 80];
    int length;

    *header = NULL;
    *header_bytes = 0;
    if (type == NULL || array->rank > VQC_NPY_MAX_RANK ||
        (array->dims == NULL && array->rank > 0) ||
        !vqc_npy_array_bytes(array->dtype, array->dims, array->rank, &product) ||
        product != array->size_bytes || (array->data == NULL && product > 0)) {
        return vqc_fail(error, VQC_ERR_INTERNAL,
                        "array \"%s\": type %d, rank %zu and %zu bytes do not make a .npy array",
                        array->name == NULL ? "" : array->name, (int)array->dtype, array->rank,
                        array->size_bytes);
    }
    shape[0] = '\0';
    for (size_t i = 0; i < array->rank; i++) {
        const char *after = array->rank == 1 ? "," : i + 1 < array->rank ? ", " : "";
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%" PRId64 "%s", array->dims[i],
                                 after);
    }
    length =
        snprintf(text, sizeof text, "{'descr': '%c%c%u', 'fortran_order': False, 'shape': (%s), }",
                 type->item_bytes == 1 ? '|' : '<', type->kind, type->item_bytes, shape);
    /* one byte more for the line feed that ends the header */
    padded = PREFIX_BYTES + (size_t)length + 1;
    padded = (padded + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT;
    bytes = malloc(padded);
    if (bytes == NULL) {
        return vqc_fail_memory(error, padded);
    }
    memset(bytes, ' ', padded);
    memcpy(bytes, npy_magic, MAGIC_BYTES);
    bytes[6] = 1;
    bytes[7] = 0;
    bytes[8] = (uint8_t)((padded - PREFIX_BYTES) & 0xff);
    bytes[9] = (uint8_t)((padded - PREFIX_BYTES) >> 8);
    memcpy(bytes + PREFIX_BYTES, text, (size_t)length);
    bytes[padded - 1] = '\n';
    *header = bytes;
    *header_bytes = padded;
    return VQC_OK;
}

vqc_status vqc_npy_write(const char *path, const vqc_array *array, vqc_error *error)
{
    vqc_npz_file *file = NULL;
    uint8_t *header = NULL;
    size_t header_bytes = 0;
    vqc_status status = vqc_npy_encode_header(array, &header, &header_bytes, error);

    if (status == VQC_OK) {
        status = vqc_npz_file_create(path, &file, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, header, header_bytes, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_write(file, array->data, array->size_bytes, error);
    }
    if (status == VQC_OK) {
        status = vqc_npz_file_commit(file, error);
    }
    vqc_npz_file_destroy(&file);
    free(header);
    return status;
}
