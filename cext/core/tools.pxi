# What the loader does when it is called by another name: modprobe, insmod, rmmod, lsmod, modinfo; and its own
# words.

cdef struct Options:
    const char* root  # -d; modinfo: -b
    const char* sysroot  # --sysroot
    const char* release  # -S; modinfo: -k
    const char* field  # modinfo -F
    const char* output  # snapshot -o
    uint32_t jobs  # coldplug -j
    const char* wait_root  # and its --wait-root, --timeout, --class
    int64_t seconds
    const char* classes
    bint quiet
    bint all
    bint dry_run
    bint verbose
    bint depends  # modprobe -D
    bint resolve  # modprobe -R
    bint remove  # modprobe -r
    bint config  # modprobe -c


cdef const char* short_option(const char* word) noexcept nogil:
    # kmod's long options by their letters.
    if strcmp(word, b"--quiet") == 0:
        return b"-q"
    if strcmp(word, b"--all") == 0:
        return b"-a"
    if strcmp(word, b"--dry-run") == 0 or strcmp(word, b"--show") == 0:
        return b"-n"
    if strcmp(word, b"--verbose") == 0:
        return b"-v"
    if strcmp(word, b"--show-depends") == 0:
        return b"-D"
    if strcmp(word, b"--resolve-alias") == 0:
        return b"-R"
    if strcmp(word, b"--remove") == 0:
        return b"-r"
    if strcmp(word, b"--showconfig") == 0 or strcmp(word, b"--show-config") == 0:
        return b"-c"
    if strcmp(word, b"--field") == 0:
        return b"-F"
    return word


cdef bint has_char(const char* text, char c) noexcept nogil:
    return memchr(text, c, strlen(text)) != NULL


cdef bint tool_options(Options* options, int argc, char** argv, int* first, const char* usage, const char* values,
                       const char* flags) noexcept nogil:
    # Options in front of the words: those of the letters VALUES with a word behind them, those of the letters FLAGS
    # also together (-qn). `-` among VALUES: coldplug's long ones. False: a wrong one, and the usage was printed.
    cdef const char* word
    cdef const char* value
    cdef uint64_t number
    cdef int i = 1
    memset(options, 0, sizeof(Options))
    options.root = options.sysroot = b""
    options.jobs = JOBS_USUAL
    options.seconds = ROOT_LIMIT
    while i < argc and argv[i][0] == c'-' and argv[i][1]:
        word = argv[i]
        i += 1
        if strcmp(word, b"--") == 0:
            break
        value = long_option(b"--sysroot", argc, argv, &i)
        if value != NULL:
            options.sysroot = value
            continue
        if has_char(values, c'-'):
            value = long_option(b"--wait-root", argc, argv, &i)
            if value != NULL:
                options.wait_root = value
                continue
            value = long_option(b"--class", argc, argv, &i)
            if value != NULL:
                options.classes = value
                continue
            value = long_option(b"--timeout", argc, argv, &i)
            if value != NULL and parse_number(value, strlen(value), &number):
                options.seconds = <int64_t>number
                continue
        word = short_option(word) + 1
        if has_char(values, word[0]) and word[1] == 0 and i < argc:
            value = argv[i]
            i += 1
            if word[0] == c'F':
                options.field = value
            elif word[0] == c'o':
                options.output = value
            elif word[0] == c'd' or word[0] == c'b':
                options.root = value
            elif word[0] == c'j':
                options.jobs = tool_jobs(value)
            else:
                options.release = value
            continue
        while word[0]:
            if not has_char(flags, word[0]):
                tool_usage(usage)
                return False
            if word[0] == c'q':
                options.quiet = True
            elif word[0] == c'a':
                options.all = True
            elif word[0] == c'n':
                options.dry_run = True
            elif word[0] == c'v':
                options.verbose = True
            elif word[0] == c'D':
                options.depends = options.dry_run = True
            elif word[0] == c'R':
                options.resolve = True
            elif word[0] == c'r':
                options.remove = True
            elif word[0] == c'c':
                options.config = True
            word += 1
    first[0] = i
    return True


