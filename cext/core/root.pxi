# The root: what the kernel command line asks for, and whether a block device is it.

cdef enum:
    ROOT_NOT_SAID = 0
    ROOT_DEVICE = 1  # /dev/NAME
    ROOT_UUID = 2
    ROOT_LABEL = 3
    ROOT_PARTUUID = 4
    ROOT_STRANGE = 5  # a form that is not known
    ROOT_MOST_SEEN = 64  # disks and partitions that the report can name


cdef struct Seen:
    # A block device that was looked at, for the report.
    char name[64]
    uint32_t part  # its number; 0: a whole disk
    char kind[16]  # filesystem type
    char uuid[40]
    char label[68]
    char partuuid[40]


cdef struct Root:
    int form
    char spec[512]  # as it was said
    const char* value  # behind `UUID=` or `/dev/`
    char types[128]  # rootfstype=
    char flags[1024]  # rootflags=
    char init[512]  # init=
    bint read_only
    bint wait  # rootwait: for ever
    int64_t delay  # rootdelay=, nanoseconds
    int64_t limit  # rd.tinykmod.timeout=, nanoseconds
    Seen seen[ROOT_MOST_SEEN]
    uint32_t n_seen
    bint found
    Seen device  # the root, once found
    int refused  # errno of a mount that failed; 0: none was tried
    bint reported


cdef void root_parse(Root* root, const char* cmdline) noexcept nogil:
    cdef Text text
    cdef char buffer[64]
    cdef uint64_t number
    cdef Word word
    memset(root, 0, sizeof(Root))
    text = text_over(root.spec, sizeof(root.spec))
    cmdline_get(cmdline, b"root", &text)
    text = text_over(root.types, sizeof(root.types))
    cmdline_get(cmdline, b"rootfstype", &text)
    text = text_over(root.flags, sizeof(root.flags))
    cmdline_get(cmdline, b"rootflags", &text)
    text = text_over(root.init, sizeof(root.init))
    cmdline_get(cmdline, b"init", &text)
    text = text_over(buffer, sizeof(buffer))
    root.limit = <int64_t>30 * 1000000000
    if cmdline_get(cmdline, b"rootwait", &text):
        # Newer kernels have `rootwait=SECONDS`; bare, it waits for ever.
        root.wait = not parse_number(buffer, text.used, &number)
        if not root.wait:
            root.limit = <int64_t>number * 1000000000
    text = text_over(buffer, sizeof(buffer))
    if cmdline_get(cmdline, b"rootdelay", &text) and parse_number(buffer, text.used, &number):
        root.delay = <int64_t>number * 1000000000
    text = text_over(buffer, sizeof(buffer))
    if cmdline_get(cmdline, b"rd.tinykmod.timeout", &text) and parse_number(buffer, text.used, &number):
        root.limit = <int64_t>number * 1000000000
    # The kernel mounts its root read-only unless `rw` comes later than `ro`.
    root.read_only = True
    cmdline = cmdline_next(cmdline, &word)
    while cmdline != NULL:
        if word.value == NULL and word_is(&word, b"ro"):
            root.read_only = True
        elif word.value == NULL and word_is(&word, b"rw"):
            root.read_only = False
        cmdline = cmdline_next(cmdline, &word)
    root_form(root, b"/dev/disk/by-uuid/", ROOT_UUID)
    root_form(root, b"/dev/disk/by-label/", ROOT_LABEL)
    root_form(root, b"/dev/disk/by-partuuid/", ROOT_PARTUUID)
    root_form(root, b"/dev/", ROOT_DEVICE)
    root_form(root, b"UUID=", ROOT_UUID)
    root_form(root, b"LABEL=", ROOT_LABEL)
    root_form(root, b"PARTUUID=", ROOT_PARTUUID)
    if root.form == ROOT_NOT_SAID:
        # Nothing that could be awaited.
        root.wait = False
        root.limit = 0
        if root.spec[0]:
            root.form = ROOT_STRANGE


cdef void root_form(Root* root, const char* prefix, int form) noexcept nogil:
    cdef const char* value = starts(root.spec, prefix)
    if root.form == ROOT_NOT_SAID and value != NULL and value[0]:
        root.form = form
        root.value = value


cdef bint same_id(const char* a, const char* b) noexcept nogil:
    # UUIDs are hexadecimal in either case.
    cdef char x, y
    while True:
        x = a[0] + 32 if c'A' <= a[0] <= c'Z' else a[0]
        y = b[0] + 32 if c'A' <= b[0] <= c'Z' else b[0]
        if x != y:
            return False
        if x == 0:
            return True
        a += 1
        b += 1


cdef void put_uuid(Text* text, const uint8_t* at, bint mixed) noexcept nogil:
    # 16 bytes as 8-4-4-4-12. MIXED: GPT stores the first three groups little-endian.
    cdef const char* order = b"\x03\x02\x01\x00\x05\x04\x07\x06\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
    cdef int i
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            put_char(text, c'-')
        put_hex(text, at[<uint8_t>order[i]] if mixed else at[i])


cdef uint32_t little32(const uint8_t* at) noexcept nogil:
    return at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24


