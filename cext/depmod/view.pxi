# A file's bytes for as long as they are looked at.

cdef enum:
    # Unmapping makes every thread of the process wait for every other: below this size, copying is cheaper.
    MAPPED_FROM = 1 << 17

cdef struct FileView:
    const uint8_t* data
    size_t size
    bint mapped


cdef int open_view(FileView* view, const char* path, Buffer* small) noexcept nogil:
    # 0 or an errno. SMALL takes the bytes of a file that is not mapped; they stay until it is used again.
    cdef stat_t status
    cdef ssize_t n
    cdef int fd = open(path, O_RDONLY | O_CLOEXEC), failed = 0
    view.data = NULL
    view.size = 0
    view.mapped = False
    if fd < 0:
        return errno
    if fstat(fd, &status) != 0:
        failed = errno
    elif status.st_size >= MAPPED_FROM:
        view.data = <const uint8_t*>mmap(NULL, <size_t>status.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
        view.mapped = <ssize_t>view.data != -1
        view.size = <size_t>status.st_size
        failed = 0 if view.mapped else errno
    else:
        small.used = 0
        if more(small, <size_t>status.st_size) == NULL and status.st_size:
            failed = ENOMEM
        while not failed and view.size < <size_t>status.st_size:
            n = read(fd, small.data + view.size, <size_t>status.st_size - view.size)
            if n < 0 and errno != EINTR:
                failed = errno
            elif n == 0:
                break
            elif n > 0:
                view.size += <size_t>n
        view.data = small.data
    close(fd)
    return failed


cdef void close_view(FileView* view) noexcept nogil:
    if view.mapped:
        munmap(<void*>view.data, view.size)


cdef bint begins_as_elf(const FileView* view) noexcept nogil:
    return view.size >= 4 and memcmp(view.data, b"\x7fELF", 4) == 0
