# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
# The floor that the loader is measured against: a program that opens and finit_module()s the files that /floor lists,
# in that order, mounts the root and hands over to its init. It discovers, matches and decides nothing. See
# scripts/bench_floor.py and tinykmod/bench/contenders/floor.py.

from libc_sys cimport *

include "core/format.pxi"
include "core/text.pxi"
include "core/memory.pxi"
include "core/seam_linux.pxi"

cdef char* take_line(char** rest) noexcept nogil:
    # The next line of REST, its newline turned into a NUL; NULL at the end.
    cdef char* line = rest[0]
    cdef char* at = line
    if line[0] == 0:
        return NULL
    while at[0] and at[0] != c'\n':
        at += 1
    if at[0]:
        at[0] = 0
        at += 1
    rest[0] = at
    return line


cdef void say(const char* what, int64_t number) noexcept nogil:
    cdef char buffer[128]
    cdef Text text = text_over(buffer, sizeof(buffer))
    # The kernel's log at a priority that the console shows: what goes to the console itself is lost in the power-off.
    cdef int fd = open(b"/dev/kmsg", O_WRONLY)
    put(&text, b"<3>")
    put(&text, what)
    put_number(&text, number)
    put_char(&text, c'\n')
    write(fd, buffer, text.used)
    close(fd)


cdef int64_t idle() noexcept nogil:
    # Nanoseconds that the processors have been idle: the second number of /proc/uptime, in hundredths of a second.
    cdef char buffer[64]
    cdef char* at = buffer
    cdef int64_t hundredths = 0
    if read_small(AT_FDCWD, b"/proc/uptime", buffer, sizeof(buffer)) <= 0:
        return 0
    while at[0] and at[0] != c' ':
        at += 1
    while at[0] and at[0] != c'\n':
        if at[0] != c' ' and at[0] != c'.':
            hundredths = hundredths * 10 + at[0] - c'0'
        at += 1
    return hundredths * 10000000


cdef void hand_over() noexcept nogil:
    # Into the root that is mounted on /sysroot, with its own /dev; returns where its init cannot run.
    cdef char* arguments[2]
    arguments[0] = b"/sbin/init"
    arguments[1] = NULL
    mount(b"/dev", b"/sysroot/dev", NULL, MS_MOVE, NULL)
    chdir(b"/sysroot")
    mount(b".", b"/", NULL, MS_MOVE, NULL)
    chroot(b".")
    chdir(b"/")
    execv(arguments[0], arguments)


cdef public int main(int argc, char** argv) noexcept nogil:
    # /floor: the root's device, its type, then a module's path a line.
    cdef int64_t begun = seam_now()
    cdef int64_t idle_before
    cdef size_t size
    cdef char* rest
    cdef char* device
    cdef char* kind
    cdef char* path
    cdef int fd
    cdef int failed = 0
    mkdir(b"/sysroot", 0o755)
    mkdir(b"/proc", 0o755)
    mount(b"proc", b"/proc", b"proc", 0, NULL)
    idle_before = idle()
    mount(b"devtmpfs", b"/dev", b"devtmpfs", 0, NULL)
    rest = read_whole(AT_FDCWD, b"/floor", &size)
    device = take_line(&rest)
    kind = take_line(&rest)
    path = take_line(&rest)
    while path != NULL:
        fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC)
        failed += fd < 0 or seam_finit_module(fd, b"", 0) != 0
        close(fd)
        path = take_line(&rest)
    say(b"floor: loaded after ns ", seam_now() - begun)
    say(b"floor: idle for ns ", idle() - idle_before)
    # A disk whose driver probes on its own comes a little later: the shortest sleep there is.
    while mount(device, b"/sysroot", kind, MS_RDONLY, NULL) != 0:
        poll(NULL, 0, 1)
    say(b"floor: mounted after ns ", seam_now() - begun)
    say(b"floor: modules that failed ", failed)
    hand_over()
    while True:
        pause()
