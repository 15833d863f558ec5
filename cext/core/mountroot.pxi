# Mounting the root: its filesystem's module, its type, its flags.

cdef bint flag_word(const char* word, size_t n, unsigned long* set, unsigned long* clear) noexcept nogil:
    # Whether WORD is a flag of the mount (mount(8)), and its bits; some words only mean something to user space.
    set[0] = clear[0] = 0
    if same_word(word, n, b"ro"):
        set[0] = MS_RDONLY
    elif same_word(word, n, b"rw"):
        clear[0] = MS_RDONLY
    elif same_word(word, n, b"nosuid"):
        set[0] = MS_NOSUID
    elif same_word(word, n, b"suid"):
        clear[0] = MS_NOSUID
    elif same_word(word, n, b"nodev"):
        set[0] = MS_NODEV
    elif same_word(word, n, b"dev"):
        clear[0] = MS_NODEV
    elif same_word(word, n, b"noexec"):
        set[0] = MS_NOEXEC
    elif same_word(word, n, b"exec"):
        clear[0] = MS_NOEXEC
    elif same_word(word, n, b"sync"):
        set[0] = MS_SYNCHRONOUS
    elif same_word(word, n, b"async"):
        clear[0] = MS_SYNCHRONOUS
    elif same_word(word, n, b"dirsync"):
        set[0] = MS_DIRSYNC
    elif same_word(word, n, b"noatime"):
        set[0] = MS_NOATIME
    elif same_word(word, n, b"atime"):
        clear[0] = MS_NOATIME
    elif same_word(word, n, b"nodiratime"):
        set[0] = MS_NODIRATIME
    elif same_word(word, n, b"diratime"):
        clear[0] = MS_NODIRATIME
    elif same_word(word, n, b"relatime"):
        set[0] = MS_RELATIME
    elif same_word(word, n, b"norelatime"):
        clear[0] = MS_RELATIME
    elif same_word(word, n, b"strictatime"):
        set[0] = MS_STRICTATIME
    elif same_word(word, n, b"lazytime"):
        set[0] = MS_LAZYTIME
    elif same_word(word, n, b"nolazytime"):
        clear[0] = MS_LAZYTIME
    else:
        return (n == 0 or same_word(word, n, b"defaults") or same_word(word, n, b"auto")
                or same_word(word, n, b"noauto") or same_word(word, n, b"nofail") or same_word(word, n, b"_netdev")
                or starts(word, b"x-") != NULL)
    return True


cdef bint same_word(const char* word, size_t n, const char* known) noexcept nogil:
    return strncmp(word, known, n) == 0 and known[n] == 0


cdef size_t list_word(const char* list) noexcept nogil:
    # Characters up to the next comma or the end.
    cdef size_t n = 0
    while list[n] and list[n] != c',':
        n += 1
    return n


cdef void mount_flags(const char* words, unsigned long* flags, Text* data) noexcept nogil:
    # Split rootflags= as mount(8) splits -o: flags of the mount, and what is the filesystem's.
    cdef unsigned long set, clear
    cdef size_t n
    while words[0]:
        n = list_word(words)
        if flag_word(words, n, &set, &clear):
            flags[0] = (flags[0] & ~clear) | set
        else:
            if data.used:
                put_char(data, c',')
            put_bytes(data, words, n)
        words += n + (words[n] == c',')


cdef bint filesystem_lookup(Loader* loader, const char* kind) noexcept nogil:
    # Find the modules that serve the filesystem KIND, by the alias the kernel would ask for.
    cdef char alias[80]
    cdef Text text = text_over(alias, sizeof(alias))
    put(&text, b"fs-")
    put(&text, kind)
    return ((lookup(&loader.search, alias) or lookup(&loader.search, kind)) and not loader.search.builtin)


cdef void load_filesystem(Loader* loader, const char* kind) noexcept nogil:
    # Load what serves KIND and has not been tried yet.
    cdef uint32_t i
    if loader.have_modules and filesystem_lookup(loader, kind):
        for i in range(loader.search.n_hits):
            load_with_needs(loader, loader.search.hits[i].module, WHY_ROOT, kind, b"")


