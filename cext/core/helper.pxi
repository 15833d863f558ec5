# `tinykmod coldplug`: what the boot does up to the mount of the root, for a process that is not PID 1: in a hook of
# another initramfs, or on a running system. It mounts nothing.

cdef int coldplug_main(int argc, char** argv) noexcept nogil:
    # coldplug [-nv] [-j JOBS] [-d ROOT] [-S VERSION] [--sysroot DIR] [--class C,...] [--wait-root SPEC] [--timeout S]
    cdef Options options
    cdef Loader loader
    cdef Root root
    cdef int events = -1
    cdef int first, result
    cdef const char* usage = (b"coldplug [-nv] [-j JOBS] [-d ROOT] [-S VERSION] [--sysroot DIR] [--class CLASS,...] "
                              b"[--wait-root SPEC] [--timeout SECONDS]")
    if not tool_options(&options, argc, argv, &first, usage, b"dSj-", b"nv"):
        return 1
    root_await(&root, options.wait_root, options.seconds)
    if first < argc or (options.classes != NULL and not helper_classes(options.classes)):
        tool_usage(usage)
        return 1
    if options.wait_root != NULL and root.value == NULL:
        write(2, b"tinykmod: --wait-root: no form of root= that is known\n", 54)
        return 1
    if not options.dry_run and options.sysroot[0] == 0 and geteuid() != 0:
        write(2, b"tinykmod: coldplug: loading modules needs root; -n does not\n", 60)
        return 1
    if not tool_open(&loader, &options):
        return 1
    loader.started = seam_now()
    # A dry run tells what this machine would get from nothing.
    loader.check_live = loader.await_coming = not options.dry_run
    loader.explain = True
    loader.classes = class_bits(options.classes) if options.classes != NULL else 0
    loader.equal = root.value == NULL
    loader.drain = <int64_t>DRAIN_USUAL * 1000000000
    # Serially where the order is what is asked for, or an index that has it stands in (core/textfiles.pxi).
    loader.jobs = 1 if options.dry_run or loader.index.alias_text != NULL else options.jobs
    loader.helper = not options.dry_run and options.sysroot[0] == 0
    if loader.helper:
        helper_begin(&loader)
        events = uevent_open()
        if events < 0:
            log_why(&loader, LOG_ERROR, b"socket", b"uevents", strerror(-events))
    if root.value != NULL:
        engine_plan(&loader)
    coldplug_walk(&loader)
    loader.walked = True
    if loader.helper and root.value != NULL:
        boot_disks(&loader, &root)
    result = helper_loop(&loader, &root, events)
    pool_end(&loader)
    trace_write(&loader)
    return result


cdef bint helper_classes(const char* words) noexcept nogil:
    # Whether each of WORDS, with commas between them, is a class of drivers.
    cdef char word[32]
    cdef Text text
    cdef size_t n
    while True:
        n = list_word(words)
        text = text_over(word, sizeof(word))
        put_bytes(&text, words, n)
        if text.cut or class_bits(word) == 0:
            return False
        if words[n] == 0:
            return True
        words += n + 1


cdef void helper_begin(Loader* loader) noexcept nogil:
    # Messages in the kernel's log as well, and a trace: behind that of the boot where there is one.
    cdef char* buffer = <char*>take_pages(TRACE_SIZE)
    cdef sigaction_t action
    # A worker that somebody has ended must not end us: PID 1 has the same from the kernel.
    memset(&action, 0, sizeof(action))
    action.sa_handler = SIG_IGN
    sigaction(SIGPIPE, &action, NULL)
    if loader.kmsg < 0:
        loader.kmsg = open(b"/dev/kmsg", O_WRONLY | O_CLOEXEC)
    mkdir(b"/run/tinykmod", 0o755)
    loader.trace_fd = open(TRACE_PATH, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    if buffer != NULL and loader.trace_fd >= 0:
        loader.trace = text_over(buffer, TRACE_SIZE)
    trace_start(loader)


cdef int helper_loop(Loader* loader, Root* root, int events) noexcept nogil:
    # Load and watch until the root is there, or, without one to wait for, until all has settled: the exit code.
    cdef bint more
    cdef int64_t end = loader.started + root.limit
    while True:
        engine_answers(loader)
        if loader.helper:
            boot_events(loader, root, events)
        if root.found and boot_filesystem_there(loader, root):
            return helper_end(loader, root, events)
        more = False
        if loader.jobs > 1:
            engine_feed(loader)
        else:
            more = load_next(loader)
        if not more and engine_running(loader) == 0:
            if loader.helper and settle(loader, root, events):
                continue
            if root.value == NULL or not loader.helper:
                return 1 if loader.n_failed > loader.n_idle else 0
        if loader.helper and not root.found and seam_now() >= end:
            read_all(loader, root, events)
            if not root.found:
                report(loader, root)
                return 1
        if not more:
            boot_wait(loader, events, engine_again(loader, end))


cdef int helper_end(Loader* loader, Root* root, int events) noexcept nogil:
    # The root is there, and its filesystem's modules were tried. What is under way is waited for: whoever called us
    # may switch to the root now, and end what is left of the initramfs. 1: no module of the filesystem was loaded.
    cdef int64_t until
    cdef uint32_t i
    cdef bint served = True
    if root.device.kind[0] and filesystem_lookup(loader, root.device.kind):
        if loader.jobs == 1:
            load_filesystem(loader, root.device.kind)
        served = False
        for i in range(loader.search.n_hits):
            served = served or loader.states[loader.search.hits[i].module] == MODULE_LOADED
    engine_close(loader)
    until = engine_drained(loader)
    while until:
        boot_wait(loader, events, until)
        engine_answers(loader)
        boot_events(loader, root, events)
        until = engine_drained(loader)
    engine_leave(loader)
    return 0 if served else 1