cdef const char* long_option(const char* name, int argc, char** argv, int* next) noexcept nogil:
    # The value of the option NAME, if the word before NEXT is it: behind its `=`, or in the next word. NULL: not it.
    cdef const char* after = starts(argv[next[0] - 1], name)
    if after == NULL or (after[0] and after[0] != c'='):
        return NULL
    if after[0] == c'=':
        return after + 1
    if next[0] >= argc:
        return NULL
    next[0] += 1
    return argv[next[0] - 1]


cdef uint32_t tool_jobs(const char* value) noexcept nogil:
    # From 1 to JOBS_MOST, whatever was said.
    cdef uint64_t number = 0
    if not parse_number(value, strlen(value), &number) or number < 1:
        return 1
    return <uint32_t>number if number < JOBS_MOST else JOBS_MOST


cdef int tool_usage(const char* usage) noexcept nogil:
    write(2, b"usage: ", 7)
    write(2, usage, strlen(usage))
    write(2, b"\n", 1)
    return 2


cdef bint tool_open(Loader* loader, const Options* options) noexcept nogil:
    # The index (or the text files) of the running kernel, or of -S in -d. False, and a line, where there is neither.
    cdef char path[4096]
    cdef Text text = text_over(path, sizeof(path))
    cdef Text release
    cdef utsname name
    cdef stat_t status
    cdef const char* why
    memset(loader, 0, sizeof(Loader))
    loader.kmsg = loader.modules_fd = loader.trace_fd = -1
    # The kernel starts its helper without any descriptor.
    if fstat(2, &status) != 0:
        loader.kmsg = open(b"/dev/kmsg", O_WRONLY | O_CLOEXEC)
    loader.root = options.root
    loader.sysroot = options.sysroot
    loader.dry_run = options.dry_run
    loader.verbose = options.verbose
    loader.quiet = options.quiet
    uname(&name)
    release = text_over(loader.release, sizeof(loader.release))
    put(&release, options.release if options.release != NULL else name.release)
    put(&text, options.sysroot)
    put(&text, b"/proc/cmdline")
    read_small(AT_FDCWD, path, loader.cmdline, sizeof(loader.cmdline))
    why = modules_open(loader)
    if why != NULL and textfiles_open(&loader.index, loader.modules_fd) != NULL:
        if not options.quiet:
            log_why(loader, LOG_ERROR, b"boot index of", loader.release, why)
        return False
    loader.have_modules = state_prepare(loader)
    return loader.have_modules


cdef const char* modules_open(Loader* loader) noexcept nogil:
    # Open /lib/modules/RELEASE and the index in this program, or the one there. NULL, or why there is none.
    cdef char path[4096]
    cdef Text text = text_over(path, sizeof(path))
    cdef uint64_t size = 0
    cdef void* data
    cdef const char* why
    cdef int fd
    put(&text, loader.root)
    put(&text, b"/lib/modules/")
    put(&text, loader.release)
    loader.modules_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if loader.root[0] == 0:
        loader.frozen = frozen_open()
    if loader.frozen != NULL:
        why = index_fits(loader, loader.frozen, FROZEN.index)
        if why == NULL:
            return NULL
        loader.frozen = NULL
        if loader.modules_fd < 0:
            return why
    if loader.modules_fd < 0:
        return b"the image has no /lib/modules for this kernel"
    fd = openat(loader.modules_fd, b"tinykmod.tki", O_RDONLY | O_CLOEXEC)
    if fd < 0:
        return b"there is no tinykmod.tki"
    data = map_file(fd, &size)
    close(fd)
    if data == NULL:
        return b"empty or unreadable"
    return index_fits(loader, data, size)


cdef const char* index_fits(Loader* loader, const void* data, uint64_t size) noexcept nogil:
    # Open the index in the SIZE bytes at DATA. NULL, or why it is none for this kernel.
    cdef const char* why = index_open(&loader.index, data, size)
    if why == NULL and strcmp(index_string(&loader.index, loader.index.header.release), loader.release) != 0:
        return b"made for another kernel"
    return why


