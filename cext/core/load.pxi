# Loading: one module with its options, its dependencies' fate in mind, and what devices ask for. Twin:
# tinykmod/boot/load.py, which loads serially only.

cdef struct Outcome:
    # What became of a file that the kernel was to load.
    int result  # 0 or a negative errno
    bint opened  # the errno is the kernel's word on the module; else there was no file to hand over
    int64_t begun
    int64_t ended
    int64_t cpu  # nanoseconds of a processor's time in between; -1: not known


cdef const char* load_reason(const Outcome* outcome) noexcept nogil:
    # Why a module was not loaded; NULL where it was.
    cdef int number = -outcome.result
    if number == 0:
        return NULL
    if not outcome.opened:
        if number == EBADMSG:
            return b"its packed file is damaged"
        return either(number == ENOENT, b"its file is not here", strerror(number))
    if number == ENOENT:
        return b"unknown symbol, or its init found something missing"
    if number == ENOEXEC:
        return b"not a module for this kernel (other version or architecture, or damaged)"
    if number == EOPNOTSUPP:
        return b"compressed, and this kernel does not decompress modules"
    if number == EKEYREJECTED:
        return b"its signature is missing, not of this file, or by a key that the kernel does not know"
    if number == EINVAL:
        return b"a parameter, a symbol's version or namespace does not fit, or its init refuses"
    return strerror(number)


cdef bint path_stays_inside(const char* path) noexcept nogil:
    # Whether a path of the index is relative and has no `..` part.
    cdef const char* at = path
    if path[0] == c'/' or path[0] == 0:
        return False
    while at[0]:
        if (at == path or (at - 1)[0] == c'/') and at[0] == c'.' and at[1] == c'.' and (at[2] == c'/' or at[2] == 0):
            return False
        at += 1
    return True


cdef const char* path_name(const char* path) noexcept nogil:
    # What is behind the last slash.
    cdef const char* name = path
    while path[0]:
        path += 1
        if (path - 1)[0] == c'/':
            name = path
    return name


cdef void load_module(Loader* loader, const Step* step, const char* by, const char* extra) noexcept nogil:
    # Load one module here and now; all of its dependencies have been tried. What became of it is in `states`.
    # BY is what asked for it, EXTRA further options.
    cdef char buffer[4096]
    cdef Text options = text_over(buffer, sizeof(buffer))
    cdef const Module* record = loader.index.modules + step.module
    cdef Outcome outcome
    if not load_prepare(loader, step, by, extra, &options):
        return
    outcome.result = 0
    outcome.opened = True
    outcome.begun = outcome.ended = seam_now()
    outcome.cpu = -1
    if not loader.dry_run:
        outcome = load_record(loader, step.module, buffer)
    load_settle(loader, step, by, &outcome, load_reason(&outcome), 0, outcome.begun)


cdef bint load_prepare(Loader* loader, const Step* step, const char* by, const char* extra,
                       Text* options) noexcept nogil:
    # Whether the kernel is to have the module, and with which OPTIONS. False: its fate is settled. A message tells of
    # a failure, and of an install command.
    cdef const BootIndex* ix = &loader.index
    cdef const Module* record = ix.modules + step.module
    cdef const char* name = index_string(ix, record.name)
    cdef const char* path = index_string(ix, record.path)
    cdef const char* missing = load_missing(loader, record)
    cdef bint by_kernel = False
    cdef const char* why = NULL
    cdef char reason[256]
    cdef Text text = text_over(reason, sizeof(reason))
    cdef Outcome outcome
    if index_forbidden(ix, step.module) and not (loader.check_live and is_live(loader, name)):
        load_forbidden(loader, step, by)
        return False
    put_options(options, ix, record, either(step.why == WHY_MODALIAS, by, b""))
    cmdline_options(loader.cmdline, name, options)
    if extra[0]:
        if options.used:
            put_char(options, c' ')
        put(options, extra)
    outcome.result = -EINVAL
    if missing != NULL:
        put(&text, b"it needs ")
        put(&text, missing)
        put(&text, b", which was not loaded")
        why = reason
    elif not path_stays_inside(path):
        why = b"its path in the index leads out of the modules' directory"
    elif options.cut:
        why = TOO_LONG
    elif cmdline_blacklisted(loader.cmdline, name, &by_kernel) and by_kernel:
        outcome.result = -EPERM
        why = b"blacklisted on the kernel command line (module_blacklist=)"
    elif loader.check_live and is_live(loader, name):
        loader.states[step.module] = MODULE_LOADED
        return False
    else:
        if loader.verbose or loader.dry_run:
            print_insmod(loader, path, options, extra, step, by)
        if record.flags & MODULE_FLAG_INSTALL and not loader.dry_run:
            log_install(loader, name, b"its install command at ", b" is not run at boot; it is loaded as usual")
        return True
    outcome.opened = False
    outcome.begun = outcome.ended = seam_now()
    outcome.cpu = -1
    load_settle(loader, step, by, &outcome, why, 0, outcome.begun)
    return False


