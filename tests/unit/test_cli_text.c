/* Names, numbers, tables and progress as the command line prints them. The cli sources are no part
 * of the library, so they are included here. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/show_report.c"
#include "cli/table.c"
#include "cli/term.c"
#include "cli/text.c"

static vqc_arena *arena;

static void setup(void)
{
    arena = vqc_cli_arena();
}

static void teardown(void)
{
    vqc_arena_destroy(&arena);
}

TestSuite(cli_text, .init = setup, .fini = teardown);

static void expect_clean(const char *text, const char *expected)
{
    cr_expect_str_eq(vqc_text_clean(arena, text), expected);
}

Test(cli_text, clean_keeps_what_is_harmless)
{
    expect_clean(NULL, "");
    expect_clean("", "");
    expect_clean("encoder/layer.0/weight:0", "encoder/layer.0/weight:0");
    expect_clean("Gewicht \xc3\xa4 \xe6\xbc\xa2 \xf0\x9f\x98\x80",
                 "Gewicht \xc3\xa4 \xe6\xbc\xa2 \xf0\x9f\x98\x80");
}

Test(cli_text, clean_escapes_what_moves_or_hides)
{
    expect_clean("a\nb\tc\rd", "a\\nb\\tc\\rd");
    expect_clean("\033[31mred\033[0m", "\\x1b[31mred\\x1b[0m");
    expect_clean("\x7f\x01", "\\x7f\\x01");
    expect_clean("\xc2\x9b"
                 "2J",
                 "\\u{9b}2J"); /* C1 control sequence introducer */
    expect_clean("\xe2\x80\xae"
                 "gnp",
                 "\\u{202e}gnp");              /* right-to-left override */
    expect_clean("\xe2\x80\x8b", "\\u{200b}"); /* zero width space */
}

