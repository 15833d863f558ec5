# The root: what the kernel command line asks for, and whether a block device is it.

cdef enum:
    ROOT_NOT_SAID = 0
    ROOT_DEVICE = 1  # /dev/NAME
    ROOT_UUID = 2
    ROOT_LABEL = 3
    ROOT_PARTUUID = 4
    ROOT_PARTLABEL = 5
    ROOT_NUMBER = 6  # MAJ:MIN, or a device number in hexadecimal
    ROOT_STRANGE = 7  # a form that is not known
    ROOT_LIMIT = 30  # seconds that it is waited for, unless something else is said
    ROOT_MOST_SEEN = 64  # disks and partitions that the report can name


cdef struct Root:
    int form
    char spec[512]  # as it was said
    const char* value  # behind `UUID=` or `/dev/`, as it was said; NULL: nothing could be awaited
    char decoded[512]  # the same with its escapes undone
    int64_t offset  # /PARTNROFF=
    uint32_t major
    uint32_t minor
    char types[128]  # rootfstype=
    char flags[1024]  # rootflags=
    char init[512]  # init=
    bint read_only
    bint wait  # rootwait: for ever
    bint shell  # unless rd.shell=0
    int breaks  # rd.break=: bits
    int64_t delay  # rootdelay=, nanoseconds
    int64_t limit  # rd.tinykmod.timeout=, nanoseconds
    Seen seen[ROOT_MOST_SEEN]
    uint32_t n_seen
    DiskTable table  # of the disk whose partition was looked at last
    char table_disk[64]
    bint found
    Seen device  # the root, once found
    int refused  # errno of a mount that failed; 0: none was tried
    bint reported


cdef void root_parse(Root* root, const char* cmdline) noexcept nogil:
    cdef Text text
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
    root.limit = <int64_t>ROOT_LIMIT * 1000000000
    # The kernel mounts its root read-only unless `rw` comes later than `ro`.
    root.read_only = True
    root.shell = cmdline_shell(cmdline)
    cmdline = cmdline_next(cmdline, &word)
    while cmdline != NULL:
        root_word(root, &word)
        cmdline = cmdline_next(cmdline, &word)
    root_spec(root)


cdef void root_await(Root* root, const char* spec, int64_t seconds) noexcept nogil:
    # What coldplug waits for: SPEC, which is as root= has it, or NULL, for SECONDS.
    cdef Text text
    memset(root, 0, sizeof(Root))
    text = text_over(root.spec, sizeof(root.spec))
    if spec != NULL:
        put(&text, spec)
    root_spec(root)
    root.limit = seconds * 1000000000


cdef void root_spec(Root* root) noexcept nogil:
    # Which form `spec` has.
    root_form(root, b"/dev/disk/by-uuid/", ROOT_UUID)
    root_form(root, b"/dev/disk/by-label/", ROOT_LABEL)
    root_form(root, b"/dev/disk/by-partuuid/", ROOT_PARTUUID)
    root_form(root, b"/dev/disk/by-partlabel/", ROOT_PARTLABEL)
    # Its other links are named by what only udev's rules know.
    root_form(root, b"/dev/disk/", ROOT_STRANGE)
    root_form(root, b"/dev/", ROOT_DEVICE)
    root_form(root, b"UUID=", ROOT_UUID)
    root_form(root, b"LABEL=", ROOT_LABEL)
    root_form(root, b"PARTUUID=", ROOT_PARTUUID)
    root_form(root, b"PARTLABEL=", ROOT_PARTLABEL)
    if root.form == ROOT_NOT_SAID and root.spec[0]:
        root.form = ROOT_NUMBER if root_number(root) else ROOT_STRANGE
        root.value = root.spec
    if root.form == ROOT_PARTUUID:
        root_offset(root)
    if root.form == ROOT_NOT_SAID or root.form == ROOT_STRANGE:
        root.value = NULL
        root.wait = False


cdef void root_word(Root* root, const Word* word) noexcept nogil:
    # One word of the command line; of those that are said twice the later counts.
    cdef uint64_t number = 0
    cdef bint is_number = word.value != NULL and parse_number(word.value, word.n_value, &number)
    cdef int64_t seconds = <int64_t>number * 1000000000
    if word.value == NULL and word_is(word, b"ro"):
        root.read_only = True
    elif word.value == NULL and word_is(word, b"rw"):
        root.read_only = False
    elif word_is(word, b"rootwait"):
        # Newer kernels have `rootwait=SECONDS`; bare, it waits for ever.
        root.wait = not is_number
        if is_number:
            root.limit = seconds
    elif is_number and word_is(word, b"rd.tinykmod.timeout"):
        root.limit = seconds
    elif is_number and word_is(word, b"rootdelay"):
        root.delay = seconds
    elif word_is(word, b"rd.break"):
        root.breaks |= break_bit(word)


