# modinfo: the .modinfo section of a plain .ko; of one that is compressed, or not here, what the boot index knows.

cdef enum:
    PARAMETERS_MOST = 1024  # of a module; Debian's worst case is below 200


cdef void print_field(const char* field, ElfName key, ElfName value) noexcept nogil:
    # `KEY:  VALUE`, the values in one column; with -F (FIELD) a line of the value alone, where it is that field's.
    cdef char buffer[8192]
    cdef Text text = text_over(buffer, sizeof(buffer))
    if field == NULL:
        put_bytes(&text, key.text, key.size)
        put_char(&text, c':')
        # Behind a longer key kmod puts as many blanks as it is too long.
        put_padding(&text, 15 - <int>key.size if key.size < 15 else <int>key.size - 15)
    elif not elf_is(key, field, strlen(field)):
        return
    put_bytes(&text, value.text, value.size)
    put_char(&text, c'\n')
    write(1, buffer, text.used)


cdef inline ElfName as_name(const char* text) noexcept nogil:
    cdef ElfName name
    name.text = text
    name.size = strlen(text)
    return name


cdef void print_text(const char* field, const char* key, const char* value) noexcept nogil:
    print_field(field, as_name(key), as_name(value))


cdef bint is_parameter(ElfName key) noexcept nogil:
    return elf_is(key, b"parm", 4) or elf_is(key, b"parmtype", 8)


cdef bint cut_colon(ElfName* rest, ElfName* name) noexcept nogil:
    # Take `NAME:` off the front of REST. False where there is no colon.
    cdef const char* colon = <const char*>memchr(rest.text, c':', rest.size)
    if colon == NULL:
        return False
    name.text = rest.text
    name.size = <size_t>(colon - rest.text)
    rest.text += name.size + 1
    rest.size -= name.size + 1
    return True


cdef void print_parameter(Elf elf, ElfName wanted, const char* field) noexcept nogil:
    # `parm: NAME:DESCRIPTION (TYPE)`, put together from the two fields that tell them. ELF is a copy: read anew.
    cdef char buffer[4096]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef ElfName key, value, name
    cdef ElfName said = as_name(b"")
    cdef ElfName kind = as_name(b"")
    cdef bint braced = field != NULL  # without a description only there (kmod)
    while elf_next_modinfo(&elf, &key, &value) > 0:
        if is_parameter(key) and cut_colon(&value, &name) and elf_is(name, wanted.text, wanted.size):
            if elf_is(key, b"parm", 4):
                said = value
                braced = True
            else:
                kind = value
    put_bytes(&text, wanted.text, wanted.size)
    put_char(&text, c':')
    put_bytes(&text, said.text, said.size)
    if kind.size:
        put(&text, either(braced, b" (", b""))
        put_bytes(&text, kind.text, kind.size)
        put(&text, either(braced, b")", b""))
    print_text(field, b"parm", buffer)


cdef const char* modinfo_elf(const char* field, const void* data, uint64_t size) noexcept nogil:
    # The fields of a .ko in their order; the parameters come last and backwards (kmod). NULL, or why not.
    cdef Elf elf, whole
    cdef ElfName key, value, name
    cdef ElfName* names = <ElfName*>take_pages(PARAMETERS_MOST * sizeof(ElfName))
    cdef int i
    cdef int n = 0
    cdef int found
    cdef bint types = field != NULL and strcmp(field, b"parmtype") == 0
    if names == NULL:
        return b"out of memory"
    if elf_open(&elf, <const uint8_t*>data, size) != 0:
        return b"no module that can be read"
    whole = elf
    found = elf_next_modinfo(&elf, &key, &value)
    while found > 0:
        if types or not is_parameter(key):
            print_field(field, key, value)
        elif n < PARAMETERS_MOST and cut_colon(&value, &name):
            i = 0
            while i < n and not elf_is(names[i], name.text, name.size):
                i += 1
            if i == n:
                names[n] = name
                n += 1
        found = elf_next_modinfo(&elf, &key, &value)
    while n > 0:
        n -= 1
        print_parameter(whole, names[n], field)
    return either(found < 0, b"no module that can be read", NULL)


