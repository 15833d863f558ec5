# No root: what was awaited, what did appear, and what did not load. On the console even with `quiet`.

cdef void report(Loader* loader, Root* root) noexcept nogil:
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    if root.form == ROOT_NOT_SAID:
        put(&text, b"no root: the kernel command line has no root=")
    elif root.form == ROOT_STRANGE:
        put(&text, b"no root: root=")
        put(&text, root.spec)
        put(&text, b" is of no known form (/dev/NAME, UUID=, LABEL=, PARTUUID=)")
    elif root.refused:
        put(&text, b"no root: root=")
        put(&text, root.spec)
        put(&text, b" is there as /dev/")
        put(&text, root.device.name)
        put(&text, b", but was not mounted: ")
        put(&text, strerror(root.refused))
    else:
        put(&text, b"no root: root=")
        put(&text, root.spec)
        put(&text, b" is not there after ")
        put_number(&text, (seam_now() - loader.started) / 1000000000)
        put(&text, b" s")
    log_line(loader, LOG_ERROR, buffer)
    report_disks(loader, root)
    if not loader.have_modules:
        log_line(loader, LOG_ERROR, b"no module could be loaded: there is no usable index in this image")
        return
    report_modules(loader)


cdef void report_disks(Loader* loader, Root* root) noexcept nogil:
    cdef char buffer[LINE_SIZE]
    cdef Text text
    cdef Seen* seen
    cdef uint32_t i
    if root.n_seen == 0:
        log_line(loader, LOG_ERROR, b"no disk has appeared")
    for i in range(root.n_seen):
        seen = root.seen + i
        root_probe(seen, True, True)
        text = text_over(buffer, sizeof(buffer))
        put(&text, b"disk /dev/")
        put(&text, seen.name)
        put(&text, b": ")
        put(&text, either(seen.kind[0] != 0, seen.kind, b"no filesystem that is known here"))
        report_word(&text, b" UUID=", seen.uuid)
        report_word(&text, b" LABEL=", seen.label)
        report_word(&text, b" PARTUUID=", seen.partuuid)
        log_line(loader, LOG_ERROR, buffer)


cdef void report_word(Text* text, const char* key, const char* value) noexcept nogil:
    if value[0]:
        put(text, key)
        put(text, value)


cdef void report_modules(Loader* loader) noexcept nogil:
    # Counts, then the modules that failed and the modaliases that no module in the image serves.
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef uint32_t i
    cdef const char* at
    put(&text, b"modules: ")
    put_number(&text, loader.n_loaded)
    put(&text, b" loaded, ")
    put_number(&text, loader.n_failed)
    put(&text, b" failed")
    for i in range(loader.index.count[<int>SECTION_MODULES]):
        if loader.states[i] == MODULE_FAILED:
            put_char(&text, c' ')
            put(&text, index_name(&loader.index, i))
    log_line(loader, LOG_ERROR, buffer)
    if loader.n_texts < 2:
        return
    at = loader.texts + 1
    while at < loader.texts + loader.n_texts:
        if not match_modalias(&loader.search, at):
            log_why(loader, LOG_ERROR, b"no driver in this image for", at, b"no alias matches")
        at += strlen(at) + 1
