# From the initramfs to the root: its mounts move, its files go, the root's init takes over PID 1.

cdef void handover(Loader* loader, Root* root, int argc, char** argv) noexcept nogil:
    # Returns only where the root has no init that can be run.
    cdef int old, trace
    cdef const char* init = NULL
    cdef bint inside
    cdef char summary[256]
    cdef Text text = text_over(summary, sizeof(summary))
    put(&text, b"loaded ")
    put_number(&text, loader.n_loaded)
    put(&text, b" modules in ")
    put_number(&text, (seam_now() - loader.started) / 1000000)
    put(&text, b" ms, root after ")
    put_number(&text, (loader.mounted - loader.started) / 1000000)
    put(&text, b" ms")
    log_line(loader, LOG_INFO, summary)
    write_small(PRINTK_DEVKMSG, loader.devkmsg)
    old = open(b"/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    mkdir(b"/run/tinykmod", 0o755)
    trace = open(b"/run/tinykmod/trace.jsonl", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    handover_move(b"/dev", b"/sysroot/dev")
    handover_move(b"/proc", b"/sysroot/proc")
    handover_move(b"/sys", b"/sysroot/sys")
    handover_move(b"/run", b"/sysroot/run")
    chdir(b"/sysroot")
    inside = mount(b".", b"/", NULL, MS_MOVE, NULL) == 0 and chroot(b".") == 0 and chdir(b"/") == 0
    if inside:
        init = handover_init(loader, root)
    else:
        log_why(loader, LOG_ERROR, b"root", root.spec, strerror(errno))
    handover_trace(loader, trace, either(init != NULL, init, b""))
    if init != NULL:
        # Only now: without an init the shell of the initramfs is still wanted.
        if old >= 0:
            empty_initramfs(old)
        argv[0] = <char*>init
        execv(init, argv)
        log_why(loader, LOG_ERROR, b"init", init, strerror(errno))
    # Back to the initramfs, whose shell (if it was not emptied) is more use than none.
    if old >= 0 and fchdir(old) == 0:
        chroot(b".")


cdef void handover_move(const char* source, const char* target) noexcept nogil:
    mkdir(target, 0o755)
    if mount(source, target, NULL, MS_MOVE, NULL) != 0:
        # A read-only root without that directory: the real init mounts its own.
        umount2(source, MNT_DETACH)


cdef const char* handover_init(Loader* loader, Root* root) noexcept nogil:
    # The first of the kernel's own candidates that can be run, or NULL with a line.
    if root.init[0]:
        if access(root.init, X_OK) == 0:
            return root.init
        log_why(loader, LOG_ERROR, b"init", root.init, strerror(errno))
    if access(b"/sbin/init", X_OK) == 0:
        return b"/sbin/init"
    if access(b"/etc/init", X_OK) == 0:
        return b"/etc/init"
    if access(b"/bin/init", X_OK) == 0:
        return b"/bin/init"
    if access(b"/bin/sh", X_OK) == 0:
        return b"/bin/sh"
    log_why(loader, LOG_ERROR, b"root", root.spec, b"has no init that can be run")
    return NULL


cdef void handover_trace(Loader* loader, int fd, const char* init) noexcept nogil:
    # The last event, then the whole trace into FD, which was opened where the root's own init will look for it.
    cdef size_t done = 0
    cdef ssize_t n
    if trace_begin(loader, seam_now(), b"handover"):
        trace_text(loader, b"init", init)
        trace_number(loader, b"modules", loader.n_loaded)
        trace_number(loader, b"failed", loader.n_failed)
        trace_end(loader)
    while fd >= 0 and done < loader.trace.used:
        n = write(fd, loader.trace.data + done, loader.trace.used - done)
        if n <= 0:
            break
        done += <size_t>n
    if fd >= 0:
        close(fd)


cdef void empty_initramfs(int root) noexcept nogil:
    # Remove every file of the root file system that the kernel unpacked the image into, which gives the memory back.
    # Only if it is one: whoever boots with a disk as `/` keeps it.
    cdef statfs_t status
    cdef stat_t own
    if fstatfs(root, &status) != 0 or (status.f_type != RAMFS_MAGIC and status.f_type != TMPFS_MAGIC):
        return
    if fstat(root, &own) == 0:
        empty_directory(root, own.st_dev, 0)


cdef void empty_directory(int fd, uint64_t device, int depth) noexcept nogil:
    cdef char batch[2048]
    cdef stat_t status
    cdef ssize_t n, at
    cdef const char* name
    cdef int below
    n = read_directory(fd, batch, sizeof(batch))
    while n > 0:
        at = 0
        name = directory_entry(batch, n, &at)
        while name != NULL:
            if unlinkat(fd, name, 0) != 0 and depth < 64:
                # O_DIRECTORY without following: the root is mounted below, on another device.
                below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                if below >= 0:
                    if fstat(below, &status) == 0 and status.st_dev == device:
                        empty_directory(below, device, depth + 1)
                    close(below)
                    unlinkat(fd, name, AT_REMOVEDIR)
            name = directory_entry(batch, n, &at)
        n = read_directory(fd, batch, sizeof(batch))