cdef bint modinfo_file(Loader* loader, int directory, const char* path, const char* field) noexcept nogil:
    # What the file says of itself. False where it cannot be read; a line says why.
    cdef uint64_t size = 0
    cdef void* data = NULL
    cdef int fd = load_open(directory, path)
    if fd < 0:
        log_why(loader, LOG_ERROR, b"modinfo", path, strerror(-fd))
        return False
    data = map_file(fd, &size)
    close(fd)
    return modinfo_data(loader, path, <const uint8_t*>data, size, field)


cdef bint modinfo_data(Loader* loader, const char* path, const uint8_t* data, uint64_t size,
                       const char* field) noexcept nogil:
    # What a module, packed or not, says of itself. False where it is none; a line names PATH and says why.
    cdef const char* why = b"empty or unreadable"
    if data != NULL and packed_is(data, size):
        why = b"its packed file is damaged"
        data = packed_read(data, &size)
    if data != NULL:
        why = modinfo_elf(field, data, size)
    if why != NULL:
        log_why(loader, LOG_ERROR, b"modinfo", path, why)
    return why == NULL


cdef void print_aliases(Search* search, uint32_t parent, uint32_t depth, uint32_t module,
                        const char* field) noexcept nogil:
    # The patterns below a node that lead to MODULE.
    cdef const BootIndex* ix = search.ix
    cdef const Node* node = ix.nodes + parent
    cdef uint32_t n_nodes = ix.count[<int>SECTION_NODES]
    cdef uint32_t child, number
    if parent >= n_nodes or depth >= MATCH_DEPTH:
        return
    if node.first <= parent or node.first > n_nodes or node.count > n_nodes - node.first:
        return
    for child in range(node.first, node.first + node.count):
        if search.budget == 0:
            return
        search.budget -= 1
        search.path[depth] = child
        if ix.nodes[child].kind != NODE_KIND_TAIL:
            print_aliases(search, child, depth + 1, module, field)
            continue
        for number in range(ix.nodes[child].first, ix.nodes[child].first + ix.nodes[child].count):
            if number >= ix.count[<int>SECTION_VALUES]:
                return
            if ix.values[number].module == module:
                search.spelling.used = 0
                search_keep(search, 0, number, depth)
                print_text(field, b"alias", search.spelling.data)


cdef void put_class(Text* text, uint16_t classes) noexcept nogil:
    put(text, either(classes & DRIVER_CLASS_STORAGE, b"storage ", b""))
    put(text, either(classes & DRIVER_CLASS_GPU, b"gpu ", b""))
    put(text, either(classes & DRIVER_CLASS_INPUT, b"input ", b""))
    put(text, either(classes & DRIVER_CLASS_NETWORK, b"network ", b""))
    put(text, either(classes & DRIVER_CLASS_USB, b"usb ", b""))
    put(text, either(classes & DRIVER_CLASS_BUS, b"bus ", b""))
    put(text, either(classes & DRIVER_CLASS_FILESYSTEM, b"filesystem ", b""))
    put(text, either(classes & DRIVER_CLASS_PLATFORM, b"platform ", b""))


cdef void put_names(Text* text, const BootIndex* ix, uint64_t first, uint32_t n, const char* between) noexcept nogil:
    cdef const uint32_t* links = index_links(ix, first, n)
    cdef uint32_t i
    if links == NULL:
        return
    for i in range(n):
        put(text, either(i != 0, between, b""))
        put(text, index_name(ix, links[i]))