Test(cli_text, clean_escapes_bytes_that_are_no_utf8)
{
    expect_clean("\xff", "\\xff");
    expect_clean("a\xc3", "a\\xc3");                          /* cut off */
    expect_clean("\xc0\xaf", "\\xc0\\xaf");                   /* overlong */
    expect_clean("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* surrogate */
    expect_clean("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
    expect_clean("\xe2\x82(", "\\xe2\\x82(");
}

Test(cli_text, fit_cuts_in_the_middle)
{
    cr_expect_str_eq(vqc_text_fit(arena, "short", 5), "short");
    cr_expect_str_eq(vqc_text_fit(arena, "0123456789", 9), "012...789");
    cr_expect_str_eq(vqc_text_fit(arena, "0123456789", 8), "01...789");
    cr_expect_str_eq(vqc_text_fit(arena, "0123456789", 5), "0...9");
}

Test(cli_text, cut_gives_the_start_its_share)
{
    cr_expect_str_eq(vqc_text_cut(arena, "0123456789", 7, 0), "...6789");
    cr_expect_str_eq(vqc_text_cut(arena, "0123456789", 7, 1), "0...789");
    cr_expect_str_eq(vqc_text_cut(arena, "0123456789", 7, 4), "0123...");
    cr_expect_str_eq(vqc_text_cut(arena, "0123456", 7, 4), "0123456");
}

/* Random text of narrow, wide, combining and 4-byte characters never gets wider than asked, and
 * stays UTF-8. */
Test(cli_text, fit_keeps_to_the_width)
{
    static const char *const pieces[] = {"a", "\xc3\xa4", "\xe6\xbc\xa2", "\xcc\x81",
                                         "\xf0\x9f\x98\x80"};
    uint32_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        char text[256] = "";
        size_t length = (size_t)round % 40;
        for (size_t i = 0; i < length; i++) {
            seed = seed * 1664525u + 1013904223u;
            strcat(text, pieces[(seed >> 16) % 5]);
        }
        size_t width = 5 + (size_t)round % 17;
        const char *fitted = vqc_text_cut(arena, text, width, (size_t)round % 5);
        cr_assert_leq(vqc_text_width(fitted), width, "%s", text);
        cr_assert_str_eq(vqc_text_clean(arena, fitted), fitted);
        if (vqc_text_width(text) > width)
            cr_assert_geq(vqc_text_width(fitted) + 2, width, "%s", fitted);
    }
}

Test(cli_text, numbers)
{
    cr_expect_str_eq(vqc_text_count(arena, 0), "0");
    cr_expect_str_eq(vqc_text_count(arena, 999), "999");
    cr_expect_str_eq(vqc_text_count(arena, 1000), "1,000");
    cr_expect_str_eq(vqc_text_count(arena, UINT64_MAX), "18,446,744,073,709,551,615");
    cr_expect_str_eq(vqc_text_size(arena, 1), "1 byte");
    cr_expect_str_eq(vqc_text_size(arena, 999), "999 bytes");
    cr_expect_str_eq(vqc_text_size(arena, 1000), "1,000 bytes (1.00 kB)");
    cr_expect_str_eq(vqc_text_size(arena, 1724512), "1,724,512 bytes (1.72 MB)");
    cr_expect_str_eq(vqc_text_size(arena, 999999), "999,999 bytes (1.00 MB)");
    cr_expect_str_eq(vqc_text_size(arena, 99949999), "99,949,999 bytes (99.9 MB)");
    cr_expect_str_eq(vqc_text_percent(arena, 1, 4), "25.0%");
    cr_expect_str_eq(vqc_text_percent(arena, 1, 0), "-");
    cr_expect_str_eq(vqc_text_db(arena, (double)INFINITY), "exact");
    cr_expect_str_eq(vqc_text_db(arena, (double)NAN), "-");
    cr_expect_str_eq(vqc_text_db(arena, 41.25), "41.2");
    cr_expect_str_eq(vqc_text_time(arena, 1500000), "1.5 ms");
    cr_expect_str_eq(vqc_text_time(arena, 15000000), "15 ms");
    cr_expect_str_eq(vqc_text_time(arena, 1240000000), "1.24 s");
    cr_expect_str_eq(vqc_text_time(arena, 125000000000), "2 min 05 s");
    const int64_t dims[] = {6, 1, 5, 5};
    cr_expect_str_eq(vqc_text_shape(arena, dims, 4), "6x1x5x5");
    cr_expect_str_eq(vqc_text_shape(arena, NULL, 0), "scalar");
}

Test(cli_text, json)
{
    cr_expect_str_eq(vqc_text_json(arena, "a\"\\\n\xff"), "\"a\\\"\\\\\\u000a\xef\xbf\xbd\"");
}

Test(cli_text, nearest)
{
    static const char *const words[] = {"compress", "report", "bench", "help"};
    cr_expect_str_eq(vqc_text_nearest("comprss", words, 4), "compress");
    cr_expect_str_eq(vqc_text_nearest("ocmpress", words, 4), "compress");
    cr_expect_str_eq(vqc_text_nearest("com", words, 4), "compress");
    cr_expect_str_eq(vqc_text_nearest("hepl", words, 4), "help");
    cr_expect_null(vqc_text_nearest("frobnicate", words, 4));
    cr_expect_null(vqc_text_nearest("", words, 4));
    cr_expect_null(vqc_text_nearest("x", words, 4));
}

/* Prints a table of one long name and two numbers at a width. */
static char *print_table(size_t width)
{
    static const vqc_column columns[] = {{"name", false, 12, 0},
                                         {"extra", false, 0, 1},
                                         {"empty", false, 0, 0},
                                         {"bytes", true, 0, 0}};
    vqc_table *table = vqc_table_create(arena, columns, 4);
    const char *first[] = {"a_rather_long_tensor_name", "some", "", "1,000"};
    const char *last[] = {"total", NULL, NULL, "21,000"};
    vqc_table_add(table, VQC_STYLE_NONE, first);
    vqc_table_add_line(table);
    vqc_table_add(table, VQC_STYLE_BOLD, last);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    vqc_term term = {.width = width, .colour = false};
    vqc_table_print(table, stream, &term);
    fclose(stream);
    char *copy = vqc_cli_check(vqc_arena_strdup(arena, text));
    free(text);
    return copy;
}

Test(cli_text, table_takes_the_room_it_needs)
{
    cr_expect_str_eq(print_table(80), "  name                       extra   bytes\n"
                                      "  a_rather_long_tensor_name  some    1,000\n"
                                      "  ----------------------------------------\n"
                                      "  total                             21,000\n");
}

Test(cli_text, table_cuts_where_names_differ)
{
    static const vqc_column columns[] = {{"name", false, 12, 0}};
    vqc_table *table = vqc_table_create(arena, columns, 1);
    static const char *const names[] = {"model/layer_1/attention/kernel/read:0",
                                        "model/layer_2/attention/kernel/read:0"};
    for (size_t i = 0; i < 2; i++)
        vqc_table_add(table, VQC_STYLE_NONE, &names[i]);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    vqc_term term = {.width = 24, .colour = false};
    vqc_table_print(table, stream, &term);
    fclose(stream);
    cr_expect_str_eq(text, "  name\n"
                           "  model/layer_1/...ead:0\n"
                           "  model/layer_2/...ead:0\n");
    free(text);
}

Test(cli_text, table_cuts_names_then_drops_columns)
{
    cr_expect_str_eq(print_table(30), "  name           extra   bytes\n"
                                      "  a_rat..._name  some    1,000\n"
                                      "  ----------------------------\n"
                                      "  total                 21,000\n");
    cr_expect_str_eq(print_table(24), "  name             bytes\n"
                                      "  a_rat...r_name   1,000\n"
                                      "  ----------------------\n"
                                      "  total           21,000\n");
}

/* Puts a new terminal behind stderr and returns its other side. Criterion runs each test in its own
 * process. */
static int terminal_as_stderr(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    cr_assert_geq(master, 0);
    cr_assert_eq(grantpt(master), 0);
    cr_assert_eq(unlockpt(master), 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert_geq(slave, 0);
    cr_assert_eq(dup2(slave, STDERR_FILENO), STDERR_FILENO);
    return master;
}

/* Calls back every 5 ms for `milliseconds` and finishes; returns what the terminal got. */
static char *run_progress(int master, bool quiet, int milliseconds)
{
    static char shown[65536];
    vqc_progress progress;
    vqc_progress_start(&progress, "model.onnx", quiet);
    uint64_t end = progress.start_ns + (uint64_t)milliseconds * 1000000;
    for (size_t i = 0; vqc_cli_now_ns() < end; i++) {
        vqc_progress_update(&progress, "encode", i, 1000);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    vqc_progress_finish(&progress);
    nanosleep(&(struct timespec){0, 50000000}, NULL); /* the terminal passes it on by and by */
    size_t size = 0;
    ssize_t got;
    while ((got = read(master, shown + size, sizeof shown - 1 - size)) > 0)
        size += (size_t)got;
    shown[size] = '\0';
    return shown;
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

Test(cli_text, progress_on_a_terminal, .timeout = 20)
{
    setenv("TERM", "xterm", 1);
    int master = terminal_as_stderr();
    cr_expect_str_empty(run_progress(master, false, 300), "too early");
    const char *shown = run_progress(master, false, 1600);
    size_t updates = count_of(shown, "model.onnx: encode ");
    cr_expect_geq(updates, 2, "%zu updates", updates); /* a busy machine may miss some */
    cr_expect_leq(updates, 7, "%zu updates in 1.1 s", updates);
    cr_expect_str_eq(shown + strlen(shown) - 4, "\r\033[K", "the line is wiped at the end");
}

Test(cli_text, progress_stays_silent, .timeout = 20)
{
    setenv("TERM", "xterm", 1);
    int master = terminal_as_stderr();
    cr_expect_str_empty(run_progress(master, true, 800), "quiet");
    setenv("TERM", "dumb", 1);
    cr_expect_str_empty(run_progress(master, false, 800), "no terminal to speak of");
    int pipe_ends[2];
    cr_assert_eq(pipe(pipe_ends), 0);
    setenv("TERM", "xterm", 1);
    cr_assert_eq(fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK), 0);
    dup2(pipe_ends[1], STDERR_FILENO);
    cr_expect_str_empty(run_progress(pipe_ends[0], false, 800), "a pipe");
}
