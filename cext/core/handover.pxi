# From the initramfs to the root: its mounts move, its files go, the root's init takes over PID 1.

cdef enum:
    INITS = 5


cdef void handover(Loader* loader, const Root* root, char** argv) noexcept nogil:
    # Returns only where the root has no init that can be run; if that is seen in time, with everything as it was.
    cdef int old = open(b"/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    cdef int which = handover_find(loader, root, old)
    cdef const char* init
    if which == INITS:
        log_why(loader, LOG_ERROR, b"root", root.spec, b"has no init that can be run")
        return
    handover_summary(loader)
    if trace_begin(loader, seam_now(), b"handover"):
        trace_text(loader, b"init", handover_init(root, which))
        trace_number(loader, b"modules", loader.n_loaded)
        trace_number(loader, b"failed", loader.n_failed)
        trace_end(loader)
    trace_write(loader)
    handover_lock(loader)
    handover_move(b"/dev", b"/sysroot/dev")
    handover_move(b"/proc", b"/sysroot/proc")
    handover_move(b"/sys", b"/sysroot/sys")
    handover_move(b"/run", b"/sysroot/run")
    chdir(b"/sysroot")
    if mount(b".", b"/", NULL, MS_MOVE, NULL) != 0 or chroot(b".") != 0 or chdir(b"/") != 0:
        log_why(loader, LOG_ERROR, b"root", root.spec, strerror(errno))
        return
    empty_initramfs(old)
    for which in range(which, INITS):
        init = handover_init(root, which)
        if is_program(init):
            argv[0] = <char*>init
            execv(init, argv)
            log_why(loader, LOG_ERROR, b"init", init, strerror(errno))


cdef void handover_summary(Loader* loader) noexcept nogil:
    cdef char line[256]
    cdef Text text = text_over(line, sizeof(line))
    put(&text, b"loaded ")
    put_number(&text, loader.n_loaded)
    put(&text, b" modules in ")
    put_number(&text, (seam_now() - loader.started) / 1000000)
    put(&text, b" ms, root after ")
    put_number(&text, (loader.mounted - loader.started) / 1000000)
    put(&text, b" ms")
    log_line(loader, LOG_INFO, line)
    write_small(PRINTK_DEVKMSG, loader.devkmsg)


cdef void handover_lock(Loader* loader) noexcept nogil:
    # rd.tinykmod.lock=1: no module is loaded from now on, by whomever.
    cdef char buffer[8]
    cdef Text text = text_over(buffer, sizeof(buffer))
    if cmdline_get(loader.cmdline, b"rd.tinykmod.lock", &text) and strcmp(buffer, b"1") == 0:
        write_small(b"/proc/sys/kernel/modules_disabled", b"1\n")


cdef void handover_move(const char* source, const char* target) noexcept nogil:
    mkdir(target, 0o755)
    if mount(source, target, NULL, MS_MOVE, NULL) != 0:
        # A read-only root without that directory: the real init mounts its own.
        umount2(source, MNT_DETACH)


cdef const char* handover_init(const Root* root, int which) noexcept nogil:
    # The kernel's own candidates, in its order (init/main.c): init=, then these.
    if which == 0:
        return root.init
    if which == 1:
        return b"/sbin/init"
    if which == 2:
        return b"/etc/init"
    return either(which == 3, b"/bin/init", b"/bin/sh")


cdef bint is_program(const char* path) noexcept nogil:
    cdef stat_t status
    return (path[0] != 0 and fstatat(AT_FDCWD, path, &status, 0) == 0 and S_ISREG(status.st_mode)
            and access(path, X_OK) == 0)


cdef int handover_find(Loader* loader, const Root* root, int old) noexcept nogil:
    # The first candidate that is there, seen from inside the root, where links lead where they should; INITS: none.
    cdef int which = 0
    if chroot(b"/sysroot") != 0 or chdir(b"/") != 0:
        return INITS
    while which < INITS and not is_program(handover_init(root, which)):
        if which == 0 and root.init[0]:
            log_why(loader, LOG_ERROR, b"init", root.init, b"is no program that can be run")
        which += 1
    fchdir(old)
    chroot(b".")
    return which


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
