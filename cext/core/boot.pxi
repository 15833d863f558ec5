# PID 1: from the kernel's exec of /init to the exec of the root's own init. Nothing here returns to the kernel.

cdef enum:
    WAIT_LINE = 10  # seconds between two lines that say what is awaited
    WALK_AGAIN = 100  # milliseconds between two walks where there are no events


cdef void boot_main(char** argv) noexcept nogil:
    cdef Loader loader
    cdef Root root
    cdef int events
    cdef const char* unmounted
    cdef int refused = 0
    cdef bint crashed = strcmp(argv[0], AFTER_CRASH) == 0
    crash_watch()
    memset(&loader, 0, sizeof(loader))
    loader.started = seam_now()
    loader.root = loader.sysroot = b""
    loader.kmsg = loader.modules_fd = loader.trace_fd = -1
    unmounted = boot_mounts(&refused)
    boot_frozen()
    boot_log(&loader)
    if unmounted != NULL:
        log_why(&loader, LOG_ERROR, b"mount", unmounted, strerror(refused))
    read_small(AT_FDCWD, b"/proc/cmdline", loader.cmdline, sizeof(loader.cmdline))
    boot_trace(&loader, crashed)
    # Before the walk: a device that appears in between is then found twice, and not never.
    events = uevent_open()
    if events < 0:
        log_why(&loader, LOG_ERROR, b"socket", b"uevents", strerror(-events))
    engine_settings(&loader)
    boot_modules(&loader, crashed)
    root_parse(&root, loader.cmdline)
    break_at(&loader, &root, BREAK_START)
    if loader.have_modules:
        requested_before(&loader)
        engine_plan(&loader)
        coldplug_walk(&loader)
        loader.walked = True
        boot_filesystem(&loader, root.types, URGENT_FILESYSTEM)
    crash_try(loader.cmdline, crashed)
    # Those whose drivers are built into the kernel were there before the socket was.
    boot_disks_announced(&loader, &root, events)
    boot_loop(&loader, &root, events)
    break_at(&loader, &root, BREAK_HANDOVER)
    handover(&loader, &root, argv)
    boot_stay(&loader, &root)


