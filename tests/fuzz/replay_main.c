/*
 * Replays committed inputs through a fuzz target without libFuzzer: replay FILE...
 *
 * Each file runs in a process of its own with a time limit, so that one crash or hang is one
 * failure. Prints "N passed, N failed" at the end; exit code 1 when one failed or none was there.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TIME_LIMIT_S = 20 };

/* Reads a whole file into a block of exactly its size, so that a sanitizer sees each byte past it.
 */
static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long length;
    if (file == NULL)
        return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) >= 0 &&
        fseek(file, 0, SEEK_SET) == 0 && (data = malloc(length > 0 ? (size_t)length : 1)) != NULL) {
        *size = (size_t)length;
        if (fread(data, 1, *size, file) != *size) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

/* The child's whole life; the deliberate failure is a crash of the kind that is looked for. */
static void run_one(const char *path)
{
    size_t size = 0;
    alarm(TIME_LIMIT_S);
    if (path == NULL)
        abort();
    uint8_t *data = read_file(path, &size);
    if (data == NULL)
        exit(2);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    exit(0);
}

/* Whether the input at `path` (NULL: the deliberate failure) went through. */
static int replay(const char *path)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        run_one(path);
    if (child < 0 || waitpid(child, &status, 0) != child) {
        printf("FAIL %s: cannot start a process\n", path);
        return 0;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 1;
    const char *what = path != NULL ? path : "a deliberate failure";
    if (WIFSIGNALED(status))
        printf("FAIL %s: signal %d (%s)\n", what, WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        printf("FAIL %s: exit code %d\n", what, WEXITSTATUS(status));
    return 0;
}

int main(int argc, char **argv)
{
    int passed = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        if (replay(argv[i]))
            passed++;
        else
            failed++;
    }
    if (getenv("VQC_DELIBERATE_FAILURE") != NULL && !replay(NULL))
        failed++;
    if (passed + failed == 0) {
        printf("FAIL no input was given\n");
        failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
