# Memory comes from the kernel in whole mappings and is never given back: the program ends before it could matter.

cdef void* take_pages(size_t n) noexcept nogil:
    # N bytes of zeros, or NULL.
    cdef void* at = mmap(NULL, n if n else 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return NULL if <ssize_t>at == -1 else at


cdef void* map_file(int fd, uint64_t* size) noexcept nogil:
    # A read-only mapping of the whole file, or NULL with errno set. Populated at once: a fault a page costs more.
    return map_as(fd, size, MAP_POPULATE)


cdef void* map_lazily(int fd, uint64_t* size) noexcept nogil:
    # As map_file(), of a file of which little will be read.
    return map_as(fd, size, 0)


cdef void* map_as(int fd, uint64_t* size, int flags) noexcept nogil:
    cdef stat_t status
    cdef void* at
    if fstat(fd, &status) != 0:
        return NULL
    size[0] = <uint64_t>status.st_size
    if status.st_size == 0:
        return NULL
    at = mmap(NULL, <size_t>status.st_size, PROT_READ, MAP_PRIVATE | flags, fd, 0)
    return NULL if <ssize_t>at == -1 else at


cdef ssize_t read_small(int directory, const char* path, char* out, size_t size) noexcept nogil:
    # Up to SIZE - 1 bytes of a file, NUL-terminated. Their number, or a negative errno.
    cdef ssize_t n
    cdef size_t used = 0
    cdef int fd = openat(directory, path, O_RDONLY | O_CLOEXEC)
    out[0] = 0
    if fd < 0:
        return -errno
    while used < size - 1:
        n = read(fd, out + used, size - 1 - used)
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            break
        used += <size_t>n
    close(fd)
    out[used] = 0
    return <ssize_t>used


cdef void write_small(const char* path, const char* text) noexcept nogil:
    # Write TEXT to a file of /proc or /sys, if it is there and takes it.
    cdef int fd = open(path, O_WRONLY | O_CLOEXEC)
    if fd >= 0:
        write(fd, text, strlen(text))
        close(fd)


cdef char* read_whole(int directory, const char* path, size_t* size) noexcept nogil:
    # A private, NUL-terminated copy of a file, or NULL with errno set.
    cdef stat_t status
    cdef char* out
    cdef ssize_t n = 0
    cdef int fd = openat(directory, path, O_RDONLY | O_CLOEXEC)
    if fd < 0:
        return NULL
    if fstat(fd, &status) != 0:
        close(fd)
        return NULL
    out = <char*>take_pages(<size_t>status.st_size + 1)
    size[0] = 0
    while out != NULL and size[0] < <size_t>status.st_size:
        n = read(fd, out + size[0], <size_t>status.st_size - size[0])
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            break
        size[0] += <size_t>n
    close(fd)
    return out


cdef ssize_t read_directory(int fd, char* out, size_t size) noexcept nogil:
    # One batch of directory entries; 0 at the end. directory_entry() takes it apart.
    return syscall(SYS_getdents64, fd, out, size)


cdef const char* directory_entry(const char* batch, ssize_t n, ssize_t* at) noexcept nogil:
    # The next name in a batch (struct linux_dirent64: u64, s64, u16 length, u8 type, name), `.` and `..` left out.
    cdef const char* name
    while at[0] < n:
        name = batch + at[0] + 19
        at[0] += (<const uint16_t*>(batch + at[0] + 16))[0]
        if name[0] != c'.' or (name[1] != 0 and strcmp(name, b"..") != 0):
            return name
    return NULL