cdef int mount_as(Loader* loader, const char* device, const char* kind, unsigned long flags,
                  const char* data) noexcept nogil:
    # Load what serves KIND and mount: 0 or a negative errno. A medium that cannot be written is mounted read-only.
    load_filesystem(loader, kind)
    if mount(device, b"/sysroot", kind, flags, data if data[0] else NULL) == 0:
        return 0
    if (errno != EACCES and errno != EROFS) or flags & MS_RDONLY:
        return -errno
    log_why(loader, LOG_ERROR, b"root", device, b"cannot be written to; mounted read-only")
    return mount_as(loader, device, kind, flags | MS_RDONLY, data)


cdef int worse(int result, int other) noexcept nogil:
    # Of two failures the one that tells more: EINVAL and ENODEV only mean that it is another filesystem.
    return other if result == 0 or result == -EINVAL or result == -ENODEV else result


cdef int mount_root(Loader* loader, Root* root, const char* device, char* kind, size_t size) noexcept nogil:
    # Mount the root that was found on /sysroot: 0 or a negative errno. KIND becomes the type that did it: of
    # rootfstype=, what the superblock says, or else any that the kernel knows by now.
    cdef char data_buffer[4096]
    cdef Text data = text_over(data_buffer, sizeof(data_buffer))
    cdef unsigned long flags = MS_RDONLY if root.read_only else 0
    cdef const char* types = root.device.kind
    cdef int result
    if root.types[0] and strcmp(root.types, b"auto") != 0:
        types = root.types
    elif not is_root_kind(types):
        log_why(loader, LOG_ERROR, types, device, b"holds no root filesystem")
        return -EINVAL
    mount_flags(root.flags, &flags, &data)
    put_members(root, &data)
    mkdir(b"/sysroot", 0o755)
    result = mount_types(loader, device, types, flags, data_buffer, kind, size)
    return result if types[0] else mount_any(loader, device, flags, data_buffer, kind, size)


cdef void put_members(const Root* root, Text* data) noexcept nogil:
    # A btrfs on several devices knows those that it is told of.
    cdef uint32_t i
    if root.device.members < 2:
        return
    for i in range(root.n_seen):
        if strcmp(root.seen[i].uuid, root.device.uuid) == 0 and strcmp(root.seen[i].name, root.device.name) != 0:
            if data.used:
                put_char(data, c',')
            put(data, b"device=/dev/")
            put(data, root.seen[i].name)


cdef int mount_types(Loader* loader, const char* device, const char* types, unsigned long flags, const char* data,
                     char* kind, size_t size) noexcept nogil:
    # Try TYPES, with commas between them.
    cdef Text type
    cdef size_t n
    cdef int result = 0
    cdef int other
    while types[0]:
        n = list_word(types)
        type = text_over(kind, size)
        put_bytes(&type, types, n)
        other = mount_as(loader, device, kind, flags, data)
        if other == 0:
            return 0
        result = worse(result, other)
        types += n + (types[n] == c',')
    return result


cdef int mount_any(Loader* loader, const char* device, unsigned long flags, const char* data, char* kind,
                   size_t size) noexcept nogil:
    # Try every type of /proc/filesystems that lives on a device.
    cdef char list[4096]
    cdef const char* line = list
    cdef Text type
    cdef int result = -ENODEV
    cdef int other
    read_small(AT_FDCWD, b"/proc/filesystems", list, sizeof(list))
    while line[0]:
        # `nodev\tNAME` lines are the others.
        if line[0] == c'\t':
            type = text_over(kind, size)
            put_bytes(&type, line + 1, <size_t>(next_line(line) - line) - 2)
            other = mount_as(loader, device, kind, flags, data)
            if other == 0:
                return 0
            result = worse(result, other)
        line = next_line(line)
    return result