cdef void root_form(Root* root, const char* prefix, int form) noexcept nogil:
    # If that is the form, take what stands behind PREFIX: without quotes, as LABEL="a b" has them, and as `decoded`
    # with udev's escapes (\x20) undone.
    cdef const char* value = starts(root.spec, prefix)
    cdef char* at
    cdef Text text
    cdef size_t n
    cdef int high, low
    if root.form != ROOT_NOT_SAID or value == NULL:
        return
    n = strlen(value)
    if n > 1 and value[0] == c'"' and value[n - 1] == c'"':
        value += 1
        at = <char*>value
        at[n - 2] = 0
    if value[0] == 0:
        return
    root.form = form
    root.value = value
    text = text_over(root.decoded, sizeof(root.decoded))
    while value[0]:
        if value[0] == c'\\' and value[1] == c'x':
            high = hex_digit(value[2])
            low = hex_digit(value[3]) if high >= 0 else -1
            if low >= 0:
                put_char(&text, <char>(high << 4 | low))
                value += 4
                continue
        put_char(&text, value[0])
        value += 1


cdef int hex_digit(char c) noexcept nogil:
    # -1: it is none.
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 32
    return c - c'a' + 10 if c'a' <= c <= c'f' else -1


cdef bint root_number(Root* root) noexcept nogil:
    # MAJ:MIN, or as the kernel's name_to_dev_t() takes it the number in hexadecimal (`801`, `fd02`), 12 and 20 bits.
    cdef const char* colon = <const char*>memchr(root.spec, c':', strlen(root.spec))
    cdef const char* at = root.spec
    cdef uint64_t number = 0
    cdef uint64_t minor = 0
    cdef bint sound
    if colon != NULL:
        sound = parse_number(at, <size_t>(colon - at), &number)
        sound = parse_number(colon + 1, strlen(colon + 1), &minor) and sound
        root.major = <uint32_t>number
        root.minor = <uint32_t>minor
        return sound
    while at[0] and hex_digit(at[0]) >= 0:
        number = number << 4 | <uint64_t>hex_digit(at[0])
        at += 1
    root.major = <uint32_t>(number >> 8 & 0xfff)
    root.minor = <uint32_t>((number & 0xff) | (number >> 12 & 0xfff00))
    return at[0] == 0 and at - root.spec <= 8


cdef void root_offset(Root* root) noexcept nogil:
    # PARTUUID=X/PARTNROFF=N: the partition whose number is N more than that of X, on the same disk.
    cdef char* slash = <char*>memchr(root.decoded, c'/', strlen(root.decoded))
    cdef const char* digits = starts(slash, b"/PARTNROFF=") if slash != NULL else NULL
    cdef uint64_t number
    if slash == NULL:
        return
    if digits == NULL or slash == root.decoded or not parse_number(digits, strlen(digits), &number):
        root.form = ROOT_STRANGE
        return
    root.offset = <int64_t>number
    slash[0] = 0
    root.value = root.decoded


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


cdef int open_disk(const char* name, size_t n) noexcept nogil:
    # O_NONBLOCK: a drive for discs or floppies does not wait for its medium.
    cdef char path[128]
    cdef Text text = text_over(path, sizeof(path))
    put(&text, b"/dev/")
    put_bytes(&text, name, n)
    return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)


cdef size_t disk_length(const Seen* seen) noexcept nogil:
    # Characters of the disk's name: a partition's without its number, and without the `p` of nvme0n1p2 and mmcblk0p2.
    cdef size_t n = strlen(seen.name)
    if seen.part == 0:
        return n
    while n > 1 and c'0' <= seen.name[n - 1] <= c'9':
        n -= 1
    if n > 2 and seen.name[n - 1] == c'p' and c'0' <= seen.name[n - 2] <= c'9':
        n -= 1
    return n


cdef void seen_superblock(Seen* seen) noexcept nogil:
    cdef int fd = open_disk(seen.name, strlen(seen.name))
    cdef Extent extent
    if fd < 0:
        return
    extent = extent_of(fd)
    seen.size = extent.size
    superblock_read(seen, &extent)
    close(fd)


cdef void seen_partition(Root* root, Seen* seen, int64_t number) noexcept nogil:
    # What the table of SEEN's disk says of partition NUMBER into SEEN.
    cdef size_t n = disk_length(seen)
    cdef int fd
    cdef Extent extent
    cdef Text text
    if number < 1 or number > 65535:
        return
    fd = open_disk(seen.name, n)
    if fd < 0:
        return
    extent = extent_of(fd)
    if strncmp(root.table_disk, seen.name, n) != 0 or root.table_disk[n]:
        table_read(&root.table, &extent)
        text = text_over(root.table_disk, sizeof(root.table_disk))
        put_bytes(&text, seen.name, n)
    table_entry(&root.table, &extent, <uint32_t>number, seen, NULL)
    close(fd)


cdef void seen_raid(Seen* seen) noexcept nogil:
    cdef Text text = text_over(seen.kind, sizeof(seen.kind))
    put(&text, b"linux_raid_member")
    seen.uuid[0] = seen.label[0] = 0