cdef void load_settle(Loader* loader, const Step* step, const char* by, const Outcome* outcome, const char* why,
                      uint32_t worker, int64_t queued) noexcept nogil:
    # Keep, log and trace what became of a module. WHY: NULL where it was loaded. WORKER: 0 is this process.
    cdef const char* name = index_name(&loader.index, step.module)
    cdef char buffer[512]
    cdef Text text = text_over(buffer, sizeof(buffer))
    # A driver that finds nothing to do has nothing to say; where messages do not go to the log it is not read.
    if why != NULL and outcome.opened and outcome.result != -ENODEV and loader.kmsg >= 0:
        put(&text, why)
        put_words(&text, name)
        why = buffer
    if outcome.result == 0:
        loader.states[step.module] = MODULE_LOADED
        loader.n_loaded += 1
    else:
        loader.states[step.module] = MODULE_FAILED
        loader.n_failed += 1
        loader.n_idle += outcome.result == -ENODEV
        failure_keep(loader, name, why)
        # A driver that finds nothing to do is no fault (crc32c_intel without SSE 4.2, many a platform driver).
        log_why(loader, LOG_INFO if outcome.result == -ENODEV else LOG_ERROR, b"module", name, why)
    if trace_begin(loader, outcome.begun, b"module"):
        trace_text(loader, b"name", name)
        trace_text(loader, b"why", why_word(step.why))
        trace_text(loader, b"by", by)
        trace_number(loader, b"queued", queued)
        trace_number(loader, b"worker", worker)
        trace_number(loader, b"dur", outcome.ended - outcome.begun)
        if outcome.cpu >= 0:
            trace_number(loader, b"cpu", outcome.cpu)
        trace_number(loader, b"result", outcome.result)
        if why != NULL:
            trace_text(loader, b"error", why)
        trace_module(loader, step, outcome.begun)
        trace_end(loader)


cdef void trace_module(Loader* loader, const Step* step, int64_t begun) noexcept nogil:
    # What else a reader has to know to say what waited for what.
    cdef const BootIndex* ix = &loader.index
    cdef const Module* record = ix.modules + step.module
    cdef const Task* task = loader.tasks + step.module
    cdef char words[128]
    cdef Text classes = text_over(words, sizeof(words))
    put_class(&classes, record.classes)
    if classes.used:
        words[classes.used - 1] = 0
        trace_text(loader, b"class", words)
    if task.live:
        trace_number(loader, b"live", task.live_at - begun)
    trace_list(loader, b"needs")
    trace_needs(loader, index_links(ix, <uint64_t>record.deps + record.n_deps, record.n_direct), record.n_direct)
    trace_needs(loader, index_links(ix, record.soft, record.n_pre), record.n_pre)
    if step.why == WHY_SOFTDEP and loader.tasks[step.parent].position < task.position:
        trace_item(loader, index_name(ix, step.parent))
    trace_list_end(loader)


