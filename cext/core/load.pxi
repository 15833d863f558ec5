# Loading: one module with its options, its dependencies' fate in mind, and the queue of what is wanted.

cdef const char* load_error(int number) noexcept nogil:
    # Why the kernel refused a module. Its own log line, if any, stands above ours.
    if number == ENOENT:
        return b"unknown symbol (then the kernel names it in the line above), or its init found something missing"
    if number == ENOEXEC:
        return b"not a module for this kernel (other version or architecture, or damaged)"
    if number == EOPNOTSUPP:
        return b"compressed, and this kernel does not decompress modules"
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


cdef int load_module(Loader* loader, const Step* step, const char* by, const char* extra) noexcept nogil:
    # Load one module, all of whose dependencies have been tried: 0 or a negative errno, kept in `states`.
    # BY is what asked for it, EXTRA further options. A message tells of a failure, and of an install command.
    cdef const BootIndex* ix = &loader.index
    cdef const Module* record = ix.modules + step.module
    cdef const char* name = index_string(ix, record.name)
    cdef const char* path = index_string(ix, record.path)
    cdef const char* failed = load_missing(loader, record)
    cdef int64_t begun = seam_now()
    cdef int result = -EINVAL
    cdef bint by_kernel = False
    cdef const char* why = NULL
    cdef char buffer[4096]
    cdef char reason[256]
    cdef Text options = text_over(buffer, sizeof(buffer))
    cdef Text text = text_over(reason, sizeof(reason))
    if index_forbidden(ix, step.module) and not (loader.check_live and is_live(loader, name)):
        return load_forbidden(loader, step, by)
    put_options(&options, ix, record, either(step.why == WHY_MODALIAS, by, b""))
    cmdline_options(loader.cmdline, name, &options)
    if extra[0]:
        if options.used:
            put_char(&options, c' ')
        put(&options, extra)
    if failed != NULL:
        put(&text, b"it needs ")
        put(&text, failed)
        put(&text, b", which was not loaded")
        why = reason
    elif not path_stays_inside(path):
        why = b"its path in the index leads out of the modules' directory"
    elif options.cut:
        why = TOO_LONG
    elif cmdline_blacklisted(loader.cmdline, name, &by_kernel) and by_kernel:
        result = -EPERM
        why = b"blacklisted on the kernel command line (module_blacklist=)"
    elif loader.check_live and is_live(loader, name):
        loader.states[step.module] = MODULE_LOADED
        return 0
    else:
        if loader.verbose or loader.dry_run:
            print_insmod(loader, path, &options, extra, step, by)
        if record.flags & MODULE_FLAG_INSTALL and not loader.dry_run:
            log_install(loader, name, b"its install command at ", b" is not run at boot; it is loaded as usual")
        result = 0 if loader.dry_run else load_file(loader.modules_fd, path, buffer, record.flags, &why)
    if result == 0:
        loader.states[step.module] = MODULE_LOADED
        loader.n_loaded += 1
    else:
        loader.states[step.module] = MODULE_FAILED
        loader.n_failed += 1
        failure_keep(loader, name, why)
        # A driver that finds nothing to do is no fault (crc32c_intel without SSE 4.2, many a platform driver).
        log_why(loader, LOG_INFO if result == -ENODEV else LOG_ERROR, b"module", name, why)
    if trace_begin(loader, begun, b"module"):
        trace_text(loader, b"name", name)
        trace_text(loader, b"why", why_word(step.why))
        trace_text(loader, b"by", by)
        trace_number(loader, b"dur", seam_now() - begun)
        trace_number(loader, b"result", result)
        if why != NULL:
            trace_text(loader, b"error", why)
        trace_end(loader)
    return result


cdef int load_forbidden(Loader* loader, const Step* step, const char* by) noexcept nogil:
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
    return 0 if skipped else -EPERM


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


cdef int load_new(int directory, const char* path, const char* options, uint32_t flags,
                  const char** why) noexcept nogil:
    # Hand a file to the kernel: 0, or a negative errno with WHY.
    cdef int result
    cdef int fd = openat(directory, path, O_RDONLY | O_CLOEXEC)
    if fd < 0:
        result = -errno
        why[0] = either(result == -ENOENT, b"its file is not here", strerror(-result))
        return result
    result = seam_finit_module(fd, options, MODULE_INIT_COMPRESSED_FILE if flags & MODULE_FLAG_COMPRESSED else 0)
    close(fd)
    if result != 0:
        why[0] = load_error(-result)
    return result


cdef int load_file(int directory, const char* path, const char* options, uint32_t flags,
                   const char** why) noexcept nogil:
    # As load_new(), but a module that is there already is no failure.
    cdef int result = load_new(directory, path, options, flags, why)
    if result == -EEXIST:
        why[0] = NULL
        return 0
    return result


cdef bint is_live(Loader* loader, const char* name) noexcept nogil:
    # Whether the kernel has the module or is at it already. From 6.5 on a load of a module that is being loaded waits
    # for it: a module that asks for itself through modprobe would wait for ever.
    cdef char path[512]
    cdef char state[16]
    cdef Text text = text_over(path, sizeof(path))
    put(&text, loader.sysroot)
    put(&text, b"/sys/module/")
    put(&text, name)
    put(&text, b"/initstate")
    return read_small(AT_FDCWD, path, state, sizeof(state)) > 0


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


cdef bint load_filtered(Loader* loader, uint32_t module) noexcept nogil:
    # Whether a blacklist keeps MODULE from being loaded on behalf of an alias.
    cdef bint by_kernel = False
    return (index_blacklisted(&loader.index, module)
            or cmdline_blacklisted(loader.cmdline, index_name(&loader.index, module), &by_kernel))


cdef uint8_t load_rank(uint16_t classes) noexcept nogil:
    # What leads to the root goes first: buses and disks, then USB hosts, then the display, then the rest.
    if classes & (DRIVER_CLASS_STORAGE | DRIVER_CLASS_BUS):
        return 0
    if classes & DRIVER_CLASS_USB:
        return 1
    if classes & DRIVER_CLASS_GPU:
        return 2
    return 3


cdef void load_want(Loader* loader, const char* modalias, uint32_t kept) noexcept nogil:
    # Queue what MODALIAS (its text kept at KEPT) matches and nothing asked for before.
    cdef uint32_t i, module
    cdef Wanted* wanted
    if not match_modalias(&loader.search, modalias) or loader.search.builtin:
        return
    for i in range(loader.search.n_hits):
        module = loader.search.hits[i].module
        if loader.is_wanted[module] or load_filtered(loader, module):
            continue
        loader.is_wanted[module] = 1
        wanted = loader.wanted + loader.n_wanted
        loader.n_wanted += 1
        wanted.module = module
        wanted.by = kept
        wanted.rank = load_rank(loader.index.modules[module].classes)


cdef bint load_next(Loader* loader) noexcept nogil:
    # Load the first of the best rank that is wanted. False where nothing is.
    cdef uint32_t i
    cdef Wanted* best = NULL
    for i in range(loader.n_wanted):
        if not loader.wanted[i].done and (best == NULL or loader.wanted[i].rank < best.rank):
            best = loader.wanted + i
    if best == NULL:
        return False
    best.done = True
    load_with_needs(loader, best.module, WHY_MODALIAS, loader.texts + best.by, b"")
    return True