cdef bint tool_lookup(Loader* loader, const char* name) noexcept nogil:
    # lookup(), and a line where NAME leads nowhere, as `alias x off` does.
    if lookup(&loader.search, name) and loader.search.n_hits:
        return True
    if not loader.quiet:
        log_why(loader, LOG_ERROR, b"module", name, b"not found in this image's index")
    return False


cdef void print_line(const char* word, const char* name, const char* rest) noexcept nogil:
    # `WORD NAME [REST]`
    cdef char buffer[8192]
    cdef Text text = text_over(buffer, sizeof(buffer))
    put(&text, word)
    put(&text, either(word[0], b" ", b""))
    put(&text, name)
    put(&text, either(rest[0], b" ", b""))
    put(&text, rest)
    put_char(&text, c'\n')
    write(1, buffer, text.used)


cdef int modprobe_one(Loader* loader, const char* name, const char* extra) noexcept nogil:
    # Load what NAME leads to: 0, or 1. Of several modules of an alias the last one's result counts (kmod).
    cdef const Hit* hits = loader.search.hits
    cdef uint32_t i
    cdef bint by_alias
    cdef int result = 0
    if not tool_lookup(loader, name):
        return 1
    if loader.search.builtin:
        for i in range(loader.search.n_hits):
            if loader.dry_run:
                print_line(b"builtin", hit_name(&loader.search, hits + i), b"")
        return 0
    for i in range(loader.search.n_hits):
        by_alias = not is_none(hits[i].value)
        if by_alias and load_filtered(loader, hits[i].module):
            continue
        result = load_with_needs(loader, hits[i].module, WHY_MODALIAS if by_alias else WHY_REQUEST, name, extra)
    return 1 if result != 0 else 0


cdef int modprobe_resolve(Loader* loader, const char* name) noexcept nogil:
    # -R: the names of the modules that NAME leads to.
    cdef uint32_t i
    if not tool_lookup(loader, name):
        return 1
    for i in range(loader.search.n_hits):
        print_line(b"", hit_name(&loader.search, loader.search.hits + i), b"")
    return 0


cdef int modprobe_remove(Loader* loader, const char* name) noexcept nogil:
    # -r: the modules that NAME leads to, out of the kernel.
    cdef uint32_t i
    cdef int failed = 0
    if not tool_lookup(loader, name):
        return 1
    for i in range(loader.search.n_hits):
        if loader.search.builtin:
            log_why(loader, LOG_ERROR, b"module", hit_name(&loader.search, loader.search.hits + i), b"builtin")
            failed = 1
        elif remove_with_needs(loader, loader.search.hits[i].module, True) != 0:
            failed = 1
    return failed


cdef int modprobe_config(const BootIndex* ix) noexcept nogil:
    # -c: what modprobe.d said when the index was made.
    cdef uint32_t i
    for i in range(ix.count[<int>SECTION_STATEMENTS]):
        print_line(statement_word(ix.statements[i].kind), index_string(ix, ix.statements[i].name),
                   index_string(ix, ix.statements[i].text))
    return 0