cdef const char* boot_mounts(int* refused) noexcept nogil:
    # What an image may lack, and what systemd's INITRD_INTERFACE expects; it takes /run as it is, so that has
    # systemd's own limits (the journal's size goes by them). The last that failed, or NULL.
    cdef const char* failed = NULL
    failed = boot_mount_at(b"/dev", b"devtmpfs", MS_NOSUID, b"mode=0755", failed, refused)
    failed = boot_mount_at(b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, failed, refused)
    failed = boot_mount_at(b"/sys", b"sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, failed, refused)
    return boot_mount_at(b"/run", b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=0755,size=20%,nr_inodes=800k", failed,
                         refused)


cdef const char* boot_mount_at(const char* target, const char* kind, unsigned long flags, const char* data,
                               const char* failed, int* refused) noexcept nogil:
    mkdir(target, 0o755)
    # EBUSY: mounted already, which is as good.
    if mount(kind, target, kind, flags, data) == 0 or errno == EBUSY:
        return failed
    refused[0] = errno
    return target


cdef void boot_frozen() noexcept nogil:
    # Of a program that is all of the image the kernel's helper has no file: where modprobe is missing it is this one.
    if FROZEN.all:
        mkdir(b"/sbin", 0o755)
        symlink(b"/proc/1/exe", b"/sbin/modprobe")


cdef void boot_log(Loader* loader) noexcept nogil:
    # The kernel opens /dev/console for PID 1 only where the image has it; descriptors 0 to 2 must be something.
    cdef int fd = open(b"/dev/console", O_RDWR | O_NOCTTY)
    if fd < 0:
        fd = open(b"/dev/null", O_RDWR)
    while 0 <= fd < 2:
        fd = dup2(fd, fd + 1)
    if fd > 2:
        close(fd)
    loader.kmsg = open(b"/dev/kmsg", O_WRONLY | O_CLOEXEC)
    # The kernel lets user space write ten lines in five seconds; a report is longer.
    read_small(AT_FDCWD, PRINTK_DEVKMSG, loader.devkmsg, sizeof(loader.devkmsg))
    write_small(PRINTK_DEVKMSG, b"on\n")
    log_line(loader, LOG_INFO, b"init started")


cdef void boot_trace(Loader* loader, bint crashed) noexcept nogil:
    cdef char* buffer = <char*>take_pages(TRACE_SIZE)
    cdef utsname name
    uname(&name)
    memcpy(loader.release, name.release, sizeof(loader.release))
    if buffer != NULL:
        loader.trace = text_over(buffer, TRACE_SIZE)
    # O_APPEND: the kernel's helper, which is this program too, adds its lines while we run.
    mkdir(b"/run/tinykmod", 0o755)
    loader.trace_fd = open(TRACE_PATH, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (0 if crashed else O_TRUNC), 0o644)
    trace_start(loader)


cdef void boot_modules(Loader* loader, bint crashed) noexcept nogil:
    # The boot index; the text files where it cannot be used; and a line where neither can.
    cdef const char* why = modules_open(loader)
    if crashed and why == NULL:
        why = b"the loader crashed with it"
    cdef const char* why_not
    if why != NULL:
        log_why(loader, LOG_ERROR, b"boot index of", loader.release, why)
        loader.frozen = NULL
        if loader.modules_fd < 0:
            boot_other_kernels(loader)
        why_not = textfiles_open(&loader.index, loader.modules_fd)
        if why_not != NULL:
            log_why(loader, LOG_ERROR, b"modules of", loader.release, why_not)
            return
        # They do not tell what a module needs directly.
        loader.jobs = 1
        if trace_begin(loader, seam_now(), b"fallback"):
            trace_text(loader, b"why", why)
            trace_end(loader)
    elif trace_begin(loader, seam_now(), b"index"):
        trace_number(loader, b"modules", loader.index.count[<int>SECTION_MODULES])
        trace_number(loader, b"bytes", <int64_t>loader.index.header.size)
        trace_end(loader)
    loader.have_modules = state_prepare(loader)
    if not loader.have_modules:
        log_why(loader, LOG_ERROR, b"modules of", loader.release, b"out of memory")


cdef void boot_other_kernels(Loader* loader) noexcept nogil:
    # The usual mistake: an image that was made for another kernel.
    cdef char batch[4096]
    cdef ssize_t n
    cdef ssize_t at = 0
    cdef const char* name
    cdef int fd = open(b"/lib/modules", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if fd < 0:
        return
    n = read_directory(fd, batch, sizeof(batch))
    name = directory_entry(batch, n, &at)
    while name != NULL:
        log_why(loader, LOG_ERROR, b"modules of", name, b"in this image, but another kernel runs")
        name = directory_entry(batch, n, &at)
    close(fd)


cdef void boot_disks(Loader* loader, Root* root) noexcept nogil:
    # Look at every block device that is there.
    boot_each_disk(loader, root, False)


cdef void boot_disks_announced(Loader* loader, Root* root, int events) noexcept nogil:
    # Have the kernel announce every block device once more. It does not announce one whose partitions it is still
    # looking for: to open that would be to wait with it, for ever where the disk does not answer.
    boot_each_disk(loader, root, events >= 0)


cdef void boot_each_disk(Loader* loader, Root* root, bint announce) noexcept nogil:
    cdef char batch[4096]
    cdef char buffer[4096]
    cdef char path[300]
    cdef Text text
    cdef Event event
    cdef ssize_t n, at
    cdef const char* name
    cdef int fd = open(b"/sys/class/block", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if fd < 0:
        return
    n = read_directory(fd, batch, sizeof(batch))
    while n > 0:
        at = 0
        name = directory_entry(batch, n, &at)
        while name != NULL:
            if announce:
                text = text_over(path, sizeof(path))
                put(&text, b"/sys/class/block/")
                put(&text, name)
                put(&text, b"/uevent")
                write_small(path, b"add\n")
            else:
                sysfs_event(fd, name, buffer, sizeof(buffer), &event)
                root_consider(loader, root, &event)
            name = directory_entry(batch, n, &at)
        n = read_directory(fd, batch, sizeof(batch))
    close(fd)


cdef void boot_events(Loader* loader, Root* root, int events) noexcept nogil:
    # Take every event that waits. Without a socket (a kernel without networking) everything is looked at again.
    cdef char buffer[8192]
    cdef Event event
    cdef int result = -ENOBUFS
    if events >= 0:
        result = uevent_read(events, buffer, sizeof(buffer), &event)
    while result != 0:
        if result < 0:
            # Some were lost, perhaps the mark too: look at everything once more.
            loader.mark[0] = 0
            if loader.have_modules:
                coldplug_walk(loader)
            boot_disks_announced(loader, root, events)
            if events < 0:
                return
        elif strcmp(event.action, b"add") == 0 or strcmp(event.action, b"change") == 0:
            if loader.have_modules:
                device_seen(loader, &event, event.devpath)
            if strcmp(event.subsystem, b"block") == 0:
                root_consider(loader, root, &event)
            elif strcmp(event.subsystem, b"module") == 0:
                engine_announced(loader, event.devpath)
            mark_seen(loader, event.mark)
        result = uevent_read(events, buffer, sizeof(buffer), &event)


cdef void boot_loop(Loader* loader, Root* root, int events) noexcept nogil:
    # Load, watch and wait until the root is mounted and nothing is under way any more.
    cdef bint mounted = False
    cdef int64_t said = loader.started
    cdef int64_t now, until
    while True:
        # In this order: what a driver made was announced before its load ended.
        engine_answers(loader)
        boot_events(loader, root, events)
        now = seam_now()
        loader.mount_next = root.found and now - loader.started >= root.delay
        if root.found and not mounted and boot_filesystem_there(loader, root) and loader.mount_next:
            break_at(loader, root, BREAK_MOUNT)
            mounted = boot_mount(loader, root)
            if mounted:
                engine_close(loader)
            else:
                boot_rescue(loader, root, events)
        if mounted:
            if loader.have_modules and loader.jobs > 1:
                engine_feed(loader)
            elif loader.have_modules and load_next(loader):
                continue
            until = engine_drained(loader)
            if until == 0:
                if loader.have_modules and requested_after(loader):
                    continue
                engine_leave(loader)
                return
            boot_wait(loader, events, until)
            continue
        if loader.have_modules and loader.jobs > 1:
            engine_feed(loader)
        elif loader.have_modules and load_next(loader):
            continue
        if engine_running(loader) == 0:
            if (loader.have_modules and requested_after(loader)) or settle(loader, root, events):
                continue
        if boot_overdue(loader, root):
            read_all(loader, root, events)
            if root.found:
                continue
            boot_rescue(loader, root, events)
        now = seam_now()
        if now - said >= <int64_t>WAIT_LINE * 1000000000:
            said = now
            if root.value != NULL and not root.found:
                log_why(loader, LOG_ERROR, b"still waiting for", b"root", root.spec)
        until = said + <int64_t>WAIT_LINE * 1000000000
        if root.found and loader.started + root.delay > now:
            until = loader.started + root.delay
        elif not root.found and not root.reported and not root.wait and loader.started + root.limit < until:
            until = loader.started + root.limit
        boot_wait(loader, events, engine_again(loader, until))


cdef bint boot_overdue(const Loader* loader, const Root* root) noexcept nogil:
    # Whether it is time for the report: the time is over, or no root can be awaited and all that is here was seen.
    if root.found or root.reported or root.wait:
        return False
    return seam_now() - loader.started >= root.limit or (root.value == NULL and loader.settled != 0)


cdef void boot_wait(Loader* loader, int events, int64_t until) noexcept nogil:
    # Sleep until there is an event, an answer of a worker, or it is UNTIL.
    cdef pollfd pollers[WORKERS_MOST + 1]
    cdef uint32_t n = pool_poll(loader, pollers)
    cdef int64_t now = seam_now()
    # Up to the next millisecond, or a wait would end just before its time and begin again.
    cdef int64_t left = (until - now) / 1000000 + 1
    if events >= 0:
        pollers[n].fd = events
        pollers[n].events = POLLIN
        n += 1
    elif left > WALK_AGAIN:
        left = WALK_AGAIN
    if until > now:
        poll(pollers, n, <int>left)


cdef void boot_root(Loader* loader, const Root* root) noexcept nogil:
    # The root's device is there.
    cdef char device[80]
    cdef Text text = text_over(device, sizeof(device))
    put(&text, b"/dev/")
    put(&text, root.device.name)
    if trace_begin(loader, seam_now(), b"root"):
        trace_text(loader, b"device", device)
        trace_text(loader, b"spec", root.spec)
        trace_end(loader)


cdef bint boot_filesystem_there(Loader* loader, const Root* root) noexcept nogil:
    # Whether the modules of the root's filesystem have been tried; they are asked for once the root is there.
    cdef uint32_t i
    if not loader.root_there:
        loader.root_there = True
        engine_root_there(loader)
        boot_root(loader, root)
    if root.types[0] and strcmp(root.types, b"auto") != 0:
        boot_filesystem(loader, root.types, URGENT_ROOT)
    else:
        boot_filesystem(loader, root.device.kind, URGENT_ROOT)
    for i in range(loader.n_filesystems):
        if not engine_settled(loader, loader.filesystems[i]):
            return False
    return True


cdef void boot_filesystem(Loader* loader, const char* types, uint32_t level) noexcept nogil:
    # Plan what serves the filesystems TYPES, with commas between them. With one worker mount_root() sees to it.
    cdef char* kind = loader.kinds
    cdef bint more
    cdef size_t n
    cdef uint32_t i
    if not loader.have_modules or loader.jobs == 1:
        return
    if strcmp(loader.types, types) != 0:
        loader.n_filesystems = 0
        memcpy(loader.types, types, strlen(types) + 1)
        memcpy(loader.kinds, types, strlen(types) + 1)
        while kind[0]:
            n = list_word(kind)
            more = kind[n] != 0
            kind[n] = 0
            if filesystem_lookup(loader, kind):
                for i in range(loader.search.n_hits):
                    if loader.n_filesystems < FILESYSTEMS_MOST:
                        loader.filesystems[loader.n_filesystems] = loader.search.hits[i].module
                        loader.n_filesystems += 1
                        engine_want(loader, loader.search.hits[i].module, WHY_ROOT, kind, level << URGENCY_SHIFT)
            kind += n + more
    for i in range(loader.n_filesystems):
        engine_raise(loader, loader.filesystems[i], level << URGENCY_SHIFT)


cdef bint boot_mount(Loader* loader, Root* root) noexcept nogil:
    cdef char kind[64]
    cdef char device[80]
    cdef Text text = text_over(device, sizeof(device))
    cdef int result
    put(&text, b"/dev/")
    put(&text, root.device.name)
    kind[0] = 0
    result = mount_root(loader, root, device, kind, sizeof(kind))
    if result != 0:
        log_why(loader, LOG_ERROR, b"root", device, strerror(-result))
        # Look again when it, or another one, appears.
        root.refused = -result
        root.found = loader.root_there = False
        return False
    loader.mounted = seam_now()
    if trace_begin(loader, loader.mounted, b"mounted"):
        trace_text(loader, b"device", device)
        trace_text(loader, b"type", kind)
        trace_end(loader)
    boot_behind(loader, root)
    return True


cdef void boot_behind(Loader* loader, const Root* root) noexcept nogil:
    # Trace the modaliases of the root's device and of those that it sits behind: a plan is made from them.
    cdef char path[128]
    cdef char buffer[4096]
    cdef Text text = text_over(path, sizeof(path))
    cdef Event event
    put(&text, b"/sys/dev/block/")
    put_number(&text, root.device.major)
    put_char(&text, c':')
    put_number(&text, root.device.minor)
    # Behind a link `..` leads up from where the link leads. Not every directory on the way is a device; some thirty
    # steps lead out of sysfs.
    while not text.cut:
        sysfs_event(AT_FDCWD, path, buffer, sizeof(buffer), &event)
        if event.modalias[0] and trace_begin(loader, seam_now(), b"behind"):
            trace_text(loader, b"modalias", event.modalias)
            trace_end(loader)
        put(&text, b"/..")


cdef void boot_rescue(Loader* loader, Root* root, int events) noexcept nogil:
    # The report, once, then a shell if the image has one. The boot goes on when the shell ends, or if the root comes.
    cdef bint shell = root.shell and access(b"/bin/sh", X_OK) == 0
    if not root.reported:
        report(loader, root)
        if shell:
            log_line(loader, LOG_ERROR, b"a shell follows; its end lets the boot go on")
        else:
            log_why(loader, LOG_ERROR, b"no shell", either(root.shell, b"in this image (/bin/sh)", b"(rd.shell=0)"),
                    either(root.value != NULL, b"still waiting for the root", b"PID 1 stays"))
    root.reported = True
    if shell:
        run_shell()
        boot_disks_announced(loader, root, events)


cdef void run_shell() noexcept nogil:
    # A shell on the console, until it ends; what it leaves behind is waited for as well.
    cdef const char* argv[2]
    cdef int status, ended, fd
    cdef int child = fork()
    if child == 0:
        setsid()
        fd = open(b"/dev/console", O_RDWR)
        if fd >= 0:
            ioctl(fd, TIOCSCTTY, 1)
            dup2(fd, 0)
            dup2(fd, 1)
            dup2(fd, 2)
        argv[0] = b"/bin/sh"
        argv[1] = NULL
        execv(argv[0], <char**>argv)
        _exit(127)
    while child > 0:
        ended = waitpid(-1, &status, 0)
        if ended == child or (ended < 0 and errno != EINTR):
            break
    # One that ends at once (no console, no libc in the image) must not make this a busy loop.
    poll(NULL, 0, 1000)


cdef void boot_stay(Loader* loader, const Root* root) noexcept nogil:
    # The root has no init that runs. A shell, as often as it ends; without one nothing is left to do.
    log_line(loader, LOG_ERROR, b"nothing more to try; PID 1 stays")
    while True:
        if root.shell and access(b"/bin/sh", X_OK) == 0:
            run_shell()
        else:
            pause()
