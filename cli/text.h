/* Text for people: safe names, numbers in one style, the nearest word. Everything is allocated from
 * the arena that is passed in; when memory runs out these functions end the program with exit
 * code 1. */
#ifndef VQC_CLI_TEXT_H
#define VQC_CLI_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"

/* Prints "vqc: out of memory", removes temporary files and exits with code 1. */
_Noreturn void vqc_cli_out_of_memory(void);

/* `pointer` itself, or the end of the program when it is NULL. */
void *vqc_cli_check(void *pointer);

/* A new arena; never NULL. */
vqc_arena *vqc_cli_arena(void);

/* Formatted copy; never NULL. */
char *vqc_text_printf(vqc_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Copy of `text` (NULL counts as "") that is safe on a terminal: control characters, invisible and
 * direction changing Unicode characters become \n, \x1b or \u{202e}; bytes that are not UTF-8
 * become \xNN. */
char *vqc_text_clean(vqc_arena *arena, const char *text);

/* Terminal columns that a cleaned text takes: wide East Asian characters count 2, combining ones 0.
 */
size_t vqc_text_width(const char *text);

/* The cleaned `text`, or its start and end around "..." when it is wider than `width` columns (>=
 * 5). `head_quarters`: how much of the room the start gets, 0..4 quarters. */
char *vqc_text_cut(vqc_arena *arena, const char *text, size_t width, size_t head_quarters);

/* The same with as much of the start as of the end. */
char *vqc_text_fit(vqc_arena *arena, const char *text, size_t width);

/* 1724512 -> "1,724,512" */
char *vqc_text_count(vqc_arena *arena, uint64_t value);

/* 1724512 -> "1,724,512 bytes (1.72 MB)"; below 1000: "512 bytes". 1 MB is 1,000,000 bytes. */
char *vqc_text_size(vqc_arena *arena, uint64_t bytes);

/* Share of a whole: 25.3%; "-" when whole is 0. */
char *vqc_text_percent(vqc_arena *arena, uint64_t part, uint64_t whole);

/* One decimal; "exact" for +infinity, "-" for NaN. */
char *vqc_text_db(vqc_arena *arena, double db);

/* Three significant digits: 0.00123, 1.2e-07; "-" for NaN. */
char *vqc_text_real(vqc_arena *arena, double value);

/* Two decimals: bits per weight; "-" when not finite. */
char *vqc_text_bits(vqc_arena *arena, double bits);

/* "8 ms", "1.24 s", "2 min 05 s" */
char *vqc_text_time(vqc_arena *arena, uint64_t time_ns);

/* dims [rank] -> "6x1x5x5"; "scalar" for rank 0. */
char *vqc_text_shape(vqc_arena *arena, const int64_t *dims, size_t rank);

/* `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
char *vqc_text_json(vqc_arena *arena, const char *text);

/* The candidate ([count], NULL entries are skipped) that `word` most probably means, or NULL when
 * none is close: at most one third of the letters wrong (insert, delete, replace or swap two), or
 * `word` is its beginning. */
const char *vqc_text_nearest(const char *word, const char *const *candidates, size_t count);

#endif
