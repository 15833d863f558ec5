# Mounting the root: its filesystem's module, its type, its flags.

cdef enum:
    FLAG_WORDS = 12


cdef void mount_flags(const char* words, unsigned long* flags, Text* data) noexcept nogil:
    # Split rootflags= as mount(8) splits -o: words that are flags of the mount, the rest is the filesystem's.
    cdef const char* names[12]
    cdef unsigned long bits[12]
    cdef size_t n
    cdef int i
    names[0] = b"ro"
    bits[0] = MS_RDONLY
    names[1] = b"nosuid"
    bits[1] = MS_NOSUID
    names[2] = b"nodev"
    bits[2] = MS_NODEV
    names[3] = b"noexec"
    bits[3] = MS_NOEXEC
    names[4] = b"sync"
    bits[4] = MS_SYNCHRONOUS
    names[5] = b"dirsync"
    bits[5] = MS_DIRSYNC
    names[6] = b"noatime"
    bits[6] = MS_NOATIME
    names[7] = b"nodiratime"
    bits[7] = MS_NODIRATIME
    names[8] = b"relatime"
    bits[8] = MS_RELATIME
    names[9] = b"strictatime"
    bits[9] = MS_STRICTATIME
    names[10] = b"lazytime"
    bits[10] = MS_LAZYTIME
    names[11] = b"defaults"
    bits[11] = 0
    while words[0]:
        n = 0
        while words[n] and words[n] != c',':
            n += 1
        for i in range(FLAG_WORDS):
            if strncmp(words, names[i], n) == 0 and names[i][n] == 0:
                flags[0] |= bits[i]
                break
        else:
            if n == 2 and memcmp(words, b"rw", 2) == 0:
                flags[0] &= ~<unsigned long>MS_RDONLY
            elif n:
                if data.used:
                    put_char(data, c',')
                put_bytes(data, words, n)
        words += n
        if words[0] == c',':
            words += 1


cdef void load_filesystem(Loader* loader, const char* kind) noexcept nogil:
    # The module that serves the filesystem KIND, found by the alias the kernel would ask for.
    cdef char alias[64]
    cdef Text text = text_over(alias, sizeof(alias))
    cdef uint32_t i
    put(&text, b"fs-")
    put(&text, kind)
    if not loader.have_modules or not (lookup(&loader.search, alias) or lookup(&loader.search, kind)):
        return
    if loader.search.builtin:
        return
    for i in range(loader.search.n_hits):
        load_with_needs(loader, loader.search.hits[i].module, WHY_ROOT, kind, b"")


cdef int mount_as(Loader* loader, const char* device, const char* kind, unsigned long flags,
                  const char* data) noexcept nogil:
    load_filesystem(loader, kind)
    return -errno if mount(device, b"/sysroot", kind, flags, data if data[0] else NULL) != 0 else 0


cdef int mount_root(Loader* loader, Root* root, char* kind, size_t size) noexcept nogil:
    # Mount the root that was found on /sysroot: 0 or a negative errno. KIND becomes the type that did it. Types are
    # tried in this order: rootfstype=, what the superblock says, every type that the kernel knows by now.
    cdef char device[128]
    cdef char data_buffer[1024]
    cdef Text path = text_over(device, sizeof(device))
    cdef Text data = text_over(data_buffer, sizeof(data_buffer))
    cdef Text type
    cdef unsigned long flags = MS_RDONLY if root.read_only else 0
    cdef const char* words = either(root.types[0] != 0, root.types, root.device.kind)
    cdef size_t n
    cdef int result = -ENODEV
    put(&path, b"/dev/")
    put(&path, root.device.name)
    mount_flags(root.flags, &flags, &data)
    mkdir(b"/sysroot", 0o755)
    while words[0]:
        n = 0
        while words[n] and words[n] != c',':
            n += 1
        type = text_over(kind, size)
        put_bytes(&type, words, n)
        result = mount_as(loader, device, kind, flags, data_buffer)
        if result == 0:
            return 0
        words += n
        if words[0] == c',':
            words += 1
    if root.types[0] or root.device.kind[0]:
        return result
    return mount_any(device, flags, data_buffer, kind, size)


cdef int mount_any(const char* device, unsigned long flags, const char* data, char* kind, size_t size) noexcept nogil:
    # Try every type of /proc/filesystems that lives on a device.
    cdef char list[4096]
    cdef const char* line = list
    cdef Text type
    cdef size_t n
    cdef int result = -ENODEV
    read_small(AT_FDCWD, b"/proc/filesystems", list, sizeof(list))
    while line[0]:
        n = 0
        while line[n] and line[n] != c'\n':
            n += 1
        # `nodev\tNAME` lines are the others.
        if line[0] == c'\t' and n > 1:
            type = text_over(kind, size)
            put_bytes(&type, line + 1, n - 1)
            if mount(device, b"/sysroot", kind, flags, data if data[0] else NULL) == 0:
                return 0
            if errno != EINVAL:
                result = -errno
        line = next_line(line)
    return result
