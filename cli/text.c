#include "cli/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/number_text.h"
#include "core/vqc.h"
#include "formats/onnx_file.h"

void vqc_cli_out_of_memory(void)
{
    vqc_onnx_cleanup();
    fputs("vqc: out of memory\n", stderr);
    exit(VQC_ERR_INTERNAL);
}

void *vqc_cli_check(void *pointer)
{
    if (pointer == NULL)
        vqc_cli_out_of_memory();
    return pointer;
}

vqc_arena *vqc_cli_arena(void)
{
    return vqc_cli_check(vqc_arena_create());
}

char *vqc_text_printf(vqc_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        vqc_cli_out_of_memory();
    size_t size = (size_t)length + 1;
    char *text = vqc_cli_check(vqc_arena_alloc(arena, size));
    vsnprintf(text, size, format, again);
    va_end(again);
    return text;
}

/* Reads one UTF-8 character (RFC 3629: no overlong forms, no surrogates) from NUL-terminated text.
 * Returns its length in bytes, or 0 when the first byte does not start a valid one. */
static size_t decode_utf8(const char *text, uint32_t *code)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *code = s[0];
        return s[0] != 0 ? 1 : 0;
    }
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    uint32_t value = s[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) /* also stops at the NUL */
            return 0;
        value = value << 6 | (s[i] & 0x3fu);
    }
    if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *code = value;
    return length;
}