cdef int modprobe_main(int argc, char** argv) noexcept nogil:
    # modprobe [-qnvDR] [-d ROOT] [-S VERSION] NAME|ALIAS [PARAM[=VALUE]...], -a or -r NAME|ALIAS..., or -c
    cdef Options options
    cdef Loader loader
    cdef char buffer[4096]
    cdef Text extra = text_over(buffer, sizeof(buffer))
    cdef const char* usage = b"modprobe [-qnvDR] [-d ROOT] [-S VERSION] [-a|-r|-c] NAME|ALIAS [PARAM=VALUE...]"
    cdef int first, i
    cdef int result = 0
    if not tool_options(&options, argc, argv, &first, usage, b"dS", b"qanvDRrc"):
        return 1
    if first >= argc and not options.config:
        tool_usage(usage)
        return 1
    if not tool_open(&loader, &options):
        return 1
    if options.config:
        return modprobe_config(&loader.index)
    if options.resolve or options.remove:
        for i in range(first, argc if options.all or options.remove else first + 1):
            state_forget(&loader)
            if (modprobe_remove if options.remove else modprobe_resolve)(&loader, argv[i]) != 0:
                result = 1
        return result
    # -D tells what would be loaded into a kernel that has nothing.
    loader.check_live = not options.depends
    if not options.dry_run:
        modprobe_trace(&loader)
    if not options.all:
        join_options(&extra, argc, argv, first + 1)
        if extra.cut:
            log_why(&loader, LOG_ERROR, b"module", argv[first], TOO_LONG)
            return 1
        result = modprobe_one(&loader, argv[first], buffer)
        argc = first
    for i in range(first, argc):
        if options.dry_run:
            state_forget(&loader)
        if modprobe_one(&loader, argv[i], b"") != 0:
            result = 1
    trace_write(&loader)
    return result


cdef void modprobe_trace(Loader* loader) noexcept nogil:
    # PID 1 has made the file while it boots; anywhere else there is none, and nothing is traced.
    cdef char path[4096]
    cdef char* buffer
    cdef Text text = text_over(path, sizeof(path))
    put(&text, loader.sysroot)
    put(&text, TRACE_PATH)
    loader.trace_fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
    buffer = <char*>take_pages(TRACE_SIZE) if loader.trace_fd >= 0 else NULL
    if buffer != NULL:
        loader.trace = text_over(buffer, TRACE_SIZE)


cdef void join_options(Text* out, int argc, char** argv, int first) noexcept nogil:
    # PARAM=VALUE words as finit_module wants them: one text, a value with blanks in quotes.
    cdef const char* value
    cdef int i
    for i in range(first, argc):
        if out.used:
            put_char(out, c' ')
        value = <const char*>memchr(argv[i], c'=', strlen(argv[i]))
        if value == NULL or value[1] == c'"':
            put(out, argv[i])
        else:
            put_bytes(out, argv[i], <size_t>(value + 1 - argv[i]))
            put_value(out, value + 1, strlen(value + 1))


cdef int insmod_main(int argc, char** argv) noexcept nogil:
    # insmod FILE [PARAM[=VALUE]...]: that file, and nothing else.
    cdef Loader loader
    cdef char buffer[4096]
    cdef Text options = text_over(buffer, sizeof(buffer))
    cdef Outcome outcome
    cdef size_t n
    cdef uint32_t flags = 0
    cdef char name[256]
    cdef char reason[512]
    cdef Text module = text_over(name, sizeof(name))
    cdef Text why = text_over(reason, sizeof(reason))
    cdef const char* at
    if argc < 2:
        tool_usage(b"insmod FILE [PARAM=VALUE...]")
        return 1
    memset(&loader, 0, sizeof(loader))
    loader.kmsg = -1
    join_options(&options, argc, argv, 2)
    n = strlen(argv[1])
    if n < 3 or strcmp(argv[1] + n - 3, b".ko") != 0:
        flags = MODULE_FLAG_COMPRESSED
    if options.cut:
        log_why(&loader, LOG_ERROR, b"module", argv[1], TOO_LONG)
        return 1
    outcome = load_new(AT_FDCWD, argv[1], buffer, flags)
    if outcome.result == 0:
        return 0
    put(&why, load_reason(&outcome))
    if outcome.opened:
        at = path_name(argv[1])
        while at[0] and at[0] != c'.':
            put_char(&module, c'_' if at[0] == c'-' else at[0])
            at += 1
        put_words(&why, name)
    log_why(&loader, LOG_ERROR, b"module", argv[1], reason)
    return 1


