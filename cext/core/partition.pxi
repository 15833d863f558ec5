# Partition tables: GPT (UEFI specification, chapter 5) and MBR with logical partitions, as the kernel reads them.

cdef enum:
    TABLE_NONE = 0
    TABLE_MBR = 1
    TABLE_GPT = 2
    MOST_LOGICAL = 128  # partitions in a chain that may well lead in a circle


cdef struct DiskTable:
    # The partition table of one disk, as far as finding an entry needs it.
    int kind
    uint32_t sector  # bytes
    uint64_t entries  # of a GPT: where they begin, in bytes
    uint32_t n_entries
    uint32_t entry_size
    uint8_t first[512]  # of an MBR


cdef struct Partition:
    uint64_t start  # bytes
    uint64_t size
    bint extended  # holds logical partitions and nothing else


cdef void table_read(DiskTable* table, const Extent* disk) noexcept nogil:
    # A GPT counts where the MBR beside it says so. Its copy at the disk's end serves where the first is damaged.
    cdef int i
    cdef bint protective = False
    table.kind = TABLE_NONE
    if not extent_read(disk, 0, table.first, 512) or table.first[510] != 0x55 or table.first[511] != 0xaa:
        return
    for i in range(4):
        protective = protective or table.first[446 + 16 * i + 4] == 0xee
    table.sector = 512
    while protective and table.sector <= 4096:
        if gpt_header(table, disk, 1) or gpt_header(table, disk, disk.size / table.sector - 1):
            return
        table.sector *= 8
    table.sector = 512
    # As the kernel: one that announces a GPT is no table itself.
    if not protective and mbr_sane(table.first):
        table.kind = TABLE_MBR


cdef bint gpt_header(DiskTable* table, const Extent* disk, uint64_t block) noexcept nogil:
    cdef uint8_t header[512]
    cdef uint32_t n, crc
    if (not extent_read(disk, block * table.sector, header, sizeof(header))
            or memcmp(header, b"EFI PART", 8) != 0 or little64(header + 24) != block):
        return False
    n = little32(header + 12)
    if n < 92 or n > sizeof(header):
        return False
    crc = little32(header + 16)
    memset(header + 16, 0, 4)
    if ~crc_over(~<uint32_t>0, header, n, CRC32) != crc:
        return False
    table.n_entries = little32(header + 80)
    table.entry_size = little32(header + 84)
    # The kernel insists on entries of 128 bytes; a table beyond 1 MiB is none that anybody made.
    if table.entry_size != 128 or table.n_entries > 8192 or little64(header + 72) > disk.size / table.sector:
        return False
    table.entries = little64(header + 72) * table.sector
    if not gpt_entries_sound(table, disk, little32(header + 88)):
        return False
    table.kind = TABLE_GPT
    return True


cdef bint gpt_entries_sound(const DiskTable* table, const Extent* disk, uint32_t wanted) noexcept nogil:
    cdef uint8_t block[4096]
    cdef uint64_t size = <uint64_t>table.n_entries * table.entry_size
    cdef uint64_t at = 0
    cdef uint32_t crc = ~<uint32_t>0
    cdef size_t n
    while at < size:
        n = <size_t>(size - at) if size - at < sizeof(block) else sizeof(block)
        if not extent_read(disk, table.entries + at, block, n):
            return False
        crc = crc_over(crc, block, n, CRC32)
        at += n
    return ~crc == wanted


cdef bint mbr_sane(const uint8_t* sector) noexcept nogil:
    # A FAT or an NTFS volume has the same two bytes at its end; its code there does not look like entries.
    cdef int i
    cdef bint any = False
    for i in range(4):
        if sector[446 + 16 * i] & 0x7f:
            return False
        any = any or (sector[446 + 16 * i + 4] != 0 and little32(sector + 446 + 16 * i + 12) != 0)
    return any


cdef bint is_extended(uint8_t kind) noexcept nogil:
    return kind == 0x05 or kind == 0x0f or kind == 0x85


cdef bint table_entry(const DiskTable* table, const Extent* disk, uint32_t number, Seen* seen,
                      Partition* partition) noexcept nogil:
    # Partition NUMBER (from 1) into SEEN (PARTUUID, PARTLABEL) and, where wanted, PARTITION. False: there is none.
    cdef Text uuid = text_over(seen.partuuid, sizeof(seen.partuuid))
    cdef Text label = text_over(seen.partlabel, sizeof(seen.partlabel))
    cdef uint8_t entry[128]
    cdef uint64_t first, last
    cdef int i
    if table.kind == TABLE_GPT:
        if (number == 0 or number > table.n_entries
                or not extent_read(disk, table.entries + <uint64_t>(number - 1) * 128, entry, 128)):
            return False
        first = little64(entry + 32)
        last = little64(entry + 40)
        # A type of zeros: not in use.
        if (little64(entry) | little64(entry + 8)) == 0 or last < first or last >= disk.size / table.sector:
            return False
        put_uuid(&uuid, entry + 16, True)
        put_utf16(&label, entry + 56, 36, False)
        if partition != NULL:
            partition.start = first * table.sector
            partition.size = (last - first + 1) * table.sector
            partition.extended = False
        return True
    if table.kind != TABLE_MBR or number == 0 or number > 4 + MOST_LOGICAL:
        return False
    # No disk signature, no PARTUUID (the kernel).
    if little32(table.first + 440):
        for i in range(4):
            put_hex(&uuid, table.first[443 - i])
        put_char(&uuid, c'-')
        put_hex(&uuid, <uint8_t>number)
    return partition == NULL or mbr_partition(table, disk, number, partition)


cdef bint mbr_partition(const DiskTable* table, const Extent* disk, uint32_t number,
                        Partition* partition) noexcept nogil:
    cdef uint8_t sector[512]
    cdef const uint8_t* entry = table.first + 446
    cdef uint64_t base = 0
    cdef uint64_t at
    cdef uint32_t n, i
    if number <= 4:
        return mbr_entry(entry + 16 * (number - 1), 0, partition) and partition.start < disk.size
    for i in range(4):
        if base == 0 and is_extended(entry[16 * i + 4]):
            base = little32(entry + 16 * i + 8)
    at = base
    # Each link of the chain has one logical partition, from its own place on, and the next link, from the first's on.
    n = 4
    for i in range(MOST_LOGICAL):
        if at == 0 or not extent_read(disk, at * 512, sector, 512) or sector[510] != 0x55 or sector[511] != 0xaa:
            return False
        entry = sector + 446
        if mbr_entry(entry, at, partition) and not partition.extended:
            n += 1
            if n == number:
                return partition.start < disk.size
        if not is_extended(entry[16 + 4]) or little32(entry + 16 + 8) == 0:
            return False
        at = base + little32(entry + 16 + 8)
    return False


cdef bint mbr_entry(const uint8_t* entry, uint64_t base, Partition* partition) noexcept nogil:
    partition.start = (base + little32(entry + 8)) * 512
    partition.size = <uint64_t>little32(entry + 12) * 512
    partition.extended = is_extended(entry[4])
    return entry[4] != 0 and partition.size != 0