cdef bint seen_in_raid(const Seen* seen) noexcept nogil:
    cdef int fd = open_disk(seen.name, strlen(seen.name))
    cdef Extent extent
    cdef bint found
    if fd < 0:
        return False
    extent = extent_of(fd)
    found = is_raid_member(&extent)
    close(fd)
    return found


cdef void seen_all(Root* root, Seen* seen) noexcept nogil:
    # All that can be told of SEEN.
    if not seen.probed:
        seen_superblock(seen)
    if seen_in_raid(seen):
        seen_raid(seen)
    if seen.part and seen.partuuid[0] == 0:
        seen_partition(root, seen, seen.part)


cdef bint root_matches(Root* root, Seen* seen) noexcept nogil:
    # Whether SEEN is what root= asks for. Only what its form needs is read from the disk.
    cdef Seen other
    if root.form == ROOT_DEVICE:
        return strcmp(root.value, seen.name) == 0
    if root.form == ROOT_NUMBER:
        return root.major == seen.major and root.minor == seen.minor
    if root.form == ROOT_UUID or root.form == ROOT_LABEL:
        seen_superblock(seen)
        if not is_root_kind(seen.kind):
            return False
        if root.form == ROOT_UUID and not same_id(root.value, seen.uuid):
            return False
        if root.form == ROOT_LABEL and strcmp(root.value, seen.label) != 0 and strcmp(root.decoded, seen.label) != 0:
            return False
        # Told by what it holds, so it must not be half of what holds it.
        return not seen_in_raid(seen)
    if seen.part == 0:
        return False
    if root.form == ROOT_PARTUUID:
        other = seen[0]
        if root.offset:
            other.partuuid[0] = 0
        if other.partuuid[0] == 0:
            seen_partition(root, &other, <int64_t>seen.part - root.offset)
        if root.offset == 0:
            seen[0] = other
        return same_id(root.value, other.partuuid)
    # Of a character beyond ASCII the kernel's PARTNAME has half and `!`.
    if seen.partlabel[0] == 0 or memchr(seen.partlabel, c'!', strlen(seen.partlabel)) != NULL:
        seen_partition(root, seen, seen.part)
    return strcmp(root.value, seen.partlabel) == 0 or strcmp(root.decoded, seen.partlabel) == 0


cdef uint32_t event_number(const char* text) noexcept nogil:
    cdef uint64_t number
    parse_number(text, strlen(text), &number)
    return <uint32_t>number


cdef void root_consider(Loader* loader, Root* root, const Event* event) noexcept nogil:
    # A block device has appeared: is it the root? Of several the first that came is; of those that are there before
    # it is mounted, the one with the lowest device number.
    cdef Seen seen
    cdef Text text
    cdef uint32_t i
    if event.devname[0] == 0 or strlen(event.devname) >= sizeof(seen.name):
        return
    memset(&seen, 0, sizeof(seen))
    text = text_over(seen.name, sizeof(seen.name))
    put(&text, event.devname)
    text = text_over(seen.partlabel, sizeof(seen.partlabel))
    put(&text, event.partname)
    # Since Linux 6.9; older ones leave it to be read.
    text = text_over(seen.partuuid, sizeof(seen.partuuid))
    put(&text, event.partuuid)
    seen.part = event_number(event.partn)
    seen.major = event_number(event.major)
    seen.minor = event_number(event.minor)
    if seen.part == 0 and strcmp(root.table_disk, seen.name) == 0:
        root.table_disk[0] = 0
    if root.value != NULL and root_matches(root, &seen):
        if root.found and strcmp(root.device.name, seen.name) != 0:
            root_rival(loader, root, &seen)
        else:
            if not seen.probed:
                seen_superblock(&seen)
            root.device = seen
            root.found = True
    for i in range(root.n_seen):
        if strcmp(root.seen[i].name, seen.name) == 0:
            break
    else:
        i = root.n_seen
        if i < ROOT_MOST_SEEN:
            root.n_seen += 1
    if i < ROOT_MOST_SEEN:
        root.seen[i] = seen


cdef bint is_lower(const Seen* a, const Seen* b) noexcept nogil:
    return a.minor < b.minor if a.major == b.major else a.major < b.major


cdef void root_rival(Loader* loader, Root* root, Seen* seen) noexcept nogil:
    # Two devices answer to root=: say so, and keep one.
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef bint taken = loader.mounted == 0 and is_lower(seen, &root.device)
    cdef const Seen* first = seen if taken else &root.device
    cdef const Seen* second = &root.device if taken else seen
    # A filesystem on several devices; a hybrid ISO, which is on its disk and in the first partition.
    cdef bint natural = seen.members > 1 or ((seen.part == 0) != (root.device.part == 0)
                                             and disk_length(seen) == disk_length(&root.device)
                                             and memcmp(seen.name, root.device.name, disk_length(seen)) == 0)
    if not natural:
        put(&text, b"is on /dev/")
        put(&text, first.name)
        put(&text, b" and on /dev/")
        put(&text, second.name)
        put(&text, b"; the first is taken")
        log_why(loader, LOG_ERROR, b"root", root.spec, buffer)
    if taken:
        root.device = seen[0]
