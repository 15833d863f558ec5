# `tinykmod snapshot`: this machine's devices, drivers, suppliers and root as JSON (docs/snapshot.md), for boards that
# have no Python. Twin: tinykmod/boot/snapshot.py. What cannot be read, or vanishes meanwhile, is as if it were not
# there.

cdef enum:
    SNAPSHOT_SIZE = 8 << 20  # bytes for the names that are kept, and for what is written
    SNAPSHOT_FILE = 1 << 20  # what /proc/self/mountinfo and /proc/modules may have
    SNAPSHOT_MOST_DEVICES = 1 << 16
    SNAPSHOT_MOST_BLOCKS = 256  # that a root is made of


cdef struct Named:
    const char* name
    const char* text  # what is written of a device; a list of names has none
    const char* processor  # the modalias of one; of other devices NULL


cdef struct Names:
    Named* at
    size_t n


cdef struct Snapshot:
    int base  # the directory that all places are below
    char home[4096]  # the path of its sys/devices/
    size_t n_home
    Text kept  # texts with a NUL behind each
    Text out
    char* file  # SNAPSHOT_FILE bytes


cdef const char* joined(char* out, const char* a, const char* b, const char* c, const char* d) noexcept nogil:
    # Into 4096 bytes.
    cdef Text text = text_over(out, 4096)
    put(&text, a)
    put(&text, b)
    put(&text, c)
    put(&text, d)
    return out


cdef const char* keep(Text* kept, const char* word, size_t n) noexcept nogil:
    cdef const char* at = kept.data + kept.used
    put_bytes(kept, word, n)
    kept_end(kept)
    return at


cdef void kept_end(Text* kept) noexcept nogil:
    # The NUL behind the text that was put last stays.
    if kept.used + 1 < kept.size:
        kept.used += 1
    else:
        kept.cut = True


cdef void put_ascii(Text* text, const char* source) noexcept nogil:
    # A JSON string in ASCII with its quotes. What is not UTF-8 are lone surrogates, as Python's surrogateescape.
    cdef uint32_t point
    cdef size_t i, n
    put_char(text, c'"')
    while source[0]:
        point = <uint8_t>source[0]
        n = 1
        if point >= 0x80:
            n = utf8_length(source)
            point = point & (0x7f >> n) if n else 0xdc00 | point
            for i in range(1, n):
                point = point << 6 | <uint8_t>source[i] & 0x3f
        if point >= 0x10000:
            put_unit(text, 0xd7c0 + (point >> 10))
            put_unit(text, 0xdc00 | point & 0x3ff)
        elif point < 0x20 or point > 0x7e:
            put_unit(text, point)
        else:
            if source[0] == c'"' or source[0] == c'\\':
                put_char(text, c'\\')
            put_char(text, source[0])
        source += n if n else 1
    put_char(text, c'"')


cdef void put_unit(Text* text, uint32_t unit) noexcept nogil:
    put(text, b"\\u")
    put_hex(text, <uint8_t>(unit >> 8))
    put_hex(text, <uint8_t>unit)


cdef void put_member(Text* text, const char* key, const char* value) noexcept nogil:
    # `, KEY: "VALUE"`, KEY with its quotes; nothing where VALUE is empty.
    if value[0]:
        put(text, b", ")
        put(text, key)
        put(text, b": ")
        put_ascii(text, value)


cdef void put_list(Text* text, const Names* names) noexcept nogil:
    # A list of strings, each once where they are sorted.
    cdef size_t i
    put_char(text, c'[')
    for i in range(names.n):
        if i == 0 or strcmp(names.at[i].name, names.at[i - 1].name) != 0:
            put(text, either(i > 0, b", ", b""))
            put_ascii(text, names.at[i].name)
    put_char(text, c']')


cdef Names names_kept(Text* kept, size_t first, size_t n) noexcept nogil:
    # The N texts that were kept from FIRST on, sorted.
    cdef Names names
    cdef const char* name = kept.data + first
    names.n = 0
    kept.used = (kept.used + sizeof(Named) - 1) / sizeof(Named) * sizeof(Named)
    if kept.cut or kept.used + n * sizeof(Named) >= kept.size:
        kept.cut = True
        return names
    names.at = <Named*>(kept.data + kept.used)
    kept.used += n * sizeof(Named)
    while names.n < n:
        names.at[names.n].name = name
        name += strlen(name) + 1
        names.n += 1
    names_sort(&names)
    return names


