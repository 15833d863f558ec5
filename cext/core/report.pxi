# No root: what was awaited, what did appear, and what did not load. On the console even with `quiet`, in the kernel's
# log, and as JSON (docs/boot.md has its schema) in /run/tinykmod.

cdef enum:
    REPORT_SIZE = 1 << 18
    REASONS_SIZE = 1 << 14


cdef extern from *:
    """
    #define REPORT_PATH "/run/tinykmod/report.json"
    #define REPORT_NEW REPORT_PATH ".new"
    """
    const char* REPORT_PATH
    const char* REPORT_NEW


cdef struct Report:
    Loader* loader
    Text json  # without memory for it: no data
    bint first  # the next item of the open list is its first


cdef void failure_keep(Loader* loader, const char* name, const char* why) noexcept nogil:
    # Keep why a module was not loaded: NAME and WHY, each with its NUL.
    cdef char* buffer
    if loader.reasons.data == NULL:
        buffer = <char*>take_pages(REASONS_SIZE)
        if buffer == NULL:
            return
        loader.reasons = text_over(buffer, REASONS_SIZE)
    if loader.reasons.size - loader.reasons.used < strlen(name) + strlen(why) + 3:
        return
    put_bytes(&loader.reasons, name, strlen(name) + 1)
    put_bytes(&loader.reasons, why, strlen(why) + 1)


cdef const char* failure_why(const Loader* loader, const char* name) noexcept nogil:
    cdef const char* at = loader.reasons.data
    cdef bint found
    while at != NULL and at < loader.reasons.data + loader.reasons.used:
        found = strcmp(at, name) == 0
        at += strlen(at) + 1
        if found:
            return at
        at += strlen(at) + 1
    return b"modprobe.d forbids it"


cdef void report(Loader* loader, Root* root) noexcept nogil:
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef Report report
    cdef char* memory = <char*>take_pages(REPORT_SIZE)
    memset(&report, 0, sizeof(report))
    report.loader = loader
    if memory != NULL:
        report.json = text_over(memory, REPORT_SIZE)
    report_headline(&text, loader, root)
    log_line(loader, LOG_ERROR, buffer)
    report_put(&report, b'{"root":')
    report_string(&report, root.spec)
    report_put(&report, b',"why":')
    report_string(&report, buffer)
    report_put(&report, b',"seconds":')
    report_number(&report, (seam_now() - loader.started) / 1000000000)
    if root.value != NULL or not loader.helper:
        report_disks(&report, root)
    report_modules(&report)
    report_coming(&report)
    report_deferred(&report)
    report_firmware(&report)
    report_put(&report, b"}\n")
    report_write(&report)


cdef void report_headline(Text* text, Loader* loader, const Root* root) noexcept nogil:
    if loader.helper and root.form == ROOT_NOT_SAID:
        put(text, b"not all modules are loaded after ")
        put_number(text, (seam_now() - loader.started) / 1000000000)
        put(text, b" s")
        return
    put(text, b"no root: ")
    if root.form == ROOT_NOT_SAID:
        put(text, b"the kernel command line has no root=")
        return
    put(text, b"root=")
    put(text, root.spec)
    if root.form == ROOT_STRANGE:
        put(text, b" is of no known form (/dev/NAME, MAJ:MIN, UUID=, LABEL=, PARTUUID=, PARTLABEL=, or "
                  b"/dev/disk/by- with one of those)")
    elif root.refused:
        put(text, b" is there as /dev/")
        put(text, root.device.name)
        put(text, b", but was not mounted: ")
        put(text, strerror(root.refused))
    else:
        put(text, b" is not there after ")
        put_number(text, (seam_now() - loader.started) / 1000000000)
        put(text, b" s")


cdef void report_put(Report* report, const char* text) noexcept nogil:
    if report.json.data != NULL:
        put(&report.json, text)


cdef void report_string(Report* report, const char* text) noexcept nogil:
    if report.json.data != NULL:
        put_json(&report.json, text)