cdef void trace_needs(Loader* loader, const uint32_t* links, uint32_t n) noexcept nogil:
    # Those of LINKS that were planned, and waited for: engine_ready().
    cdef uint32_t i
    for i in range(n if links != NULL else 0):
        if (links[i] < loader.index.count[<int>SECTION_MODULES] and loader.plan.visited[links[i]]
                and not engine_idle(loader, links[i])):
            trace_item(loader, index_name(&loader.index, links[i]))


cdef void load_forbidden(Loader* loader, const Step* step, const char* by) noexcept nogil:
    # `install MODULE /bin/false` keeps what needs it from being loaded too; with `true` that is loaded without it.
    cdef const BootIndex* ix = &loader.index
    cdef const char* name = index_name(ix, step.module)
    cdef const Statement* statement = statement_of(ix, STATEMENT_KIND_INSTALL, name)
    cdef bint skipped = (ix.modules[step.module].flags & MODULE_FLAG_SKIPPED) != 0
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    put(&text, either(loader.dry_run, b"install ", b"not loaded: install "))
    if statement != NULL:
        put(&text, index_string(ix, statement.text))
    put(&text, either(loader.dry_run, b" ", b" at "))
    if loader.dry_run:
        print_action(loader, &text, step, by)
    else:
        log_install(loader, name, buffer, b"")
    loader.states[step.module] = MODULE_LOADED if skipped else MODULE_FAILED


cdef void log_install(Loader* loader, const char* module, const char* before, const char* behind) noexcept nogil:
    # A notice about MODULE with the place of its install command.
    cdef const Statement* statement = statement_of(&loader.index, STATEMENT_KIND_INSTALL, module)
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    put(&text, before)
    if statement != NULL:
        put_place(&text, &loader.index, statement)
    put(&text, behind)
    log_why(loader, LOG_NOTICE, b"module", module, buffer)


cdef int load_open(int directory, const char* path) noexcept nogil:
    # A descriptor or a negative errno. DIRECTORY is -1 where there is no /lib/modules/RELEASE.
    cdef int fd = openat(directory, path, O_RDONLY | O_CLOEXEC)
    if fd < 0:
        return -ENOENT if errno == EBADF else -errno
    return fd


cdef int load_unpacked(int fd, const char* path) noexcept nogil:
    # FD, which is compressed; or, where it is a packed module, a file in memory instead of it with what it holds. A
    # negative errno where there can be none.
    cdef uint64_t size = 0
    cdef void* data
    cdef int memory
    if not packed_in(fd):
        return fd
    data = map_file(fd, &size)
    memory = packed_file(<const uint8_t*>data, size, path_name(path)) if data != NULL else -errno
    close(fd)
    if data != NULL:
        munmap(data, size)
    return memory


cdef Outcome load_opened(int fd, const char* options, int flags) noexcept nogil:
    # Hand FD, a negative errno where there is none, to the kernel, and close it.
    cdef Outcome outcome
    outcome.opened = fd >= 0
    outcome.begun = seam_now()
    outcome.result = seam_finit_module(fd, options, flags) if fd >= 0 else fd
    outcome.ended = seam_now()
    outcome.cpu = -1
    if fd >= 0:
        close(fd)
    return outcome


cdef Outcome load_new(int directory, const char* path, const char* options, uint32_t flags) noexcept nogil:
    # Hand a file to the kernel.
    cdef Outcome outcome
    cdef int64_t begun = seam_now()
    cdef int fd = load_open(directory, path)
    cdef int given = fd
    if fd >= 0 and flags & MODULE_FLAG_COMPRESSED:
        given = load_unpacked(fd, path)
    outcome = load_opened(
        given, options, MODULE_INIT_COMPRESSED_FILE if flags & MODULE_FLAG_COMPRESSED and given == fd else 0)
    outcome.begun = begun
    return outcome