cdef int rmmod_main(int argc, char** argv) noexcept nogil:
    # rmmod NAME...: 1 where the kernel kept one.
    cdef Loader loader
    cdef char name[256]
    cdef Text text
    cdef size_t n
    cdef int i, result
    cdef int failed = 0
    memset(&loader, 0, sizeof(loader))
    loader.kmsg = -1
    if argc < 2:
        tool_usage(b"rmmod NAME...")
        return 1
    for i in range(1, argc):
        text = text_over(name, sizeof(name))
        for n in range(strlen(argv[i])):
            put_char(&text, normal(argv[i][n]))
        result = seam_delete_module(name)
        if result != 0:
            failed = 1
            log_why(&loader, LOG_ERROR, b"module", argv[i],
                    either(result == -ENOENT, b"not loaded", strerror(-result)))
    return failed


cdef int lsmod_main() noexcept nogil:
    # /proc/modules as kmod's lsmod prints it: name, size, use count and holders.
    cdef char line[1024]
    cdef size_t size, n
    cdef int field
    cdef char* text = read_whole_proc(b"/proc/modules", &size)
    cdef const char* at = text
    cdef const char* begin
    cdef Text out
    if text == NULL:
        return 1
    write(1, b"Module                  Size  Used by\n", 38)
    while at[0]:
        out = text_over(line, sizeof(line))
        for field in range(4):
            begin = at
            n = word_length(at)
            at += n
            if at[0] == c' ':
                at += 1
            if field == 1:
                put_padding(&out, 19 - <int>out.used if out.used < 19 else 1)
                put_padding(&out, 9 - <int>n)
            elif field == 2:
                put(&out, b"  ")
            elif field == 3:
                # `a,b,` names the holders, `-` says that there are none.
                if n == 1 and begin[0] == c'-':
                    break
                put_char(&out, c' ')
                n -= begin[n - 1] == c','
            put_bytes(&out, begin, n)
        put_char(&out, c'\n')
        write(1, line, out.used)
        at = next_line(at)
    return 0


cdef void put_padding(Text* text, int n) noexcept nogil:
    while n > 0:
        put_char(text, c' ')
        n -= 1


cdef char* read_whole_proc(const char* path, size_t* size) noexcept nogil:
    # Files of proc tell no size: read until they end, up to 1 MiB.
    cdef char* out = <char*>take_pages(1 << 20)
    cdef ssize_t n = read_small(AT_FDCWD, path, out, 1 << 20) if out != NULL else -ENOMEM
    size[0] = <size_t>n if n > 0 else 0
    return out if n >= 0 else NULL


cdef int index_main(int argc, char** argv) noexcept nogil:
    # match|resolve INDEX NAME...: for a rescue shell, and for the tests that hold the three faces together.
    # match prints `NAME<TAB>module<TAB>pattern`, resolve `module<TAB>why<TAB>by` in load order.
    cdef Loader loader
    cdef uint64_t size = 0
    cdef char* spelling
    cdef Text patterns
    cdef const char* why = b"no such file"
    cdef void* data
    cdef int fd, i
    if argc < 2:
        return tool_usage(b"match|resolve INDEX NAME...")
    memset(&loader, 0, sizeof(loader))
    loader.kmsg = -1
    fd = open(argv[1], O_RDONLY | O_CLOEXEC)
    data = map_file(fd, &size) if fd >= 0 else NULL
    if fd >= 0:
        why = b"empty or unreadable"
    if data != NULL:
        why = index_open(&loader.index, data, size)
    spelling = <char*>take_pages(TEXTS_SIZE)
    if why != NULL or spelling == NULL or not state_prepare(&loader):
        log_why(&loader, LOG_ERROR, b"index", argv[1], either(why != NULL, why, b"out of memory"))
        return 1
    patterns = text_over(spelling, TEXTS_SIZE)
    loader.search.spelling = &patterns
    for i in range(2, argc):
        patterns.used = 0
        if strcmp(argv[0], b"match") == 0:
            print_matches(&loader, argv[i])
        else:
            print_steps(&loader, argv[i])
    return 0


