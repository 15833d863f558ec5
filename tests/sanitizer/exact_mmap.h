/* Included in front of the sanitized core: each mapping is an allocation of exactly its size. AddressSanitizer then
 * sees the first byte beyond it, which else would lie in the rest of the last page. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct exact_mapping {
    struct exact_mapping *next;
    void *at;
};

static struct exact_mapping *exact_mappings;
static pthread_mutex_t exact_lock = PTHREAD_MUTEX_INITIALIZER;

static void *exact_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    size_t used = 0;
    ssize_t got = 1;
    struct exact_mapping *mapping = malloc(sizeof *mapping);
    char *at = n ? calloc(1, n) : NULL;

    (void)address, (void)protection, (void)flags;
    while (at && fd >= 0 && used < n && got > 0) {
        got = pread(fd, at + used, n - used, offset + (off_t)used);
        used += got > 0 ? (size_t)got : 0;
    }
    if (!mapping || !at || got < 0) {
        free(mapping);
        free(at);
        errno = n ? ENOMEM : EINVAL;
        return MAP_FAILED;
    }
    mapping->at = at;
    pthread_mutex_lock(&exact_lock);
    mapping->next = exact_mappings;
    exact_mappings = mapping;
    pthread_mutex_unlock(&exact_lock);
    return at;
}

/* All mappings where AT is NULL: the loader leaves its own to the end of the process. */
static int exact_munmap(void *at, size_t n)
{
    struct exact_mapping **link = &exact_mappings;

    (void)n;
    pthread_mutex_lock(&exact_lock);
    while (*link) {
        struct exact_mapping *mapping = *link;

        if (at && mapping->at != at) {
            link = &mapping->next;
            continue;
        }
        *link = mapping->next;
        free(mapping->at);
        free(mapping);
    }
    pthread_mutex_unlock(&exact_lock);
    return 0;
}

void exact_forget(void);

void exact_forget(void)
{
    exact_munmap(NULL, 0);
}

#define mmap exact_mmap
#define munmap exact_munmap
