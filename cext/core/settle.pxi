# When every event so far has been read: told by an event of our own that comes back, not by a pause.
#
# Linux 4.13 and later send an event for `change UUID` written to a `uevent` file, with SYNTH_UUID in it. Ours is that
# of the bus `platform`, which every kernel has: it has no node and no driver, no rule of udev's is about it, and
# `udevadm trigger --type=subsystems` has the kernel send the same at every boot.

cdef extern from *:
    """
    #define MARK_PATH "/sys/bus/platform/uevent"
    #define MARK_LIMIT 2000000000LL /* nanoseconds that it is waited for */
    """
    const char* MARK_PATH
    const int64_t MARK_LIMIT

cdef enum:
    UUID_LENGTH = 36


cdef void mark_send(Loader* loader) noexcept nogil:
    # Have the kernel send a mark. It is sent when the write returns, behind all that was sent before.
    cdef char line[48]
    cdef Text text = text_over(line, sizeof(line))
    cdef ssize_t n
    cdef int fd
    loader.mark[0] = 0
    if loader.no_marks:
        return
    read_small(AT_FDCWD, b"/proc/sys/kernel/random/uuid", loader.mark, UUID_LENGTH + 1)
    put(&text, b"change ")
    put(&text, loader.mark)
    fd = open(MARK_PATH, O_WRONLY | O_CLOEXEC)
    n = write(fd, line, text.used) if fd >= 0 else -1
    if fd >= 0:
        close(fd)
    # An older kernel takes no UUID. Then all has been read when nothing waits in the socket: the kernel queues an
    # event before whatever caused it goes on.
    loader.no_marks = n < 0 or strlen(loader.mark) != UUID_LENGTH
    if loader.no_marks:
        loader.mark[0] = 0


cdef void mark_seen(Loader* loader, const char* uuid) noexcept nogil:
    if loader.mark[0] and strcmp(loader.mark, uuid) == 0:
        loader.mark[0] = 0


cdef void read_all(Loader* loader, Root* root, int events) noexcept nogil:
    # Take every event that the kernel has sent by now.
    cdef pollfd poller
    cdef int64_t until = seam_now() + MARK_LIMIT
    if events >= 0:
        mark_send(loader)
    boot_events(loader, root, events)
    while loader.mark[0]:
        if seam_now() >= until:
            # Its events go to another network namespace.
            loader.no_marks = True
            loader.mark[0] = 0
        else:
            poller.fd = events
            poller.events = POLLIN
            poll(&poller, 1, <int>((until - seam_now()) / 1000000) + 1)
            boot_events(loader, root, events)


cdef bint settle(Loader* loader, Root* root, int events) noexcept nogil:
    # No load is under way. False: nor has anything come since that was last found. Else all events are read now, and
    # there may be more to do; if there is not, everything has settled, and the trace tells.
    cdef uint32_t wanted = loader.n_wanted
    if loader.settled == loader.plan.n_steps + 1:
        return False
    read_all(loader, root, events)
    if loader.n_wanted == wanted:
        loader.settled = loader.plan.n_steps + 1
        if trace_begin(loader, seam_now(), b"settled"):
            trace_number(loader, b"modules", loader.n_loaded)
            trace_number(loader, b"failed", loader.n_failed)
            trace_end(loader)
    return True