cdef void print_matches(Loader* loader, const char* name) noexcept nogil:
    cdef char buffer[8192]
    cdef Text text
    cdef Search* search = &loader.search
    cdef uint32_t i
    lookup(search, name)
    for i in range(search.n_hits):
        text = text_over(buffer, sizeof(buffer))
        put(&text, name)
        put_char(&text, c'\t')
        put(&text, hit_name(search, search.hits + i))
        put_char(&text, c'\t')
        if not is_none(search.hits[i].value):
            put(&text, search.spelling.data + search.hits[i].spelled)
        put_char(&text, c'\n')
        write(1, buffer, text.used)


cdef void print_steps(Loader* loader, const char* name) noexcept nogil:
    cdef char buffer[8192]
    cdef Text text
    cdef Search* search = &loader.search
    cdef uint32_t first = loader.plan.n_steps
    cdef uint32_t i, module
    cdef bint by_alias
    cdef Step* step
    if not lookup(search, name) or search.builtin:
        return
    for i in range(search.n_hits):
        module = search.hits[i].module
        by_alias = not is_none(search.hits[i].value)
        if by_alias and load_filtered(loader, module):
            continue
        plan_add(&loader.plan, &loader.index, module, <uint32_t>-1, WHY_MODALIAS if by_alias else WHY_REQUEST)
    for i in range(first, loader.plan.n_steps):
        step = loader.plan.steps + i
        text = text_over(buffer, sizeof(buffer))
        put(&text, index_name(&loader.index, step.module))
        put_char(&text, c'\t')
        put(&text, why_word(step.why))
        put_char(&text, c'\t')
        put(&text, name if is_none(step.parent) else index_name(&loader.index, step.parent))
        put_char(&text, c'\n')
        write(1, buffer, text.used)


cdef int cmdline_main(int argc, char** argv) noexcept nogil:
    # cmdline MODULE < TEXT: the options that a kernel command line gives to MODULE, and whether it blacklists it.
    cdef char line[4096]
    cdef char buffer[4096]
    cdef Text options = text_over(buffer, sizeof(buffer))
    cdef bint by_kernel = False
    cdef ssize_t n
    if argc != 2:
        return tool_usage(b"cmdline MODULE < TEXT")
    n = read(0, line, sizeof(line) - 1)
    line[n if n > 0 else 0] = 0
    cmdline_options(line, argv[1], &options)
    if cmdline_blacklisted(line, argv[1], &by_kernel):
        write(1, b"blacklisted ", 12)
    write(1, buffer, options.used)
    write(1, b"\n", 1)
    return 0


cdef int loader_main(int argc, char** argv) noexcept nogil:
    # By the name it is called by; with its own name, by its first word.
    cdef const char* name
    cdef const char* at
    cdef int turn
    if getpid() == 1:
        boot_main(argv)
    for turn in range(2):
        if argc < 1:
            break
        name = at = argv[0]
        while at[0]:
            if at[0] == c'/':
                name = at + 1
            at += 1
        if strcmp(name, b"modprobe") == 0:
            return modprobe_main(argc, argv)
        if strcmp(name, b"insmod") == 0:
            return insmod_main(argc, argv)
        if strcmp(name, b"rmmod") == 0:
            return rmmod_main(argc, argv)
        if strcmp(name, b"lsmod") == 0:
            return lsmod_main()
        if strcmp(name, b"modinfo") == 0:
            return modinfo_main(argc, argv)
        if turn == 1:
            if strcmp(name, b"coldplug") == 0:
                return coldplug_main(argc, argv)
            if strcmp(name, b"match") == 0 or strcmp(name, b"resolve") == 0:
                return index_main(argc, argv)
            if strcmp(name, b"blkid") == 0:
                return blkid_main(argc, argv)
            if strcmp(name, b"snapshot") == 0:
                return snapshot_main(argc, argv)
            if strcmp(name, b"cmdline") == 0:
                return cmdline_main(argc, argv)
        argc -= 1
        argv += 1
    return tool_usage(b"tinykmod modprobe|insmod|rmmod|lsmod|modinfo|coldplug|match|resolve|blkid|snapshot|cmdline"
                      b" ...")