cdef Outcome load_record(const Loader* loader, uint32_t module, const char* options) noexcept nogil:
    # Hand a module of the index to the kernel. One that is there already is no failure: the kernel says so when it is
    # live, and of one that something else is loading it waits for the end.
    cdef const Module* record = loader.index.modules + module
    cdef const char* path = index_string(&loader.index, record.path)
    cdef uint64_t size = 0
    cdef const uint8_t* data = frozen_module(loader, module, &size)
    cdef int64_t begun = seam_now()
    cdef int64_t used = cpu_used()
    cdef Outcome outcome
    if data != NULL:
        outcome = load_opened(packed_file(data, size, path_name(path)), options, 0)
        outcome.begun = begun
    else:
        outcome = load_new(loader.modules_fd, path, options, record.flags)
    outcome.cpu = cpu_used() - used
    if outcome.result == -EEXIST:
        outcome.result = 0
    return outcome


cdef int64_t cpu_used() noexcept nogil:
    # Nanoseconds for which this process has had a processor: a load that takes longer waits, for its hardware or for
    # what other loads have taken.
    cdef timespec used
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used)
    return used.tv_sec * 1000000000 + used.tv_nsec


cdef bint is_live(Loader* loader, const char* name) noexcept nogil:
    # Whether the kernel has the module or is at it already. From 6.5 on a load of a module that is being loaded waits
    # for it: a module that asks for itself through modprobe would wait for ever. With `await_coming` only the first.
    cdef char state[16]
    return (read_initstate(loader, name, state, sizeof(state))
            and (not loader.await_coming or starts(state, b"live") != NULL))


cdef bint read_initstate(const Loader* loader, const char* name, char* state, size_t size) noexcept nogil:
    # `live`, `coming` or `going`; False where the kernel does not have the module.
    cdef char path[512]
    cdef Text text = text_over(path, sizeof(path))
    put(&text, loader.sysroot)
    put(&text, b"/sys/module/")
    put(&text, name)
    put(&text, b"/initstate")
    return read_small(AT_FDCWD, path, state, size) > 0


cdef const char* load_missing(Loader* loader, const Module* record) noexcept nogil:
    # The name of a dependency that failed, or NULL.
    cdef const uint32_t* deps = index_links(&loader.index, record.deps, record.n_deps)
    cdef uint32_t i
    if deps == NULL:
        return b"what a damaged index does not tell"
    for i in range(record.n_deps):
        if deps[i] < loader.index.count[<int>SECTION_MODULES] and loader.states[deps[i]] == MODULE_FAILED:
            return index_name(&loader.index, deps[i])
    return NULL


cdef void put_module_path(Text* text, const Loader* loader, const char* path) noexcept nogil:
    put(text, loader.root)
    put(text, b"/lib/modules/")
    put(text, loader.release)
    put_char(text, c'/')
    put(text, path)


cdef void print_insmod(Loader* loader, const char* path, const Text* options, const char* extra, const Step* step,
                       const char* by) noexcept nogil:
    # A line on standard output: `insmod PATH OPTIONS` as modprobe -v prints it, with a blank behind what the
    # configuration gives; coldplug says why behind it.
    cdef char buffer[8192]
    cdef Text text = text_over(buffer, sizeof(buffer))
    put(&text, b"insmod ")
    put_module_path(&text, loader, path)
    put_char(&text, c' ')
    put(&text, options.data)
    if options.used and extra[0] == 0 and not loader.explain:
        put_char(&text, c' ')
    print_action(loader, &text, step, by)


cdef void print_action(Loader* loader, Text* text, const Step* step, const char* by) noexcept nogil:
    # End a line of what would be, or is, done; coldplug says why.
    if loader.explain:
        put(text, b" # ")
        put(text, why_word(step.why))
        put(text, b": ")
        put(text, by)
    put_char(text, c'\n')
    write(1, text.data, text.used)


cdef int load_with_needs(Loader* loader, uint32_t module, uint32_t why, const char* by,
                         const char* extra) noexcept nogil:
    # Load MODULE and all that it needs and has not been tried yet: MODULE's result. EXTRA goes to MODULE alone.
    cdef uint32_t first = loader.plan.n_steps
    cdef uint32_t i
    cdef const Step* step
    cdef bint own
    plan_add(&loader.plan, &loader.index, module, <uint32_t>-1, why)
    for i in range(first, loader.plan.n_steps):
        step = loader.plan.steps + i
        own = is_none(step.parent)
        load_module(loader, step, by if own else index_name(&loader.index, step.parent), either(own, extra, b""))
    return 0 if loader.states[module] == MODULE_LOADED else -EINVAL


