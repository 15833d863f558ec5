# Devices: what one uevent says, whether it came from the socket or from a `uevent` file in sysfs.

cdef struct Event:
    const char* action  # "" in a file
    const char* devpath  # "" in a file
    const char* subsystem
    const char* modalias
    const char* devname
    const char* partn
    const char* partname
    const char* partuuid
    const char* major
    const char* minor
    const char* mark  # SYNTH_UUID: somebody asked for the event


cdef const char* event_field(const char* line, const char* key) noexcept nogil:
    cdef const char* after = starts(line, key)
    return after + 1 if after != NULL and after[0] == c'=' else NULL


cdef void event_parse(Event* event, const char* data, size_t n) noexcept nogil:
    # KEY=VALUE texts, each with a NUL behind it, the last one too: DATA[N] is one if nothing else is.
    cdef const char* at = data
    cdef const char* value
    event.action = event.devpath = event.subsystem = event.modalias = event.devname = b""
    event.partn = event.partname = event.partuuid = event.major = event.minor = event.mark = b""
    while at < data + n:
        value = event_field(at, b"MODALIAS")
        if value != NULL:
            event.modalias = value
        value = event_field(at, b"DEVNAME")
        if value != NULL:
            event.devname = value
        value = event_field(at, b"ACTION")
        if value != NULL:
            event.action = value
        value = event_field(at, b"DEVPATH")
        if value != NULL:
            event.devpath = value
        value = event_field(at, b"SUBSYSTEM")
        if value != NULL:
            event.subsystem = value
        value = event_field(at, b"PARTN")
        if value != NULL:
            event.partn = value
        value = event_field(at, b"PARTNAME")
        if value != NULL:
            event.partname = value
        value = event_field(at, b"PARTUUID")
        if value != NULL:
            event.partuuid = value
        value = event_field(at, b"MAJOR")
        if value != NULL:
            event.major = value
        value = event_field(at, b"MINOR")
        if value != NULL:
            event.minor = value
        value = event_field(at, b"SYNTH_UUID")
        if value != NULL:
            event.mark = value
        at += strlen(at) + 1


cdef void device_seen(Loader* loader, const Event* event, const char* path) noexcept nogil:
    # A device is there: queue what its modalias asks for, once a modalias.
    cdef uint32_t kept
    cdef bint traced
    if event.modalias[0] == 0 or state_seen(loader, event.modalias, &kept):
        return
    traced = trace_begin(loader, seam_now(), b"device")
    if traced:
        trace_text(loader, b"modalias", event.modalias)
        trace_text(loader, b"device", path)
        trace_list(loader, b"modules")
    load_want(loader, event.modalias, kept, traced)
    if traced:
        trace_list_end(loader)
        trace_end(loader)


cdef int uevent_open() noexcept nogil:
    # The kernel's uevent socket, or a negative errno. Bound before sysfs is walked, or events are lost.
    cdef sockaddr_nl address
    cdef int size = 16 << 20
    cdef int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT)
    if fd < 0:
        return -errno
    # A burst (a disk array, a hub) must not overflow the queue while a module loads.
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size))
    memset(&address, 0, sizeof(address))
    address.nl_family = AF_NETLINK
    address.nl_groups = 1
    if bind(fd, <const sockaddr*>&address, sizeof(address)) != 0:
        close(fd)
        return -errno
    return fd


cdef int uevent_read(int fd, char* buffer, size_t size, Event* event) noexcept nogil:
    # The next event: 1, 0 where none waits, -ENOBUFS where some were lost. What the kernel did not send is dropped.
    cdef sockaddr_nl source
    cdef unsigned int n_source
    cdef ssize_t n
    cdef size_t head
    while True:
        n_source = sizeof(source)
        n = recvfrom(fd, buffer, size - 1, 0, <sockaddr*>&source, &n_source)
        if n < 0:
            if errno == EINTR:
                continue
            return -ENOBUFS if errno == ENOBUFS else 0
        # User space may send to the group as well; the kernel's port is 0 and cannot be taken.
        if n_source != sizeof(source) or source.nl_pid != 0:
            continue
        buffer[n] = 0
        # ACTION@DEVPATH stands in front of the fields.
        head = strlen(buffer) + 1
        if head > <size_t>n:
            continue
        event_parse(event, buffer + head, <size_t>n - head)
        return 1


cdef void sysfs_event(int directory, const char* device, char* buffer, size_t size, Event* event) noexcept nogil:
    # Read DIRECTORY/DEVICE/uevent into BUFFER and take it apart.
    cdef char path[512]
    cdef Text text = text_over(path, sizeof(path))
    cdef ssize_t n, i
    put(&text, device)
    put(&text, b"/uevent")
    n = read_small(directory, path, buffer, size)
    if n < 0:
        n = 0
    for i in range(n):
        if buffer[i] == c'\n':
            buffer[i] = 0
    event_parse(event, buffer, <size_t>n)


cdef void coldplug_walk(Loader* loader) noexcept nogil:
    # Every device of every bus: /sys/bus is flat, so it is one read a device.
    cdef char path[4096]
    cdef char batch[4096]
    cdef Text text = text_over(path, sizeof(path))
    cdef int buses, devices
    cdef ssize_t n, at
    cdef const char* bus
    put(&text, loader.sysroot)
    put(&text, b"/sys/bus")
    buses = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if buses < 0:
        log_why(loader, LOG_ERROR, b"directory", path, strerror(errno))
        return
    n = read_directory(buses, batch, sizeof(batch))
    while n > 0:
        at = 0
        bus = directory_entry(batch, n, &at)
        while bus != NULL:
            text = text_over(path, sizeof(path))
            put(&text, bus)
            put(&text, b"/devices")
            devices = openat(buses, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            if devices >= 0:
                coldplug_bus(loader, devices, bus)
                close(devices)
                if loader.n_workers:
                    # They have the plan to go on with.
                    engine_answers(loader)
                    engine_feed(loader)
            bus = directory_entry(batch, n, &at)
        n = read_directory(buses, batch, sizeof(batch))
    close(buses)


cdef void coldplug_bus(Loader* loader, int devices, const char* bus) noexcept nogil:
    cdef char batch[8192]
    cdef char buffer[4096]
    cdef char path[512]
    cdef Text text
    cdef Event event
    cdef ssize_t at
    cdef const char* device
    cdef ssize_t n = read_directory(devices, batch, sizeof(batch))
    while n > 0:
        at = 0
        device = directory_entry(batch, n, &at)
        while device != NULL:
            sysfs_event(devices, device, buffer, sizeof(buffer), &event)
            text = text_over(path, sizeof(path))
            put(&text, b"/bus/")
            put(&text, bus)
            put(&text, b"/devices/")
            put(&text, device)
            device_seen(loader, &event, path)
            device = directory_entry(batch, n, &at)
        n = read_directory(devices, batch, sizeof(batch))