/* Characters that move the cursor, change the text direction or cannot be seen. */
static bool is_unsafe(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0xad || code == 0x61c ||
           (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
           (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe0fff);
}

char *vqc_text_clean(vqc_arena *arena, const char *text)
{
    if (text == NULL)
        text = "";
    enum { LONGEST = 10 }; /* \u{10ffff}, per character of at least one byte */
    size_t size;
    if (!vqc_size_mul(strlen(text), LONGEST, &size) || !vqc_size_add(size, 1, &size))
        vqc_cli_out_of_memory();
    bool plain = true;
    for (const char *s = text; *s != '\0' && plain; s++)
        plain = *s >= 0x20 && *s < 0x7f;
    if (plain)
        return vqc_cli_check(vqc_arena_strdup(arena, text));
    char *clean = vqc_cli_check(vqc_arena_alloc(arena, size));
    size_t at = 0;
    while (*text != '\0') {
        uint32_t code = 0;
        size_t length = decode_utf8(text, &code);
        char *to = clean + at;
        if (length == 0)
            at += (size_t)snprintf(to, size - at, "\\x%02x", (unsigned)(unsigned char)*text);
        else if (code == '\n')
            at += (size_t)snprintf(to, size - at, "\\n");
        else if (code == '\t')
            at += (size_t)snprintf(to, size - at, "\\t");
        else if (code == '\r')
            at += (size_t)snprintf(to, size - at, "\\r");
        else if (is_unsafe(code) && code < 0x80)
            at += (size_t)snprintf(to, size - at, "\\x%02" PRIx32, code);
        else if (is_unsafe(code))
            at += (size_t)snprintf(to, size - at, "\\u{%" PRIx32 "}", code);
        else
            for (size_t i = 0; i < length; i++)
                clean[at++] = text[i];
        text += length == 0 ? 1 : length;
    }
    clean[at] = '\0';
    return clean;
}

/* Columns of one character: 0, 1 or 2. The blocks of Unicode 15 that matter: combining marks, and
 * East Asian Width W and F with emoji. */
static size_t char_width(uint32_t code)
{
    static const struct {
        uint32_t first, last;
        uint8_t width;
    } ranges[] = {
        {0x300, 0x36f, 0},     {0x483, 0x489, 0},     {0x591, 0x5bd, 0},     {0x610, 0x61a, 0},
        {0x64b, 0x65f, 0},     {0x1100, 0x115f, 2},   {0x1ab0, 0x1aff, 0},   {0x1dc0, 0x1dff, 0},
        {0x20d0, 0x20ff, 0},   {0x2e80, 0x303e, 2},   {0x3041, 0x33ff, 2},   {0x3400, 0x4dbf, 2},
        {0x4e00, 0x9fff, 2},   {0xa000, 0xa4cf, 2},   {0xac00, 0xd7a3, 2},   {0xf900, 0xfaff, 2},
        {0xfe00, 0xfe0f, 0},   {0xfe20, 0xfe2f, 0},   {0xfe30, 0xfe6f, 2},   {0xff00, 0xff60, 2},
        {0xffe0, 0xffe6, 2},   {0x1f300, 0x1f64f, 2}, {0x1f680, 0x1f6ff, 2}, {0x1f900, 0x1f9ff, 2},
        {0x20000, 0x3fffd, 2},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && code >= ranges[i].first; i++)
        if (code <= ranges[i].last)
            return ranges[i].width;
    return 1;
}

size_t vqc_text_width(const char *text)
{
    size_t width = 0;
    while (*text != '\0') {
        uint32_t code = 0;
        size_t length = decode_utf8(text, &code);
        width += length == 0 ? 1 : char_width(code);
        text += length == 0 ? 1 : length;
    }
    return width;
}

/* Bytes at the start of `text` that fill at most `width` columns, whole characters with their
 * combining marks. */
static size_t prefix_bytes(const char *text, size_t width)
{
    size_t used = 0;
    size_t at = 0;
    while (text[at] != '\0') {
        uint32_t code = 0;
        size_t length = decode_utf8(text + at, &code);
        size_t columns = length == 0 ? 1 : char_width(code);
        if (used + columns > width)
            break;
        used += columns;
        at += length == 0 ? 1 : length;
    }
    return at;
}

char *vqc_text_cut(vqc_arena *arena, const char *text, size_t width, size_t head_quarters)
{
    size_t full = vqc_text_width(text);
    if (full <= width)
        return vqc_cli_check(vqc_arena_strdup(arena, text));
    size_t room = width - 3;
    size_t head = prefix_bytes(text, room * head_quarters / 4);
    size_t tail_width = room - vqc_text_width(vqc_text_printf(arena, "%.*s", (int)head, text));
    size_t skip = full - tail_width;
    size_t tail = prefix_bytes(text, skip);
    while (vqc_text_width(text + tail) > tail_width) { /* a wide character lay across the cut */
        uint32_t code = 0;
        size_t length = decode_utf8(text + tail, &code);
        tail += length == 0 ? 1 : length;
    }
    return vqc_text_printf(arena, "%.*s...%s", (int)head, text, text + tail);
}

char *vqc_text_fit(vqc_arena *arena, const char *text, size_t width)
{
    return vqc_text_cut(arena, text, width, 2);
}

char *vqc_text_count(vqc_arena *arena, uint64_t value)
{
    return vqc_cli_check(vqc_arena_strdup(arena, vqc_number(value).text));
}

char *vqc_text_size(vqc_arena *arena, uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    char *count = vqc_text_count(arena, bytes);
    if (bytes < 1000)
        return vqc_text_printf(arena, "%s byte%s", count, bytes == 1 ? "" : "s");
    double value = (double)bytes / 1000;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return vqc_text_printf(arena, "%s bytes (%.*f %s)", count, decimals, value, units[unit]);
}

char *vqc_text_percent(vqc_arena *arena, uint64_t part, uint64_t whole)
{
    if (whole == 0)
        return vqc_text_printf(arena, "-");
    return vqc_text_printf(arena, "%.1f%%", 100.0 * (double)part / (double)whole);
}

char *vqc_text_db(vqc_arena *arena, double db)
{
    if (isnan(db))
        return vqc_text_printf(arena, "-");
    if (isinf(db))
        return vqc_text_printf(arena, db > 0 ? "exact" : "-inf");
    return vqc_text_printf(arena, "%.1f", db);
}

char *vqc_text_real(vqc_arena *arena, double value)
{
    if (isnan(value))
        return vqc_text_printf(arena, "-");
    return vqc_text_printf(arena, "%.3g", value);
}

char *vqc_text_bits(vqc_arena *arena, double bits)
{
    if (!isfinite(bits))
        return vqc_text_printf(arena, "-");
    return vqc_text_printf(arena, "%.2f", bits);
}

char *vqc_text_time(vqc_arena *arena, uint64_t time_ns)
{
    double seconds = (double)time_ns / 1e9;
    if (time_ns < 100000000)
        return vqc_text_printf(arena, "%.*f ms", seconds < 0.00995 ? 1 : 0, seconds * 1e3);
    if (seconds < 60)
        return vqc_text_printf(arena, "%.2f s", seconds);
    uint64_t whole = time_ns / 1000000000;
    return vqc_text_printf(arena, "%" PRIu64 " min %02" PRIu64 " s", whole / 60, whole % 60);
}

char *vqc_text_shape(vqc_arena *arena, const int64_t *dims, size_t rank)
{
    if (rank == 0)
        return vqc_text_printf(arena, "scalar");
    char *text = vqc_text_printf(arena, "%" PRId64, dims[0]);
    for (size_t i = 1; i < rank; i++)
        text = vqc_text_printf(arena, "%sx%" PRId64, text, dims[i]);
    return text;
}

char *vqc_text_json(vqc_arena *arena, const char *text)
{
    enum { LONGEST = 6 }; /* \u001f */
    size_t size;
    if (!vqc_size_mul(strlen(text), LONGEST, &size) || !vqc_size_add(size, 3, &size))
        vqc_cli_out_of_memory();
    char *json = vqc_cli_check(vqc_arena_alloc(arena, size));
    size_t at = 0;
    json[at++] = '"';
    while (*text != '\0') {
        uint32_t code = 0;
        size_t length = decode_utf8(text, &code);
        if (length == 0) {
            memcpy(json + at, "\xef\xbf\xbd", 3);
            at += 3;
        } else if (code < 0x20 || code == 0x7f) {
            at += (size_t)snprintf(json + at, size - at, "\\u%04" PRIx32, code);
        } else {
            if (code == '"' || code == '\\')
                json[at++] = '\\';
            memcpy(json + at, text, length);
            at += length;
        }
        text += length == 0 ? 1 : length;
    }
    json[at++] = '"';
    json[at] = '\0';
    return json;
}

enum { NEAREST_MAX = 48 }; /* longer words are no typing errors of ours */

/* Optimal string alignment distance of two words of at most NEAREST_MAX bytes. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][NEAREST_MAX + 1];
    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i + 2) % 3];
        const size_t *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[a_length % 3][b_length];
}

const char *vqc_text_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strlen(word);
    if (length == 0 || length > NEAREST_MAX)
        return NULL;
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (candidates[i] == NULL || strlen(candidates[i]) > NEAREST_MAX)
            continue;
        size_t distance = edit_distance(word, length, candidates[i], strlen(candidates[i]));
        size_t allowed = strlen(candidates[i]) / 3;
        if (allowed < 1)
            allowed = 1;
        if (distance <= allowed && distance < length && distance < best_distance) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    for (size_t i = 0; i < count && best == NULL && length >= 2; i++)
        if (candidates[i] != NULL && strncmp(word, candidates[i], length) == 0)
            best = candidates[i];
    return best;
}