cdef void probe_superblock(Seen* seen, int fd) noexcept nogil:
    # ext2, ext3 and ext4: fs/ext4/ext4.h, struct ext4_super_block, at byte 1024.
    cdef uint8_t block[1024]
    cdef Text text
    cdef uint32_t incompatible
    cdef size_t n = 0
    cdef bint journal, newer
    if pread(fd, block, sizeof(block), 1024) != sizeof(block) or block[56] != 0x53 or block[57] != 0xef:
        return
    incompatible = little32(block + 96)
    # 8: the journal of another filesystem, which may bear that one's label.
    if incompatible & 8:
        return
    journal = (little32(block + 92) & 4) != 0
    # What ext3 knows: filetype, recover and meta_bg; sparse_super, large_file and btree_dir.
    newer = (incompatible & ~<uint32_t>0x16) != 0 or (little32(block + 100) & ~<uint32_t>7) != 0
    text = text_over(seen.kind, sizeof(seen.kind))
    put(&text, either(newer, b"ext4", either(journal, b"ext3", b"ext2")))
    text = text_over(seen.uuid, sizeof(seen.uuid))
    put_uuid(&text, block + 104, False)
    text = text_over(seen.label, sizeof(seen.label))
    while n < 16 and block[120 + n]:
        n += 1
    put_bytes(&text, <const char*>block + 120, n)


cdef void probe_partition(Seen* seen, int disk, uint32_t part) noexcept nogil:
    # PARTUUID of partition PART of a disk: the GPT entry's own GUID, or the MBR's disk signature and the number.
    cdef uint8_t block[512]
    cdef Text text = text_over(seen.partuuid, sizeof(seen.partuuid))
    cdef uint64_t entries
    cdef uint32_t size, n_entries, sector, i
    if part == 0:
        return
    # The header lies in the second block; blocks are of 512 or 4096 bytes.
    for sector in range(512, 4097, 4096 - 512):
        if pread(disk, block, sizeof(block), sector) == sizeof(block) and memcmp(block, b"EFI PART", 8) == 0:
            entries = little32(block + 72) | <uint64_t>little32(block + 76) << 32
            n_entries = little32(block + 80)
            size = little32(block + 84)
            if part <= n_entries and entries < <uint64_t>1 << 32 and size >= 128 and size <= 4096:
                if pread(disk, block, 128, <int64_t>(entries * sector + <uint64_t>(part - 1) * size)) == 128:
                    put_uuid(&text, block + 16, True)
            return
    if pread(disk, block, sizeof(block), 0) == sizeof(block) and block[510] == 0x55 and block[511] == 0xaa:
        for i in range(4):
            put_hex(&text, block[443 - i])
        put_char(&text, c'-')
        put_hex(&text, <uint8_t>part)


cdef int open_disk(const char* name, size_t n) noexcept nogil:
    # O_NONBLOCK: a drive for discs or floppies does not wait for its medium.
    cdef char path[128]
    cdef Text text = text_over(path, sizeof(path))
    put(&text, b"/dev/")
    put_bytes(&text, name, n)
    return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)


cdef void root_probe(Seen* seen, bint superblock, bint table) noexcept nogil:
    # Read what tells SEEN apart: its superblock, and its entry in the partition table of its disk.
    cdef size_t n = strlen(seen.name)
    cdef int fd
    if superblock:
        fd = open_disk(seen.name, n)
        if fd >= 0:
            probe_superblock(seen, fd)
            close(fd)
    if table and seen.part:
        # The disk's name is the partition's without its number, and without the `p` of nvme0n1p2 and mmcblk0p2.
        while n > 1 and c'0' <= seen.name[n - 1] <= c'9':
            n -= 1
        if n > 2 and seen.name[n - 1] == c'p' and c'0' <= seen.name[n - 2] <= c'9':
            n -= 1
        fd = open_disk(seen.name, n)
        if fd >= 0:
            probe_partition(seen, fd, seen.part)
            close(fd)


cdef void root_consider(Root* root, const char* devname, const char* partn) noexcept nogil:
    # A block device has appeared as /dev/DEVNAME: is it the root? Only what the root= form needs is read.
    cdef Seen seen
    cdef Text text
    cdef uint64_t part = 0
    cdef uint32_t i
    if root.found or devname[0] == 0 or strlen(devname) >= sizeof(seen.name):
        return
    memset(&seen, 0, sizeof(seen))
    text = text_over(seen.name, sizeof(seen.name))
    put(&text, devname)
    if parse_number(partn, strlen(partn), &part):
        seen.part = <uint32_t>part
    root_probe(&seen, root.form == ROOT_UUID or root.form == ROOT_LABEL, root.form == ROOT_PARTUUID)
    root.found = ((root.form == ROOT_DEVICE and strcmp(root.value, seen.name) == 0)
                  or (root.form == ROOT_UUID and same_id(root.value, seen.uuid))
                  or (root.form == ROOT_LABEL and strcmp(root.value, seen.label) == 0)
                  or (root.form == ROOT_PARTUUID and same_id(root.value, seen.partuuid)))
    for i in range(root.n_seen):
        if strcmp(root.seen[i].name, seen.name) == 0:
            break
    else:
        i = root.n_seen
        if i < ROOT_MOST_SEEN:
            root.n_seen += 1
    if i < ROOT_MOST_SEEN:
        root.seen[i] = seen
    if root.found:
        if seen.kind[0] == 0:
            root_probe(&seen, True, False)
        root.device = seen
