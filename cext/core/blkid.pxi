# `tinykmod blkid [FILE...]`: what superblocks and partition tables say, a line each as blkid has them. Of an image
# with a partition table also its partitions, as FILE#NUMBER; without a FILE every block device.

cdef void blkid_word(Text* text, const char* key, const char* value) noexcept nogil:
    # ` KEY="VALUE"`; what a shell would not take as it is has a backslash in front.
    if value[0] == 0:
        return
    put_char(text, c' ')
    put(text, key)
    put(text, b'="')
    while value[0]:
        if value[0] == c'"' or value[0] == c'\\' or value[0] == c'$' or value[0] == c'`':
            put_char(text, c'\\')
        put_char(text, value[0])
        value += 1
    put_char(text, c'"')


cdef bint blkid_print(const char* name, uint32_t part, const Seen* seen, const char* table) noexcept nogil:
    cdef char line[8192]
    cdef Text text = text_over(line, sizeof(line))
    put(&text, name)
    if part:
        put_char(&text, c'#')
        put_number(&text, part)
    put_char(&text, c':')
    blkid_word(&text, b"LABEL", seen.label)
    blkid_word(&text, b"UUID", seen.uuid)
    blkid_word(&text, b"TYPE", seen.kind)
    blkid_word(&text, b"PTTYPE", table)
    blkid_word(&text, b"PARTLABEL", seen.partlabel)
    blkid_word(&text, b"PARTUUID", seen.partuuid)
    if text.data[text.used - 1] == c':':
        return False
    put_char(&text, c'\n')
    write(1, line, text.used)
    return True


cdef bint blkid_file(const char* path) noexcept nogil:
    # False: nothing that is known is there.
    cdef Seen seen
    cdef DiskTable table
    cdef Extent extent, part
    cdef Partition partition
    cdef uint32_t number
    cdef uint32_t most = 0
    cdef const char* kind = b""
    cdef bint known
    cdef int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    if fd < 0:
        write(2, b"tinykmod: ", 10)
        write(2, path, strlen(path))
        write(2, b": ", 2)
        write(2, strerror(errno), strlen(strerror(errno)))
        write(2, b"\n", 1)
        return False
    memset(&seen, 0, sizeof(seen))
    extent = extent_of(fd)
    superblock_read(&seen, &extent)
    if is_raid_member(&extent):
        seen_raid(&seen)
    table_read(&table, &extent)
    # A filesystem's boot sector may look like a table; where both are sound they are a hybrid ISO's.
    if table.kind == TABLE_MBR and strcmp(seen.kind, b"vfat") == 0:
        table.kind = TABLE_NONE
    if table.kind != TABLE_NONE:
        most = table.n_entries if table.kind == TABLE_GPT else 4 + MOST_LOGICAL
        kind = either(table.kind == TABLE_GPT, b"gpt", b"dos")
    known = blkid_print(path, 0, &seen, kind)
    for number in range(1, most + 1):
        memset(&seen, 0, sizeof(seen))
        if not table_entry(&table, &extent, number, &seen, &partition):
            continue
        part.fd = fd
        part.base = partition.start
        part.size = extent.size - partition.start
        if part.size > partition.size:
            part.size = partition.size
        if not partition.extended:
            superblock_read(&seen, &part)
            if is_raid_member(&part):
                seen_raid(&seen)
        blkid_print(path, number, &seen, b"")
    close(fd)
    return known


cdef int blkid_main(int argc, char** argv) noexcept nogil:
    # 0, or as blkid 2 where nothing that is known was found.
    cdef Loader loader
    cdef Root root
    cdef Text text
    cdef char path[80]
    cdef bint known = False
    cdef uint32_t i
    cdef int word
    for word in range(1, argc):
        known = blkid_file(argv[word]) or known
    if argc > 1:
        return 0 if known else 2
    memset(&loader, 0, sizeof(loader))
    loader.kmsg = loader.modules_fd = loader.trace_fd = -1
    memset(&root, 0, sizeof(root))
    boot_disks(&loader, &root)
    for i in range(root.n_seen):
        seen_all(&root, root.seen + i)
        text = text_over(path, sizeof(path))
        put(&text, b"/dev/")
        put(&text, root.seen[i].name)
        known = blkid_print(path, 0, root.seen + i, b"") or known
    return 0 if known else 2
