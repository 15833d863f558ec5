# The seam: modules into and out of the kernel, and the clock. core/seam_fake.pxi stands in its place where the
# loader's order, options and errors are tested without root. What PID 1 does besides is tested in real boots only.

cdef extern from *:
    """
    #define MODULE_INIT_COMPRESSED_FILE 4  /* linux/module.h since 5.17; older headers lack it */
    """
    enum: MODULE_INIT_COMPRESSED_FILE


cdef int seam_finit_module(int fd, const char* options, int flags) noexcept nogil:
    return -errno if syscall(SYS_finit_module, fd, options, flags) != 0 else 0


cdef int seam_delete_module(const char* name) noexcept nogil:
    return -errno if syscall(SYS_delete_module, name, O_NONBLOCK) != 0 else 0


cdef int64_t seam_now() noexcept nogil:
    # CLOCK_MONOTONIC in nanoseconds.
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1000000000 + now.tv_nsec
