# modprobe -r: a module out of the kernel, then what was there for it alone.

cdef bint is_unused(Loader* loader, const char* name) noexcept nogil:
    # Whether the kernel says that nothing uses the module; False where it does not say.
    cdef char path[512]
    cdef char count[16]
    cdef Text text = text_over(path, sizeof(path))
    put(&text, loader.sysroot)
    put(&text, b"/sys/module/")
    put(&text, name)
    put(&text, b"/refcnt")
    return read_small(AT_FDCWD, path, count, sizeof(count)) > 0 and strcmp(count, b"0\n") == 0


cdef int remove_one(Loader* loader, const char* name) noexcept nogil:
    # 0 or a negative errno.
    cdef char line[512]
    cdef Text text = text_over(line, sizeof(line))
    if loader.verbose:
        put(&text, b"rmmod ")
        put(&text, name)
        put_char(&text, c'\n')
        write(1, line, text.used)
    return 0 if loader.dry_run else seam_delete_module(name)


cdef int remove_with_needs(Loader* loader, uint32_t module, bint asked) noexcept nogil:
    # MODULE's `post` softdeps, it, its `pre` softdeps and dependencies, those that nothing uses any more; what is not
    # loaded counts as removed. 0, or a negative errno for MODULE, of which a line tells where it was ASKED for.
    cdef const BootIndex* ix = &loader.index
    cdef const Module* record = ix.modules + module
    cdef const char* name = index_name(ix, module)
    cdef const char* why
    cdef int result
    if module >= ix.count[<int>SECTION_MODULES] or loader.plan.visited[module]:
        return 0
    if not is_live(loader, name) or not (asked or is_unused(loader, name)):
        return 0
    loader.plan.visited[module] = 1
    if asked and statement_of(ix, STATEMENT_KIND_REMOVE, name) != NULL:
        log_why(loader, LOG_NOTICE, b"module", name, b"its remove command is not run here; it is removed as usual")
    remove_list(loader, <uint64_t>record.soft + record.n_pre, record.n_post)
    result = remove_one(loader, name)
    if result != 0:
        if asked:
            why = strerror(-result)
            if result == -EAGAIN or result == -EBUSY:
                why = b"in use"
            log_why(loader, LOG_ERROR, b"module", name, why)
        return result
    remove_list(loader, record.soft, record.n_pre)
    remove_list(loader, record.deps, record.n_deps)
    return 0


cdef void remove_list(Loader* loader, uint64_t first, uint32_t n) noexcept nogil:
    # In the reverse of the order in which they are loaded.
    cdef const uint32_t* links = index_links(&loader.index, first, n)
    while links != NULL and n > 0:
        n -= 1
        remove_with_needs(loader, links[n], False)