cdef void names_sort(Names* names) noexcept nogil:
    # Shell's sort, by the names.
    cdef size_t gap = names.n / 2
    cdef size_t i, at
    cdef Named moved
    while gap:
        for i in range(gap, names.n):
            moved = names.at[i]
            at = i
            while at >= gap and strcmp(names.at[at - gap].name, moved.name) > 0:
                names.at[at] = names.at[at - gap]
                at -= gap
            names.at[at] = moved
        gap /= 2


cdef bint names_have(const Names* names, const char* name) noexcept nogil:
    cdef size_t i
    for i in range(names.n):
        if strcmp(names.at[i].name, name) == 0:
            return True
    return False


cdef bint snapshot_open(Snapshot* snap, const char* base) noexcept nogil:
    # False where BASE, or /proc, which tells paths, is not there.
    cdef Text home = text_over(snap.home, sizeof(snap.home))
    snap.base = open(either(base[0], base, b"/"), O_PATH | O_CLOEXEC)
    snap.kept.size = snap.out.size = SNAPSHOT_SIZE
    snap.kept.data = <char*>take_pages(SNAPSHOT_SIZE)
    snap.out.data = <char*>take_pages(SNAPSHOT_SIZE)
    snap.file = <char*>take_pages(SNAPSHOT_FILE)
    if snap.base < 0 or snap.kept.data == NULL or snap.out.data == NULL or snap.file == NULL:
        return False
    home.used = path_of(snap.base, snap.home)
    if home.used == 0:
        return False
    if home.used == 1:
        home.used = 0
    put(&home, b"/sys/devices/")
    snap.n_home = home.used
    return True


cdef size_t path_of(int fd, char* out) noexcept nogil:
    # The path of an open file without any link in it, into 4096 bytes, and its length; 0 where /proc does not tell.
    cdef char link[32]
    cdef Text text = text_over(link, sizeof(link))
    cdef ssize_t n
    put(&text, b"/proc/self/fd/")
    put_number(&text, fd)
    n = readlinkat(AT_FDCWD, link, out, 4095)
    out[n if n > 0 else 0] = 0
    return <size_t>n if n > 0 else 0


cdef const char* snapshot_device(Snapshot* snap, const char* place) noexcept nogil:
    # The path below /sys/devices, which is kept, of the device that PLACE leads to; empty where it leads elsewhere.
    cdef char path[4096]
    cdef size_t n
    cdef int fd = openat(snap.base, place, O_PATH | O_CLOEXEC)
    if fd < 0:
        return b""
    n = path_of(fd, path)
    close(fd)
    if n <= snap.n_home or memcmp(path, snap.home, snap.n_home) != 0:
        return b""
    return keep(&snap.kept, path + snap.n_home, n - snap.n_home)


cdef const char* snapshot_target(Snapshot* snap, const char* place) noexcept nogil:
    # The last component, which is kept, of what a link leads to; empty where PLACE is none.
    cdef char path[4096]
    cdef ssize_t n = readlinkat(snap.base, place, path, sizeof(path))
    cdef ssize_t name = n
    if n <= 0:
        return b""
    while name > 0 and path[name - 1] != c'/':
        name -= 1
    return keep(&snap.kept, path + name, <size_t>(n - name))


cdef const char* snapshot_line(Snapshot* snap, const char* place, char* out, size_t size) noexcept nogil:
    # The text of a file, into SIZE bytes, without the newlines at its end.
    cdef ssize_t n = read_small(snap.base, place, out, size)
    while n > 0 and out[n - 1] == c'\n':
        n -= 1
        out[n] = 0
    return out


cdef const char* snapshot_lockdown(Snapshot* snap, char* out, size_t size) noexcept nogil:
    # The word in brackets: `none [integrity] confidentiality`.
    cdef size_t first = 0, end
    snapshot_line(snap, b"sys/kernel/security/lockdown", out, size)
    while out[first] and out[first] != c'[':
        first += 1
    end = first
    while out[end] and out[end] != c']':
        end += 1
    if out[end] == 0:
        return b""
    out[end] = 0
    return out + first + 1


