/*
 * Preloaded under vqc to make its n-th allocation fail (n = $VQC_FAIL_AT, counted from 1 over
 * malloc, calloc, realloc, aligned_alloc, posix_memalign, memalign and mmap). With $VQC_FAIL_FROM=1
 * every later one fails too. The file $VQC_FAIL_MARK is made when a call was failed, so that the
 * runner knows where to stop. Links straight to glibc's own names: dlsym() would allocate.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);

static atomic_long calls;
static long fail_at = -1;
static long fail_from;

__attribute__((constructor)) static void read_settings(void)
{
    const char *at = getenv("VQC_FAIL_AT");
    const char *from = getenv("VQC_FAIL_FROM");
    fail_from = from != NULL && from[0] == '1';
    atomic_store(&calls, 0);
    fail_at = at != NULL ? atol(at) : 0;
}

/* Whether this call is to fail; leaves the mark and errno when it is. */
static int must_fail(void)
{
    if (fail_at <= 0)
        return 0;
    long call = atomic_fetch_add(&calls, 1) + 1;
    if (call != fail_at && !(fail_from && call > fail_at))
        return 0;
    const char *mark = getenv("VQC_FAIL_MARK");
    if (mark != NULL) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, mark, O_WRONLY | O_CREAT, 0600);
        if (fd >= 0)
            syscall(SYS_close, fd);
    }
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return must_fail() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return must_fail() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return must_fail() ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
    return must_fail() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return must_fail() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (must_fail())
        return ENOMEM;
    void *block = __libc_memalign(alignment, size);
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (must_fail())
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