cdef void report_number(Report* report, int64_t number) noexcept nogil:
    if report.json.data != NULL:
        put_number(&report.json, number)


cdef void report_open(Report* report, const char* key) noexcept nogil:
    report_put(report, b',"')
    report_put(report, key)
    report_put(report, b'":[')
    report.first = True


cdef void report_item(Report* report) noexcept nogil:
    report_put(report, either(report.first, b"", b","))
    report.first = False


cdef void report_pair(Report* report, const char* key, const char* value) noexcept nogil:
    # `,"KEY":"VALUE"`, where there is a value.
    if value[0]:
        report_put(report, b',"')
        report_put(report, key)
        report_put(report, b'":')
        report_string(report, value)


cdef void report_two(Report* report, const char* key, const char* value, const char* other,
                     const char* why) noexcept nogil:
    # An item of two texts.
    report_item(report)
    report_put(report, b'{"')
    report_put(report, key)
    report_put(report, b'":')
    report_string(report, value)
    report_pair(report, other, why)
    report_put(report, b"}")


cdef void report_disks(Report* report, Root* root) noexcept nogil:
    # A line each; JSON only for a card reader without a card, and RAM and loop devices (1, 7) that hold nothing.
    cdef char buffer[LINE_SIZE]
    cdef Text text
    cdef Seen* seen
    cdef uint32_t i
    cdef uint32_t n = 0
    report_open(report, b"disks")
    for i in range(root.n_seen):
        seen = root.seen + i
        seen_all(root, seen)
        report_item(report)
        report_put(report, b'{"device":"/dev/')
        report_put(report, seen.name)
        report_put(report, b'","size":')
        report_number(report, <int64_t>seen.size)
        report_pair(report, b"type", seen.kind)
        report_pair(report, b"uuid", seen.uuid)
        report_pair(report, b"label", seen.label)
        report_pair(report, b"partuuid", seen.partuuid)
        report_pair(report, b"partlabel", seen.partlabel)
        report_put(report, b"}")
        if seen.size == 0 or (seen.kind[0] == 0 and (seen.major == 1 or seen.major == 7)):
            continue
        n += 1
        text = text_over(buffer, sizeof(buffer))
        put(&text, b"disk /dev/")
        put(&text, seen.name)
        put(&text, b" (")
        put_number(&text, <int64_t>(seen.size >> 20))
        put(&text, b" MiB): ")
        put(&text, either(seen.kind[0] != 0, seen.kind, b"no filesystem that is known here"))
        report_word(&text, b" UUID=", seen.uuid)
        report_word(&text, b" LABEL=", seen.label)
        report_word(&text, b" PARTUUID=", seen.partuuid)
        report_word(&text, b" PARTLABEL=", seen.partlabel)
        log_line(report.loader, LOG_ERROR, buffer)
    report_put(report, b"]")
    if n == 0:
        log_line(report.loader, LOG_ERROR, b"no disk has appeared")


cdef void report_word(Text* text, const char* key, const char* value) noexcept nogil:
    if value[0]:
        put(text, key)
        put(text, value)


cdef void report_modules(Report* report) noexcept nogil:
    # Counts, the modules that failed, then the modaliases that nothing in the image serves, and those that failed.
    cdef Loader* loader = report.loader
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef uint32_t i
    report_put(report, b',"loaded":')
    report_number(report, loader.n_loaded)
    report_open(report, b"failed")
    if not loader.have_modules:
        report_put(report, b"]")
        log_line(loader, LOG_ERROR, b"no module could be loaded: there is no usable index in this image")
        return
    put(&text, b"modules: ")
    put_number(&text, loader.n_loaded)
    put(&text, b" loaded, ")
    put_number(&text, loader.n_failed)
    put(&text, b" failed")
    for i in range(loader.index.count[<int>SECTION_MODULES]):
        if loader.states[i] == MODULE_FAILED:
            report_two(report, b"module", index_name(&loader.index, i), b"why",
                       failure_why(loader, index_name(&loader.index, i)))
            put_char(&text, c' ')
            put(&text, index_name(&loader.index, i))
    log_line(loader, LOG_ERROR, buffer)
    report_put(report, b"]")
    report_modaliases(report, b"without_driver", False)
    report_modaliases(report, b"driver_failed", True)