cdef Names snapshot_entries(Snapshot* snap, const char* place, const char* prefix) noexcept nogil:
    # What a directory has whose names begin with PREFIX, sorted.
    cdef char batch[4096]
    cdef size_t first = snap.kept.used
    cdef size_t count = 0
    cdef const char* name
    cdef ssize_t at
    cdef int fd = openat(snap.base, place, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    cdef ssize_t n = read_directory(fd, batch, sizeof(batch))
    while n > 0:
        at = 0
        name = directory_entry(batch, n, &at)
        while name != NULL:
            if starts(name, prefix) != NULL:
                keep(&snap.kept, name, strlen(name))
                count += 1
            name = directory_entry(batch, n, &at)
        n = read_directory(fd, batch, sizeof(batch))
    close(fd)
    return names_kept(&snap.kept, first, count)


cdef void snapshot_devices(Snapshot* snap) noexcept nogil:
    # Those of all buses that have a modalias, a driver or a supplier, or wait for one.
    cdef char place[4096]
    cdef Names devices, buses, found
    cdef size_t bus, i
    devices.n = 0
    devices.at = <Named*>take_pages(SNAPSHOT_MOST_DEVICES * sizeof(Named))
    buses = snapshot_entries(snap, b"sys/bus", b"")
    for bus in range(buses.n):
        found = snapshot_entries(snap, joined(place, b"sys/bus/", buses.at[bus].name, b"/devices", b""), b"")
        for i in range(found.n):
            if devices.at == NULL or devices.n == SNAPSHOT_MOST_DEVICES:
                snap.kept.cut = True
                return
            devices.n += snapshot_one(snap, &devices, buses.at[bus].name, found.at[i].name)
    names_sort(&devices)
    for i in range(devices.n):
        put(&snap.out, either(i > 0, b",\n  ", b"\n  "))
        put(&snap.out, devices.at[i].text)
    put(&snap.out, either(devices.n > 0, b"\n ", b""))


cdef bint snapshot_one(Snapshot* snap, Names* devices, const char* bus, const char* name) noexcept nogil:
    # Put the device behind DEVICES, if it belongs there.
    cdef char place[4096]
    cdef char below[4096]
    cdef char buffer[4096]
    cdef char waits[8]
    cdef Event event
    cdef Named* device = devices.at + devices.n
    cdef const char* driver
    cdef const char* module
    cdef Names suppliers
    cdef size_t first, i
    cdef size_t count = 0
    cdef Text* kept = &snap.kept
    joined(place, b"sys/bus/", bus, b"/devices/", name)
    device.name = snapshot_device(snap, place)
    if device.name[0] == 0:
        return False
    sysfs_event(snap.base, place, buffer, sizeof(buffer), &event)
    # A processor's modalias is long, and all of them are mostly alike.
    device.processor = NULL
    if strcmp(bus, b"cpu") == 0:
        device.processor = keep(kept, event.modalias, strlen(event.modalias))
        for i in range(devices.n):
            if devices.at[i].processor != NULL and strcmp(devices.at[i].processor, device.processor) == 0:
                return False
    driver = snapshot_target(snap, joined(below, place, b"/driver", b"", b""))
    module = snapshot_target(snap, joined(below, place, b"/driver/module", b"", b""))
    suppliers = snapshot_entries(snap, place, b"supplier:")
    first = kept.used
    for i in range(suppliers.n):
        count += snapshot_device(snap, joined(below, place, b"/", suppliers.at[i].name, b"/supplier"))[0] != 0
    suppliers = names_kept(kept, first, count)
    read_small(snap.base, joined(below, place, b"/waiting_for_supplier", b"", b""), waits, sizeof(waits))
    if event.modalias[0] == 0 and driver[0] == 0 and module[0] == 0 and count == 0 and waits[0] != c'1':
        return False
    device.text = kept.data + kept.used
    put(kept, b'{"path": ')
    put_ascii(kept, device.name)
    put_member(kept, b'"bus"', bus)
    put_member(kept, b'"modalias"', event.modalias)
    put_member(kept, b'"driver"', driver)
    put_member(kept, b'"module"', module)
    if count:
        put(kept, b', "suppliers": ')
        put_list(kept, &suppliers)
    put(kept, either(waits[0] == c'1', b', "waiting": true}', b"}"))
    kept_end(kept)
    return not kept.cut


cdef void snapshot_displays(Snapshot* snap) noexcept nogil:
    # The cards of /sys/class/drm, each with the path of the device that it is of.
    cdef char place[4096]
    cdef const char* path
    cdef const char* number
    cdef uint64_t ignored
    cdef Names cards = snapshot_entries(snap, b"sys/class/drm", b"card")
    cdef bint any_yet = False
    cdef size_t i
    for i in range(cards.n):
        # card0-HDMI-A-1 is a connector.
        number = cards.at[i].name + 4
        if not parse_number(number, strlen(number), &ignored):
            continue
        path = snapshot_device(snap, joined(place, b"sys/class/drm/", cards.at[i].name, b"/device", b""))
        if path[0]:
            put(&snap.out, either(any_yet, b",\n  ", b"\n  "))
            put_block(&snap.out, cards.at[i].name, path)
            any_yet = True
    put(&snap.out, either(any_yet, b"\n ", b""))


cdef void put_block(Text* text, const char* name, const char* path) noexcept nogil:
    put(text, b'{"name": ')
    put_ascii(text, name)
    put_member(text, b'"path"', path)
    put_char(text, c'}')


cdef void snapshot_root(Snapshot* snap) noexcept nogil:
    # What is mounted on /: proc(5), MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAGS...] - TYPE SOURCE OPTIONS.
    cdef const char* number_here = NULL
    cdef const char* point_here = NULL
    cdef const char* kind_here = NULL
    cdef const char* number = NULL
    cdef const char* kind = NULL
    cdef const char* source = NULL
    cdef char* at = snap.file
    cdef char* word
    cdef int i, dash
    cdef char ends
    cdef const char* name
    read_small(snap.base, b"proc/self/mountinfo", snap.file, SNAPSHOT_FILE)
    while at[0]:
        i = 0
        dash = -1
        ends = c' '
        while ends == c' ':
            word = at
            while at[0] and at[0] != c' ' and at[0] != c'\n':
                at += 1
            ends = at[0]
            at[0] = 0
            at += ends != 0
            if i == 2:
                number_here = word
            elif i == 4:
                point_here = word
            elif dash < 0 and strcmp(word, b"-") == 0:
                dash = i
            elif dash >= 0 and i == dash + 1:
                kind_here = word
            elif dash >= 0 and i == dash + 2 and dash > 4 and strcmp(point_here, b"/") == 0:
                # The last mount hides the others.
                number = number_here
                kind = kind_here
                source = word
            i += 1
    if number == NULL:
        put(&snap.out, b"null")
        return
    put(&snap.out, b'{"source": ')
    put_ascii(&snap.out, source)
    put_member(&snap.out, b'"type"', kind)
    name = snapshot_block(snap, number, source)
    if name[0]:
        snapshot_ids(snap, name)
    put(&snap.out, b', "blocks": [')
    if name[0]:
        snapshot_chain(snap, name)
    put(&snap.out, b"]}")


cdef const char* snapshot_block(Snapshot* snap, const char* number, const char* source) noexcept nogil:
    # The kernel's name of the device that is mounted; empty for a filesystem without one.
    cdef char place[4096]
    cdef Text text = text_over(place, sizeof(place))
    cdef stat_t status
    put(&text, b"sys/dev/block/")
    if starts(number, b"0:") == NULL:
        put(&text, number)
    else:
        # btrfs, which may be on several devices, has a number of its own.
        while source[0] == c'/':
            source += 1
        if fstatat(snap.base, source, &status, 0) != 0 or not S_ISBLK(status.st_mode):
            return b""
        put_number(&text, major(status.st_rdev))
        put_char(&text, c':')
        put_number(&text, minor(status.st_rdev))
    return snapshot_target(snap, place)


cdef void snapshot_ids(Snapshot* snap, const char* name) noexcept nogil:
    # What udev has found of the filesystem, and the partition's UUID.
    cdef char place[4096]
    cdef char number[64]
    cdef char buffer[4096]
    cdef Event event
    cdef const char* line
    cdef const char* uuid = b""
    cdef const char* label = b""
    cdef const char* partuuid
    cdef const char* value
    cdef char* at = snap.file
    sysfs_event(snap.base, joined(place, b"sys/class/block/", name, b"", b""), buffer, sizeof(buffer), &event)
    partuuid = event.partuuid
    snapshot_line(snap, joined(place, b"sys/class/block/", name, b"/dev", b""), number, sizeof(number))
    read_small(snap.base, joined(place, b"run/udev/data/b", number, b"", b""), at, SNAPSHOT_FILE)
    while at[0]:
        line = at
        while at[0] and at[0] != c'\n':
            at += 1
        if at[0]:
            at[0] = 0
            at += 1
        value = event_field(line, b"E:ID_FS_UUID")
        if value != NULL:
            uuid = value
        value = event_field(line, b"E:ID_FS_LABEL")
        if value != NULL:
            label = value
        value = event_field(line, b"E:ID_PART_ENTRY_UUID")
        if value != NULL and value[0]:
            partuuid = value
    put_member(&snap.out, b'"uuid"', uuid)
    put_member(&snap.out, b'"label"', label)
    put_member(&snap.out, b'"partuuid"', partuuid)


cdef void snapshot_chain(Snapshot* snap, const char* name) noexcept nogil:
    # The block device NAME and those that it is made of, or reached by, each once.
    cdef char place[4096]
    cdef char disk[4096]
    cdef char partition[8]
    cdef const char* pending[SNAPSHOT_MOST_BLOCKS]
    cdef const char* path
    cdef Named found[SNAPSHOT_MOST_BLOCKS]
    cdef Names blocks, names
    cdef size_t i
    cdef size_t first = 0
    cdef size_t end = 0
    blocks.at = found
    blocks.n = 0
    snapshot_add(snap, pending, &end, name)
    names = snapshot_entries(snap, b"sys/fs/btrfs", b"")
    for i in range(names.n):
        snapshot_pool(snap, pending, &end, name, names.at[i].name)
    while first < end:
        name = pending[first]
        first += 1
        path = snapshot_device(snap, joined(place, b"sys/class/block/", name, b"", b""))
        if path[0] == 0 or not blocks_add(snap, &blocks, name, path):
            continue
        joined(disk, path, b"", b"", b"")
        if read_small(snap.base, joined(place, b"sys/devices/", path, b"/partition", b""), partition, 8) > 0:
            parent_of(disk)
        names = snapshot_entries(snap, joined(place, b"sys/devices/", disk, b"/slaves", b""), b"")
        for i in range(names.n):
            snapshot_add(snap, pending, &end, names.at[i].name)
        # An NVMe disk that may be reached in several ways is of no controller: its subsystem links to them.
        if starts(disk, b"virtual/nvme-subsystem/") != NULL:
            parent_of(disk)
            names = snapshot_entries(snap, joined(place, b"sys/devices/", disk, b"", b""), b"nvme")
            for i in range(names.n):
                joined(place, b"sys/devices/", disk, b"/", names.at[i].name)
                path = snapshot_device(snap, place)
                if path[0] and readlinkat(snap.base, place, partition, 8) > 0:
                    blocks_add(snap, &blocks, names.at[i].name, path)
    for i in range(blocks.n):
        put(&snap.out, either(i > 0, b", ", b""))
        put_block(&snap.out, found[i].name, found[i].text)


cdef void snapshot_add(Snapshot* snap, const char** pending, size_t* end, const char* name) noexcept nogil:
    if end[0] == SNAPSHOT_MOST_BLOCKS:
        snap.kept.cut = True
        return
    pending[end[0]] = name
    end[0] += 1


cdef void snapshot_pool(Snapshot* snap, const char** pending, size_t* end, const char* name,
                        const char* pool) noexcept nogil:
    # Where NAME is of a btrfs, its devices are what is pending.
    cdef char place[4096]
    cdef size_t i
    cdef Names members = snapshot_entries(snap, joined(place, b"sys/fs/btrfs/", pool, b"/devices", b""), b"")
    if names_have(&members, name):
        end[0] = 0
        for i in range(members.n):
            snapshot_add(snap, pending, end, members.at[i].name)


cdef bint blocks_add(Snapshot* snap, Names* blocks, const char* name, const char* path) noexcept nogil:
    # Whether it is a new one.
    if names_have(blocks, name):
        return False
    if blocks.n == SNAPSHOT_MOST_BLOCKS:
        snap.kept.cut = True
        return False
    blocks.at[blocks.n].name = name
    blocks.at[blocks.n].text = path
    blocks.n += 1
    return True


cdef void parent_of(char* path) noexcept nogil:
    cdef size_t n = strlen(path)
    while n and path[n] != c'/':
        n -= 1
    path[n] = 0


cdef void snapshot_modules(Snapshot* snap) noexcept nogil:
    cdef size_t first = snap.kept.used
    cdef size_t n
    cdef size_t count = 0
    cdef const char* at = snap.file
    cdef Names names
    read_small(snap.base, b"proc/modules", snap.file, SNAPSHOT_FILE)
    while at[0]:
        n = 0
        while at[n] and at[n] != c' ' and at[n] != c'\n':
            n += 1
        keep(&snap.kept, at, n)
        count += 1
        while at[0] and at[0] != c'\n':
            at += 1
        at += at[0] != 0
    names = names_kept(&snap.kept, first, count)
    put_list(&snap.out, &names)


cdef void snapshot_take(Snapshot* snap) noexcept nogil:
    cdef char line[256]
    cdef utsname name
    cdef Text* out = &snap.out
    uname(&name)
    put(out, b'{\n "tinykmod_snapshot": 1,\n "release": ')
    snapshot_line(snap, b"proc/sys/kernel/osrelease", line, sizeof(line))
    put_ascii(out, either(line[0], line, name.release))
    put(out, b',\n "arch": ')
    snapshot_line(snap, b"proc/sys/kernel/arch", line, sizeof(line))
    put_ascii(out, either(line[0], line, name.machine))
    put(out, b',\n "cmdline": ')
    put_ascii(out, snapshot_line(snap, b"proc/cmdline", snap.file, SNAPSHOT_FILE))
    put(out, b',\n "lockdown": ')
    put_ascii(out, snapshot_lockdown(snap, line, sizeof(line)))
    put(out, b',\n "modules": ')
    snapshot_modules(snap)
    put(out, b',\n "root": ')
    snapshot_root(snap)
    put(out, b',\n "displays": [')
    snapshot_displays(snap)
    put(out, b'],\n "devices": [')
    snapshot_devices(snap)
    put(out, b"]\n}\n")


cdef int snapshot_main(int argc, char** argv) noexcept nogil:
    # snapshot [-o FILE] [--sysroot DIR]
    cdef Options options
    cdef Snapshot snap
    cdef Loader loader
    cdef char beside[4096]
    cdef const char* usage = b"snapshot [-o FILE] [--sysroot DIR]"
    cdef const char* what = b"/sys/bus"
    cdef stat_t status
    cdef int first
    cdef int fd = 1
    if not tool_options(&options, argc, argv, &first, usage, b"o", b""):
        return 2
    if first < argc:
        return tool_usage(usage)
    memset(&snap, 0, sizeof(snap))
    memset(&loader, 0, sizeof(loader))
    loader.kmsg = -1
    if snapshot_open(&snap, options.sysroot) and fstatat(snap.base, b"sys/bus", &status, 0) == 0:
        snapshot_take(&snap)
        if snap.kept.cut or snap.out.cut:
            log_why(&loader, LOG_ERROR, b"snapshot", what, b"more than fits into 8 MiB")
            return 1
        what = b"standard output"
        if options.output != NULL:
            what = options.output
            joined(beside, options.output, b".new", b"", b"")
            fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        if fd >= 0 and snapshot_write(&snap.out, fd) and (fd == 1 or rename(beside, options.output) == 0):
            return 0
    log_why(&loader, LOG_ERROR, b"snapshot", what, strerror(errno))
    if fd > 1:
        unlinkat(AT_FDCWD, beside, 0)
    return 1


cdef bint snapshot_write(const Text* text, int fd) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t n
    while done < text.used:
        n = write(fd, text.data + done, text.used - done)
        if n < 0 and errno != EINTR:
            return False
        if n > 0:
            done += <size_t>n
    return True
