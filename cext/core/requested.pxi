# What the user names beside the devices: modules by rd.driver.pre=, rd.driver.post=, modules_load= and
# modules-load.d, and places where the boot is to stop for a shell.

cdef enum:
    BREAK_START = 1  # before the first module
    BREAK_MOUNT = 2  # the root is there
    BREAK_HANDOVER = 4  # the root is mounted


cdef int break_bit(const Word* word) noexcept nogil:
    # dracut's words for the places, of which some are one here.
    if word.value == NULL or word.n_value == 0:
        return BREAK_HANDOVER
    if (same_name(word.value, word.n_value, b"cmdline") or same_name(word.value, word.n_value, b"pre_udev")
            or same_name(word.value, word.n_value, b"pre_trigger")):
        return BREAK_START
    if same_name(word.value, word.n_value, b"initqueue") or same_name(word.value, word.n_value, b"pre_mount"):
        return BREAK_MOUNT
    return BREAK_HANDOVER


cdef void break_at(Loader* loader, Root* root, int place) noexcept nogil:
    # A shell, where rd.break asks for one here; its end lets the boot go on.
    if not root.breaks & place:
        return
    root.breaks &= ~place
    if access(b"/bin/sh", X_OK) != 0:
        log_line(loader, LOG_ERROR, b"rd.break: there is no shell in this image (/bin/sh)")
        return
    log_line(loader, LOG_ERROR, b"rd.break: a shell follows; its end lets the boot go on")
    run_shell()


cdef void requested_load(Loader* loader, const char* word, size_t n, const char* where, bint filtered) noexcept nogil:
    # Load the module or alias of N characters at WORD, which WHERE names. FILTERED: unless a blacklist has it.
    cdef char name[256]
    cdef char why[300]
    cdef Text text = text_over(name, sizeof(name))
    cdef uint32_t hits[MATCH_MOST]
    cdef uint32_t n_hits, i
    put_bytes(&text, word, n)
    if n == 0:
        return
    if not lookup(&loader.search, name):
        text = text_over(why, sizeof(why))
        put(&text, where)
        put(&text, b" asks for it, but it is not in this image")
        log_why(loader, LOG_ERROR, b"module", name, why)
        return
    if loader.search.builtin:
        return
    n_hits = loader.search.n_hits
    for i in range(n_hits):
        hits[i] = loader.search.hits[i].module
    for i in range(n_hits):
        if not (filtered and load_filtered(loader, hits[i])):
            load_with_needs(loader, hits[i], WHY_REQUEST, name, b"")


cdef void requested_words(Loader* loader, const char* key, bint filtered) noexcept nogil:
    # The modules of each KEY=A,B of the command line; `-` and `_` of the key are equal, as for systemd.
    cdef const char* text = loader.cmdline
    cdef Word word
    cdef size_t at, n
    text = cmdline_next(text, &word)
    while text != NULL:
        at = 0
        while word.value != NULL and at <= word.n_value and same_name(word.key, word.n_key, key):
            n = 0
            while at + n < word.n_value and word.value[at + n] != c',':
                n += 1
            requested_load(loader, word.value + at, n, key, filtered)
            at += n + 1
        text = cmdline_next(text, &word)


cdef void requested_before(Loader* loader) noexcept nogil:
    requested_words(loader, b"rd.driver.pre", False)


cdef bint requested_after(Loader* loader) noexcept nogil:
    # When the devices have what they asked for. False: it was done before.
    if loader.asked_after:
        return False
    loader.asked_after = True
    requested_words(loader, b"rd.modules_load", True)
    requested_words(loader, b"modules_load", True)
    requested_files(loader)
    requested_words(loader, b"rd.driver.post", False)
    return True


cdef const char* load_directory(int number) noexcept nogil:
    # modules-load.d(5): a file in an earlier one hides those of its name in later ones.
    if number == 0:
        return b"/etc/modules-load.d"
    if number == 1:
        return b"/run/modules-load.d"
    if number == 2:
        return b"/usr/local/lib/modules-load.d"
    return either(number == 3, b"/usr/lib/modules-load.d", b"/lib/modules-load.d")


cdef void requested_files(Loader* loader) noexcept nogil:
    # All files in the order of their names, wherever they are. The next name is looked for each time: there are few.
    cdef char last[256]
    cdef char name[256]
    cdef int directory
    last[0] = 0
    while True:
        name[0] = 0
        directory = -1
        requested_next(last, name, &directory)
        if directory < 0:
            return
        requested_file(loader, load_directory(directory), name)
        memcpy(last, name, sizeof(last))


cdef void requested_next(const char* last, char* name, int* directory) noexcept nogil:
    # The first name after LAST, and the first directory that has it; -1 where there is none.
    cdef char batch[2048]
    cdef ssize_t n, at
    cdef const char* entry
    cdef size_t length
    cdef int number, fd
    for number in range(5):
        fd = open(load_directory(number), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        n = read_directory(fd, batch, sizeof(batch)) if fd >= 0 else 0
        while n > 0:
            at = 0
            entry = directory_entry(batch, n, &at)
            while entry != NULL:
                length = strlen(entry)
                if (length > 5 and length < 256 and strcmp(entry + length - 5, b".conf") == 0
                        and strcmp(entry, last) > 0 and (name[0] == 0 or strcmp(entry, name) < 0)):
                    memcpy(name, entry, length + 1)
                    directory[0] = number
                entry = directory_entry(batch, n, &at)
            n = read_directory(fd, batch, sizeof(batch))
        if fd >= 0:
            close(fd)


cdef void requested_file(Loader* loader, const char* directory, const char* name) noexcept nogil:
    # A module a line; what begins with `#` or `;` is a comment. A link to /dev/null is an empty file.
    cdef char path[512]
    cdef Text text = text_over(path, sizeof(path))
    cdef char buffer[8192]
    cdef const char* line = buffer
    cdef size_t n
    put(&text, directory)
    put_char(&text, c'/')
    put(&text, name)
    read_small(AT_FDCWD, path, buffer, sizeof(buffer))
    while line[0]:
        while line[0] == c' ' or line[0] == c'\t':
            line += 1
        n = 0
        while line[n] and line[n] != c'\n':
            n += 1
        while n and (line[n - 1] == c' ' or line[n - 1] == c'\t' or line[n - 1] == c'\r'):
            n -= 1
        if line[0] != c'#' and line[0] != c';':
            requested_load(loader, line, n, path, True)
        line = next_line(line)