cdef void report_modaliases(Report* report, const char* key, bint failed) noexcept nogil:
    # FAILED: those with a module that was tried in vain; else those that lead to none in the image.
    cdef Loader* loader = report.loader
    cdef const char* at = loader.texts + 1
    cdef const char* name
    cdef char buffer[LINE_SIZE]
    cdef Text text
    cdef uint32_t i
    cdef bint matched
    report_open(report, key)
    while at < loader.texts + loader.n_texts:
        matched = match_modalias(&loader.search, at)
        if not matched and not failed:
            report_item(report)
            report_string(report, at)
            log_why(loader, LOG_ERROR, b"no driver in this image for", at, b"no alias matches")
        for i in range(loader.search.n_hits if matched and failed and not loader.search.builtin else 0):
            name = hit_name(&loader.search, loader.search.hits + i)
            if loader.states[loader.search.hits[i].module] == MODULE_FAILED:
                report_two(report, b"modalias", at, b"module", name)
                text = text_over(buffer, sizeof(buffer))
                put(&text, name)
                put(&text, b": ")
                put(&text, failure_why(loader, name))
                log_why(loader, LOG_ERROR, b"the driver failed of", at, buffer)
        at += strlen(at) + 1
    report_put(report, b"]")


cdef void report_coming(Report* report) noexcept nogil:
    # Modules that are in their init, and for how long: those of the workers, and what something else is loading, of
    # which /sys/module/NAME/initstate says `coming`, but nothing since when.
    cdef Loader* loader = report.loader
    cdef uint32_t i
    cdef char batch[4096]
    cdef char path[300]
    cdef char state[16]
    cdef Text text
    cdef ssize_t at
    cdef const char* name
    cdef int fd = open(b"/sys/module", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    cdef ssize_t n = read_directory(fd, batch, sizeof(batch)) if fd >= 0 else 0
    report_open(report, b"in_init")
    for i in range(loader.n_workers):
        if loader.workers[i].busy:
            report_in_init(report, index_name(&loader.index, loader.workers[i].module),
                           (seam_now() - loader.workers[i].begun) / 1000000000,
                           engine_live(loader, loader.workers[i].module))
    while n > 0:
        at = 0
        name = directory_entry(batch, n, &at)
        while name != NULL:
            text = text_over(path, sizeof(path))
            put(&text, name)
            put(&text, b"/initstate")
            if (read_small(fd, path, state, sizeof(state)) > 0 and starts(state, b"coming") != NULL
                    and not report_has_worker(loader, name)):
                report_in_init(report, name, -1, False)
            name = directory_entry(batch, n, &at)
        n = read_directory(fd, batch, sizeof(batch))
    if fd >= 0:
        close(fd)
    report_put(report, b"]")


cdef bint report_has_worker(const Loader* loader, const char* name) noexcept nogil:
    cdef uint32_t i
    for i in range(loader.n_workers):
        if loader.workers[i].busy and strcmp(index_name(&loader.index, loader.workers[i].module), name) == 0:
            return True
    return False


cdef void report_in_init(Report* report, const char* name, int64_t seconds, bint live) noexcept nogil:
    # SECONDS: -1 where they are not known. LIVE: the init has returned, to a load that waits for others' probes.
    cdef char buffer[64]
    cdef Text text = text_over(buffer, sizeof(buffer))
    put(&text, either(live, b"is loaded, but some device is still being probed", b"is still in its init"))
    report_item(report)
    report_put(report, b'{"module":')
    report_string(report, name)
    if seconds >= 0:
        report_put(report, b',"seconds":')
        report_number(report, seconds)
        put(&text, b" after ")
        put_number(&text, seconds)
        put(&text, b" s")
    if live:
        report_put(report, b',"live":true')
    report_put(report, b"}")
    log_why(report.loader, LOG_ERROR, b"module", name, buffer)


cdef void report_deferred(Report* report) noexcept nogil:
    # Devices whose probe waits for another device: `DEVICE\tREASON` lines, the reason if the kernel has one.
    cdef char list[8192]
    cdef char* line = list
    cdef char* end
    cdef char* tab
    # debugfs is mounted for the time of the look, unless it is there: what is not asked for stays closed. Whoever
    # calls a helper has it as it is.
    cdef bint mounted = (not report.loader.helper
                         and mount(b"debugfs", b"/sys/kernel/debug", b"debugfs", 0, NULL) == 0)
    read_small(AT_FDCWD, b"/sys/kernel/debug/devices_deferred", list, sizeof(list))
    if mounted:
        umount2(b"/sys/kernel/debug", MNT_DETACH)
    report_open(report, b"deferred")
    while line[0]:
        end = <char*>next_line(line)
        if (end - 1)[0] == c'\n':
            (end - 1)[0] = 0
        tab = <char*>memchr(line, c'\t', strlen(line))
        if tab != NULL:
            tab[0] = 0
            tab += 1
        report_two(report, b"device", line, b"reason", either(tab != NULL, tab, b""))
        log_why(report.loader, LOG_ERROR, b"probe put off of", line, either(tab != NULL, tab, b"no reason given"))
        line = end
    report_put(report, b"]")


cdef void report_firmware(Report* report) noexcept nogil:
    # Files that drivers asked for in vain, as the kernel's log tells (drivers/base/firmware_loader/main.c).
    # Debian's own "firmware: failed to load" is of each name that it tries, also where it then finds NAME.xz.
    cdef char record[8192]
    cdef const char* name
    cdef size_t n
    cdef ssize_t got
    cdef size_t before
    cdef int fd = open(b"/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    report_open(report, b"firmware")
    before = report.json.used
    while fd >= 0:
        got = read(fd, record, sizeof(record) - 1)
        # EPIPE: the log has run over what was to come next.
        if got < 0 and (errno == EPIPE or errno == EINTR):
            continue
        if got <= 0:
            break
        record[got] = 0
        name = firmware_name(record)
        if name == NULL:
            continue
        n = 0
        while name[n] and name[n] != c' ' and name[n] != c'\n':
            n += 1
        (<char*>name)[n] = 0
        if report.json.data != NULL and firmware_told(report.json.data + before, name):
            continue
        report_item(report)
        report_string(report, name)
        log_why(report.loader, LOG_ERROR, b"firmware", name, b"was asked for and is not in this image")
    if fd >= 0:
        close(fd)
    report_put(report, b"]")


cdef const char* firmware_name(const char* record) noexcept nogil:
    cdef const char* after
    while record[0]:
        after = starts(record, b"Direct firmware load for ")
        if after != NULL:
            return after
        record += 1
    return NULL


cdef bint firmware_told(const char* list, const char* name) noexcept nogil:
    # Whether the JSON list so far has NAME.
    cdef size_t n = strlen(name)
    while list[0]:
        if list[0] == c'"' and strncmp(list + 1, name, n) == 0 and list[n + 1] == c'"':
            return True
        list += 1
    return False


cdef void report_write(Report* report) noexcept nogil:
    # Beside its place and renamed, so that a reader never sees half.
    cdef size_t done = 0
    cdef ssize_t n = 1
    cdef int fd = open(REPORT_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    while fd >= 0 and n > 0 and done < report.json.used:
        n = write(fd, report.json.data + done, report.json.used - done)
        done += <size_t>n if n > 0 else 0
    if fd >= 0:
        close(fd)
        rename(REPORT_NEW, REPORT_PATH)