cdef bint load_filtered(const Loader* loader, uint32_t module) noexcept nogil:
    # Whether a blacklist keeps MODULE from being loaded on behalf of an alias.
    cdef bint by_kernel = False
    return (index_blacklisted(&loader.index, module)
            or cmdline_blacklisted(loader.cmdline, index_name(&loader.index, module), &by_kernel))


cdef bint load_left_out(const Loader* loader, uint32_t module) noexcept nogil:
    # Whether the command line or a blacklist keeps MODULE from being loaded for a device.
    cdef const Module* record = loader.index.modules + module
    if record.flags & MODULE_FLAG_HASH:
        return loader.no_hash or load_filtered(loader, module)
    return ((loader.classes and not record.classes & loader.classes)
            or (loader.gpu == GPU_SKIP and record.classes & DRIVER_CLASS_GPU) or load_filtered(loader, module))


cdef bint load_display(const Loader* loader, uint32_t module) noexcept nogil:
    # Whether MODULE drives a display that the root's init is to find. Behind a hook (core/helper.pxi) is udev.
    return (loader.gpu == GPU_WAIT and not loader.helper
            and loader.index.modules[module].classes & DRIVER_CLASS_GPU != 0)


cdef uint8_t load_rank(uint16_t classes) noexcept nogil:
    # What leads to the root goes first: buses and disks, then USB hosts, then the display, then the rest.
    if classes & (DRIVER_CLASS_STORAGE | DRIVER_CLASS_BUS):
        return 0
    if classes & DRIVER_CLASS_USB:
        return 1
    if classes & DRIVER_CLASS_GPU:
        return 2
    return 3


cdef extern from *:
    """
    /* Modaliases of buses on which nothing is but what a driver found, be it built into the kernel. */
    static const char* const FOUND_BY_DRIVERS[] = {"virtio:", "scsi:", "mmc:", "usb:", "vmbus:", "xen:", 0};
    """
    const char* const* FOUND_BY_DRIVERS


cdef bint load_made(const Loader* loader, const char* modalias) noexcept nogil:
    # Whether a driver made the device of MODALIAS.
    cdef const char* const* bus = FOUND_BY_DRIVERS
    while not loader.walked and bus[0] != NULL:
        if strncmp(modalias, bus[0], strlen(bus[0])) == 0:
            return True
        bus += 1
    return loader.walked


cdef void load_want(Loader* loader, const char* modalias, uint32_t kept, bint traced) noexcept nogil:
    # Queue what MODALIAS (its text kept at KEPT) matches and nothing asked for before. TRACED: the trace's line about
    # the device is to name all that it matches.
    cdef uint32_t i, module
    cdef Wanted* wanted
    if not match_modalias(&loader.search, modalias) or loader.search.builtin:
        return
    for i in range(loader.search.n_hits):
        module = loader.search.hits[i].module
        if load_left_out(loader, module):
            continue
        if traced:
            trace_item(loader, index_name(&loader.index, module))
        if loader.is_wanted[module]:
            continue
        loader.is_wanted[module] = 1
        wanted = loader.wanted + loader.n_wanted
        loader.n_wanted += 1
        wanted.module = module
        wanted.by = kept
        wanted.rank = load_rank(loader.index.modules[module].classes)
        wanted.made = load_made(loader, modalias)


cdef bint load_next(Loader* loader) noexcept nogil:
    # Load the first of the best rank that is wanted, in this process: a display, once the root is mounted. False
    # where nothing is.
    cdef uint32_t i
    cdef Wanted* best = NULL
    for i in range(loader.n_wanted):
        if loader.closing and not load_display(loader, loader.wanted[i].module):
            continue
        if not loader.wanted[i].done and (best == NULL or loader.wanted[i].rank < best.rank):
            best = loader.wanted + i
    if best == NULL:
        return False
    best.done = True
    load_with_needs(loader, best.module, WHY_MODALIAS, loader.texts + best.by, b"")
    return True