cdef void modinfo_index(Loader* loader, uint32_t module, const char* field) noexcept nogil:
    # What the index knows of a module, after its file's name; `options` and `class` are the index's own.
    cdef const BootIndex* ix = &loader.index
    cdef const Module* record = ix.modules + module
    cdef char buffer[8192]
    cdef char spelled[8192]
    cdef Text text = text_over(spelled, sizeof(spelled))
    if ix.header != NULL:
        loader.search.spelling = &text
        loader.search.builtin = False
        loader.search.budget = ix.count[<int>SECTION_NODES]
        print_aliases(&loader.search, ix.header.roots[<int>ROOT_ALIAS], 0, module, field)
        loader.search.spelling = NULL
    text = text_over(buffer, sizeof(buffer))
    if record.n_pre:
        put(&text, b"pre: ")
        put_names(&text, ix, record.soft, record.n_pre, b" ")
    if record.n_post:
        put(&text, either(record.n_pre != 0, b" post: ", b"post: "))
        put_names(&text, ix, <uint64_t>record.soft + record.n_pre, record.n_post, b" ")
    if text.used:
        print_text(field, b"softdep", buffer)
    text = text_over(buffer, sizeof(buffer))
    put_names(&text, ix, <uint64_t>record.deps + record.n_deps, record.n_direct, b",")
    print_text(field, b"depends", buffer)
    print_text(field, b"name", index_string(ix, record.name))
    if index_string(ix, record.options)[0]:
        print_text(field, b"options", index_string(ix, record.options))
    text = text_over(buffer, sizeof(buffer))
    put_class(&text, record.classes)
    if text.used:
        buffer[text.used - 1] = 0
        print_text(field, b"class", buffer)


cdef bint modinfo_reads(const Loader* loader, const Module* record, const char* path) noexcept nogil:
    # Whether the file is uncompressed, packed, or not there.
    cdef bint packed
    cdef int fd = -1
    if record.flags & MODULE_FLAG_COMPRESSED:
        fd = openat(loader.modules_fd, path, O_RDONLY | O_CLOEXEC)
    if fd < 0:
        return True
    packed = packed_in(fd)
    close(fd)
    return packed


cdef bint modinfo_module(Loader* loader, uint32_t module, const char* field) noexcept nogil:
    cdef const Module* record = loader.index.modules + module
    cdef const char* path = index_string(&loader.index, record.path)
    cdef char buffer[PATH_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef uint64_t size = 0
    cdef const uint8_t* data = frozen_module(loader, module, &size)
    put_module_path(&text, loader, path)
    print_text(field, b"filename", buffer)
    if data != NULL:
        return modinfo_data(loader, path, data, size, field)
    if path_stays_inside(path):
        if modinfo_reads(loader, record, path):
            return modinfo_file(loader, loader.modules_fd, path, field)
        log_why(loader, LOG_ERROR, b"modinfo", path, b"compressed: this is what the boot index knows")
    modinfo_index(loader, module, field)
    return True


cdef bint modinfo_name(Loader* loader, const char* name, const char* field) noexcept nogil:
    # Of each module that NAME leads to. False where it leads nowhere, or a file cannot be read.
    cdef const Hit* hits = loader.search.hits
    cdef uint32_t i
    cdef bint told = True
    if not tool_lookup(loader, name):
        return False
    for i in range(loader.search.n_hits):
        if loader.search.builtin:
            print_text(field, b"name", hit_name(&loader.search, hits + i))
            print_text(field, b"filename", b"(builtin)")
        elif not modinfo_module(loader, hits[i].module, field):
            told = False
    return told


cdef int modinfo_main(int argc, char** argv) noexcept nogil:
    # modinfo [-F FIELD] [-b ROOT] [-k VERSION] NAME|ALIAS|FILE...
    cdef Options options
    cdef Loader loader
    cdef const char* usage = b"modinfo [-F FIELD] [-b ROOT] [-k VERSION] NAME|ALIAS|/FILE..."
    cdef int first, i
    cdef int failed = 0
    if not tool_options(&options, argc, argv, &first, usage, b"Fbk", b""):
        return 1
    if first >= argc:
        tool_usage(usage)
        return 1
    memset(&loader, 0, sizeof(loader))
    loader.kmsg = -1
    for i in range(first, argc):
        # Only what begins so is a file (kmod).
        if argv[i][0] == c'/' or argv[i][0] == c'.':
            print_text(options.field, b"filename", argv[i])
            if not modinfo_file(&loader, AT_FDCWD, argv[i], options.field):
                failed = 1
        elif not (loader.have_modules or tool_open(&loader, &options)):
            return 1
        elif not modinfo_name(&loader, argv[i], options.field):
            failed = 1
    return failed
