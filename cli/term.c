#include "cli/term.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/text.h"
#include "formats/onnx_file.h"

enum { WIDTH_MIN = 40, WIDTH_MAX = 400, WIDTH_PIPE = 100 };

static bool is_dumb(void)
{
    const char *term = getenv("TERM");
    return term != NULL && strcmp(term, "dumb") == 0;
}

/* Columns of the terminal behind `fd`, or `fallback`. */
static size_t columns_of(int fd, size_t fallback)
{
    size_t width = fallback;
    const char *text = getenv("COLUMNS");
    char *end = NULL;
    long columns = text != NULL ? strtol(text, &end, 10) : 0;
    struct winsize size;
    if (columns > 0 && *end == '\0')
        width = columns > WIDTH_MAX ? WIDTH_MAX : (size_t)columns;
    else if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    return width < WIDTH_MIN ? WIDTH_MIN : width > WIDTH_MAX ? WIDTH_MAX : width;
}

vqc_term vqc_term_stdout(void)
{
    const char *no_color = getenv("NO_COLOR"); /* no-color.org: any value that is not empty */
    bool wanted = (no_color == NULL || *no_color == '\0') && !is_dumb();
    vqc_term term = {
        .width = columns_of(STDOUT_FILENO, WIDTH_PIPE),
        .colour = wanted && isatty(STDOUT_FILENO) != 0,
    };
    return term;
}

const char *vqc_term_begin(const vqc_term *term, vqc_style style)
{
    static const char *const codes[] = {"", "\033[1m", "\033[2m", "\033[31m"};
    return term->colour ? codes[style] : "";
}

const char *vqc_term_end(const vqc_term *term, vqc_style style)
{
    return term->colour && style != VQC_STYLE_NONE ? "\033[0m" : "";
}

void vqc_cli_error(const char *format, ...)
{
    char message[4096];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (length < 0)
        return;
    vqc_arena *arena = vqc_cli_arena();
    fprintf(stderr, "vqc: %s\n", vqc_text_clean(arena, message));
    vqc_arena_destroy(&arena);
}

void vqc_cli_guard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) != -1 || errno != EBADF)
            continue;
        /* Read-only also for the outputs: what is printed there must fail, not vanish. */
        int opened = open("/dev/null", O_RDONLY);
        if (opened >= 0 && opened != fd)
            close(opened);
    }
}

static volatile sig_atomic_t progress_shown;

static void on_signal(int number)
{
    vqc_onnx_cleanup();
    if (progress_shown) {
        ssize_t ignored = write(STDERR_FILENO, "\r\033[K", 4); /* nothing to do about a failure */
        (void)ignored;
    }
    raise(number); /* SA_RESETHAND has put the default action back: the shell sees the signal */
}

void vqc_cli_guard_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue; /* nohup, or a background job */
        struct sigaction action = {.sa_handler = on_signal};
        action.sa_flags = (int)(SA_RESETHAND | SA_NODEFER);
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], &action, NULL);
    }
}

uint64_t vqc_cli_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void vqc_progress_start(vqc_progress *progress, const char *label, bool quiet)
{
    *progress = (vqc_progress){
        .enabled = !quiet && isatty(STDERR_FILENO) != 0 && !is_dumb(),
        .label = label,
        .start_ns = vqc_cli_now_ns(),
    };
}

void vqc_progress_update(void *context, const char *stage, size_t done, size_t total)
{
    enum { SHOW_AFTER_NS = 500000000, SHOW_EVERY_NS = 1000000000 / 6 };
    vqc_progress *progress = context;
    if (!progress->enabled)
        return;
    uint64_t now = vqc_cli_now_ns();
    if (now - progress->start_ns < SHOW_AFTER_NS ||
        (progress->shown_ns != 0 && now - progress->shown_ns < SHOW_EVERY_NS))
        return;
    progress->shown_ns = now;
    vqc_arena *arena = vqc_cli_arena();
    size_t width = columns_of(STDERR_FILENO, 80) - 1; /* the last column would wrap */
    char *state = total > 0 ? vqc_text_printf(arena, "%s %zu/%zu", stage, done, total)
                            : vqc_text_printf(arena, "%s", stage);
    char *line = vqc_text_printf(arena, "%s: %s", progress->label, vqc_text_clean(arena, state));
    progress_shown = 1;
    fprintf(stderr, "\r\033[K%s", vqc_text_fit(arena, line, width));
    fflush(stderr);
    vqc_arena_destroy(&arena);
}

void vqc_progress_finish(vqc_progress *progress)
{
    if (progress->shown_ns == 0)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->shown_ns = 0;
    progress_shown = 0;
}
