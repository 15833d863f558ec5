# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
# Faults that the sanitized build must see, each of the kind that the core could have.

from libc_sys cimport *
from libc.stdlib cimport free, malloc


def behind_a_text(bytes data not None):
    """The NUL that Python puts behind each bytes object."""
    cdef const char* at = data
    return at[len(data)]


def behind_a_mapping(bytes path not None):
    """The first byte behind a mapped file, within its last page."""
    cdef int fd = open(path, O_RDONLY | O_CLOEXEC)
    cdef stat_t status
    fstat(fd, &status)
    cdef const char* at = <const char*>mmap(NULL, <size_t>status.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
    return at[status.st_size]


def behind_an_allocation(size_t n):
    cdef char* at = <char*>malloc(n)
    return memchr(at, 1, n + 1) != NULL


def behind_an_array(size_t n):
    cdef char[16] array
    memset(array, 0, n)
    return array[0]


def after_it_is_freed(size_t n):
    cdef char* at = <char*>malloc(n)
    free(at)
    return at[0]


def more_than_fits(int n):
    return n + 0x7fffffff


def from_nowhere(size_t n):
    cdef char* at = <char*>malloc(8) if n else NULL
    memset(at, 0, n)
    free(at)


def without_end(int n):
    cdef int turns = 0
    while n:
        turns ^= n
    return turns
