# What a block device holds, by its superblock: type, UUID and label as blkid tells them. Every field is taken out of
# its bytes, so the host's byte order is of no matter; whatever does not fit the format's own rules is not known.

cdef enum:
    FRONT = 4096  # bytes that are read at once; all but btrfs, iso9660 and large pages' swap are told by them
    LABEL_SIZE = 260  # btrfs has the longest
    MOST_CLUSTERS = 64  # of a root directory that is searched for its label


cdef struct Seen:
    # A block device that was looked at.
    char name[64]
    uint32_t major
    uint32_t minor
    uint32_t part  # its number; 0: a whole disk
    bint probed  # the superblock was read
    uint64_t size  # bytes, if it was
    uint32_t members  # devices that its filesystem is on: btrfs
    char kind[24]  # type, as mount and blkid name it
    char uuid[40]
    char label[LABEL_SIZE]
    char partuuid[40]
    char partlabel[112]


cdef struct Extent:
    # What is looked into: SIZE bytes of a file or device from BASE on; what lies behind them cannot be read.
    int fd
    uint64_t base
    uint64_t size


cdef Extent extent_of(int fd) noexcept nogil:
    cdef Extent extent
    cdef int64_t end = lseek(fd, 0, SEEK_END)
    extent.fd = fd
    extent.base = 0
    extent.size = <uint64_t>end if end > 0 else 0
    return extent


cdef bint extent_read(const Extent* extent, uint64_t at, void* out, size_t n) noexcept nogil:
    # N bytes from AT on; False where they are not all there.
    cdef size_t done = 0
    cdef ssize_t got
    if at > extent.size or n > extent.size - at:
        return False
    while done < n:
        got = pread(extent.fd, <char*>out + done, n - done, <int64_t>(extent.base + at + done))
        if got < 0 and errno == EINTR:
            continue
        if got <= 0:
            return False
        done += <size_t>got
    return True


cdef inline uint32_t little16(const uint8_t* at) noexcept nogil:
    return at[0] | <uint32_t>at[1] << 8


cdef inline uint32_t little32(const uint8_t* at) noexcept nogil:
    return little16(at) | little16(at + 2) << 16


cdef inline uint64_t little64(const uint8_t* at) noexcept nogil:
    return little32(at) | <uint64_t>little32(at + 4) << 32


cdef inline uint32_t big16(const uint8_t* at) noexcept nogil:
    return <uint32_t>at[0] << 8 | at[1]


cdef inline uint32_t big32(const uint8_t* at) noexcept nogil:
    return big16(at) << 16 | big16(at + 2)


cdef bint is_power_of_two(uint32_t number, uint32_t least, uint32_t most) noexcept nogil:
    return least <= number <= most and number & (number - 1) == 0


cdef enum:
    CRC32 = 0xedb88320  # the polynomials, bits reversed
    CRC32C = 0x82f63b78


cdef uint32_t crc_over(uint32_t crc, const uint8_t* data, size_t n, uint32_t polynomial) noexcept nogil:
    # Neither begun with ones nor inverted at the end: formats differ in that.
    cdef uint32_t table[16]
    cdef uint32_t value
    cdef size_t i
    cdef int bit
    for i in range(16):
        value = <uint32_t>i
        for bit in range(4):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table[i] = value
    for i in range(n):
        crc ^= data[i]
        crc = crc >> 4 ^ table[crc & 15]
        crc = crc >> 4 ^ table[crc & 15]
    return crc


cdef void put_uuid(Text* text, const uint8_t* at, bint mixed) noexcept nogil:
    # 16 bytes as 8-4-4-4-12; zeros are no UUID. MIXED: GPT stores the first three groups little-endian.
    cdef const char* order = b"\x03\x02\x01\x00\x05\x04\x07\x06\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
    cdef int i
    if (little64(at) | little64(at + 8)) == 0:
        return
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            put_char(text, c'-')
        put_hex(text, at[<uint8_t>order[i]] if mixed else at[i])


cdef void put_serial(Text* text, const uint8_t* serial) noexcept nogil:
    # The volume serial number of FAT and exFAT: `12AB-34CD`.
    cdef int i
    for i in range(4):
        put_hex(text, serial[3 - i])
        if i == 1:
            put_char(text, c'-')
    for i in range(<int>text.used):
        if c'a' <= text.data[i] <= c'f':
            text.data[i] -= 32


cdef void put_label(Text* text, const uint8_t* at, size_t n) noexcept nogil:
    # N bytes at most, up to a NUL.
    cdef const void* end = memchr(at, 0, n)
    put_bytes(text, <const char*>at, <size_t>(<const uint8_t*>end - at) if end != NULL else n)
    trim(text)


cdef void trim(Text* text) noexcept nogil:
    while text.used and (text.data[text.used - 1] == c' ' or text.data[text.used - 1] == c'\t'):
        text.used -= 1
        text.data[text.used] = 0


cdef void put_utf16(Text* text, const uint8_t* at, size_t units, bint big) noexcept nogil:
    # UNITS of UTF-16 at most, up to a zero, as UTF-8. Half a pair is U+FFFD.
    cdef uint32_t code, low
    cdef size_t i = 0
    while i < units:
        code = big16(at + 2 * i) if big else little16(at + 2 * i)
        i += 1
        if code == 0:
            break
        if 0xd800 <= code < 0xe000:
            low = 0
            if code < 0xdc00 and i < units:
                low = big16(at + 2 * i) if big else little16(at + 2 * i)
            if 0xdc00 <= low < 0xe000:
                i += 1
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
            else:
                code = 0xfffd
        if code < 0x80:
            put_char(text, <char>code)
            continue
        if code < 0x800:
            put_char(text, <char>(0xc0 | code >> 6))
        else:
            if code < 0x10000:
                put_char(text, <char>(0xe0 | code >> 12))
            else:
                put_char(text, <char>(0xf0 | code >> 18))
                put_char(text, <char>(0x80 | (code >> 12 & 0x3f)))
            put_char(text, <char>(0x80 | (code >> 6 & 0x3f)))
        put_char(text, <char>(0x80 | (code & 0x3f)))
    trim(text)


cdef struct Found:
    # Where a reader puts what it finds: texts over a Seen's arrays.
    Text kind
    Text uuid
    Text label
    uint32_t members


cdef bint found_as(Found* found, const char* kind) noexcept nogil:
    put(&found.kind, kind)
    return True


cdef void superblock_read(Seen* seen, const Extent* extent) noexcept nogil:
    # Fill kind, uuid and label of SEEN. The signatures that are the surest come first; FAT has hardly one.
    cdef uint8_t front[FRONT]
    cdef size_t n = FRONT if extent.size >= FRONT else <size_t>extent.size
    cdef Found found
    seen.probed = True
    found.members = 1
    found.kind = text_over(seen.kind, sizeof(seen.kind))
    found.uuid = text_over(seen.uuid, sizeof(seen.uuid))
    found.label = text_over(seen.label, sizeof(seen.label))
    memset(front, 0, FRONT)
    if n < 512 or not extent_read(extent, 0, front, n):
        return
    if (read_container(&found, front) or read_xfs(&found, front) or read_squashfs(&found, front)
            or read_exfat(&found, front, extent) or read_ext(&found, front) or read_f2fs(&found, front)
            or read_erofs(&found, front) or read_btrfs(&found, extent) or read_iso9660(&found, extent)
            or read_swap(&found, front, extent)):
        seen.members = found.members
        return
    read_fat(&found, front, extent)


cdef bint is_root_kind(const char* kind) noexcept nogil:
    # Whether a filesystem of that kind, which may be none that is known here, could be mounted as the root.
    return not (strcmp(kind, b"swap") == 0 or strcmp(kind, b"swsuspend") == 0 or strcmp(kind, b"jbd") == 0
                or strcmp(kind, b"crypto_LUKS") == 0 or strcmp(kind, b"LVM2_member") == 0
                or strcmp(kind, b"linux_raid_member") == 0)


cdef bint read_container(Found* found, const uint8_t* front) noexcept nogil:
    # What is no filesystem but holds one: LUKS (its UUID is text, in version 1 and 2 in the same place), LVM.
    cdef uint32_t at
    if memcmp(front, b"LUKS\xba\xbe", 6) == 0:
        put_label(&found.uuid, front + 168, 36)
        return found_as(found, b"crypto_LUKS")
    for at in range(0, 2048, 512):
        if memcmp(front + at, b"LABELONE", 8) == 0 and memcmp(front + at + 24, b"LVM2 001", 8) == 0:
            return found_as(found, b"LVM2_member")
    return False


cdef bint is_raid_member(const Extent* extent) noexcept nogil:
    # Whether a RAID superblock of Linux lies at the end (metadata 0.90 and 1.0): the filesystem in front of it is the
    # array's then, and would be damaged by mounting it here. drivers/md/md.c has the places.
    cdef uint8_t magic[4]
    cdef uint64_t sectors = extent.size / 512
    if sectors < 256:
        return False
    if extent_read(extent, (sectors - 16 & ~<uint64_t>7) * 512, magic, 4) and little32(magic) == <uint32_t>0xa92b4efc:
        return True
    # 0.90 is in the byte order of the machine that made it.
    return (extent_read(extent, ((sectors & ~<uint64_t>127) - 128) * 512, magic, 4)
            and (little32(magic) == <uint32_t>0xa92b4efc or big32(magic) == <uint32_t>0xa92b4efc))


cdef bint read_xfs(Found* found, const uint8_t* front) noexcept nogil:
    # fs/xfs/libxfs/xfs_format.h, struct xfs_dsb: all big-endian but its CRC, which version 5 has.
    cdef uint32_t sector = big16(front + 102)
    cdef uint32_t crc
    if (memcmp(front, b"XFSB", 4) != 0 or not is_power_of_two(big32(front + 4), 512, 65536)
            or not is_power_of_two(sector, 512, 32768)):
        return False
    if big16(front + 100) & 15 == 5 and sector <= FRONT:
        crc = crc_over(~<uint32_t>0, front, 224, CRC32C)
        crc = crc_over(crc, <const uint8_t*>b"\0\0\0\0", 4, CRC32C)
        if ~crc_over(crc, front + 228, sector - 228, CRC32C) != little32(front + 224):
            return False
    put_uuid(&found.uuid, front + 32, False)
    put_label(&found.label, front + 108, 12)
    return found_as(found, b"xfs")


cdef bint read_squashfs(Found* found, const uint8_t* front) noexcept nogil:
    # fs/squashfs/squashfs_fs.h, struct squashfs_super_block. It has neither UUID nor label.
    cdef uint32_t log = little16(front + 22)
    if memcmp(front, b"hsqs", 4) != 0 or little16(front + 28) != 4 or not 12 <= log <= 20:
        return False
    return little32(front + 12) == <uint32_t>1 << log and found_as(found, b"squashfs")


cdef bint read_ext(Found* found, const uint8_t* front) noexcept nogil:
    # ext2, ext3 and ext4: fs/ext4/ext4.h, struct ext4_super_block.
    cdef const uint8_t* block = front + 1024
    cdef uint32_t incompatible = little32(block + 96)
    cdef uint32_t read_only = little32(block + 100)
    cdef bint journal, newer
    # s_log_block_size: 64 KiB at most.
    if block[56] != 0x53 or block[57] != 0xef or little32(block + 24) > 6:
        return False
    # metadata_csum; 1 is crc32c, and there is no other.
    if (read_only & 0x400
            and (block[373] != 1 or crc_over(~<uint32_t>0, block, 1020, CRC32C) != little32(block + 1020))):
        return False
    put_uuid(&found.uuid, block + 104, False)
    put_label(&found.label, block + 120, 16)
    # 8: the journal of another filesystem, which may bear that one's label.
    if incompatible & 8:
        return found_as(found, b"jbd")
    journal = (little32(block + 92) & 4) != 0
    # What ext3 knows: filetype, recover and meta_bg; sparse_super, large_file and btree_dir.
    newer = (incompatible & ~<uint32_t>0x16) != 0 or (read_only & ~<uint32_t>7) != 0
    return found_as(found, either(newer, b"ext4", either(journal, b"ext3", b"ext2")))


cdef bint read_f2fs(Found* found, const uint8_t* front) noexcept nogil:
    # include/linux/f2fs_fs.h, struct f2fs_super_block.
    cdef const uint8_t* block = front + 1024
    if little32(block) != <uint32_t>0xf2f52010 or not 12 <= little32(block + 16) <= 16:
        return False
    # log_sectorsize and log_sectors_per_block make log_blocksize.
    if little32(block + 8) > 16 or little32(block + 8) + little32(block + 12) != little32(block + 16):
        return False
    put_uuid(&found.uuid, block + 108, False)
    put_utf16(&found.label, block + 124, 512, False)
    return found_as(found, b"f2fs")


cdef bint read_erofs(Found* found, const uint8_t* front) noexcept nogil:
    # fs/erofs/erofs_fs.h, struct erofs_super_block. Its checksum covers the rest of its block.
    cdef const uint8_t* block = front + 1024
    cdef uint32_t crc
    if little32(block) != <uint32_t>0xe0f5e1e2 or not 9 <= block[12] <= 16:
        return False
    if little32(block + 8) & 1 and block[12] == 12:
        crc = crc_over(~<uint32_t>0, block, 4, CRC32C)
        crc = crc_over(crc, <const uint8_t*>b"\0\0\0\0", 4, CRC32C)
        if crc_over(crc, block + 8, FRONT - 1024 - 8, CRC32C) != little32(block + 4):
            return False
    put_uuid(&found.uuid, block + 48, False)
    put_label(&found.label, block + 64, 16)
    return found_as(found, b"erofs")


cdef bint read_swap(Found* found, const uint8_t* front, const Extent* extent) noexcept nogil:
    # include/linux/swap.h, union swap_header: the signature ends the first page, of the machine that made it.
    cdef uint8_t magic[10]
    cdef uint32_t page = 4096
    while page <= 65536:
        if page > FRONT:
            if not extent_read(extent, page - 10, magic, 10):
                return False
        else:
            memcpy(magic, front + page - 10, 10)
        if memcmp(magic, b"S1SUSPEND", 9) == 0 or memcmp(magic, b"S2SUSPEND", 9) == 0:
            return found_as(found, b"swsuspend")
        if memcmp(magic, b"SWAPSPACE2", 10) == 0:
            put_uuid(&found.uuid, front + 1036, False)
            put_label(&found.label, front + 1052, 16)
            return found_as(found, b"swap")
        page *= 2
    return False


cdef bint read_btrfs(Found* found, const Extent* extent) noexcept nogil:
    # include/uapi/linux/btrfs_tree.h, struct btrfs_super_block, at 64 KiB.
    cdef uint8_t block[4096]
    if (not extent_read(extent, 65536, block, 4096) or memcmp(block + 64, b"_BHRfS_M", 8) != 0
            or little64(block + 48) != 65536):
        return False
    # Its checksum is crc32c unless the user chose another.
    if little16(block + 196) == 0 and ~crc_over(~<uint32_t>0, block + 32, 4096 - 32, CRC32C) != little32(block):
        return False
    found.members = little32(block + 136)
    put_uuid(&found.uuid, block + 32, False)
    put_label(&found.label, block + 299, 256)
    return found_as(found, b"btrfs")


cdef bint read_iso9660(Found* found, const Extent* extent) noexcept nogil:
    # ECMA-119: volume descriptors of 2048 bytes from 32 KiB on. The UUID is when it was changed last, or made.
    cdef uint8_t block[2048]
    cdef char joliet[64]
    cdef Text text
    cdef const uint8_t* date
    cdef uint64_t at = 32768
    cdef int i
    if not extent_read(extent, at, block, 2048) or memcmp(block, b"\x01CD001", 6) != 0:
        return False
    date = block + 830
    if memcmp(date, b"0000000000000000", 16) == 0 or date[0] == 0:
        date = block + 813
    for i in range(16):
        if not c'0' <= date[i] <= c'9':
            found.uuid.used = 0
            found.uuid.data[0] = 0
            break
        if i >= 4 and i % 2 == 0:
            put_char(&found.uuid, c'-')
        put_char(&found.uuid, <char>date[i])
    put_label(&found.label, block + 40, 32)
    # A Joliet descriptor has the label in UTF-16, but only 16 characters of it.
    for i in range(16):
        at += 2048
        if not extent_read(extent, at, block, 2048) or memcmp(block + 1, b"CD001", 5) != 0 or block[0] == 255:
            break
        if block[0] == 2 and memcmp(block + 88, b"%/", 2) == 0:
            text = text_over(joliet, sizeof(joliet))
            put_utf16(&text, block + 40, 16, True)
            if strncmp(joliet, found.label.data, text.used) != 0:
                found.label.used = 0
                put(&found.label, joliet)
            break
    return found_as(found, b"iso9660")


cdef bint read_exfat(Found* found, const uint8_t* front, const Extent* extent) noexcept nogil:
    # Microsoft's exFAT specification: the boot region of 12 sectors, the last of which is their checksum.
    cdef uint8_t block[4096]
    cdef uint32_t shift = front[108]
    cdef uint32_t sum = 0
    cdef uint32_t clusters = little32(front + 92)
    cdef uint32_t cluster = little32(front + 96)
    cdef uint64_t heap, size, i
    if memcmp(front + 3, b"EXFAT   ", 8) != 0 or not 9 <= shift <= 12 or front[109] > 25 - shift:
        return False
    for i in range(11):
        if not extent_read(extent, i << shift, block, <size_t>1 << shift):
            return False
        sum = exfat_sum(sum, block, <uint32_t>1 << shift, i == 0)
    if not extent_read(extent, <uint64_t>11 << shift, block, 4) or little32(block) != sum:
        return False
    put_serial(&found.uuid, front + 100)
    # The label is an entry of the root directory, as a rule among the first.
    heap = <uint64_t>little32(front + 88) << shift
    size = <uint64_t>1 << (shift + front[109])
    for i in range(MOST_CLUSTERS):
        if cluster < 2 or cluster - 2 >= clusters:
            break
        if exfat_label(&found.label, extent, heap + (cluster - 2) * size, size):
            break
        if not extent_read(extent, (<uint64_t>little32(front + 80) << shift) + <uint64_t>cluster * 4, block, 4):
            break
        cluster = little32(block)
    return found_as(found, b"exfat")


cdef uint32_t exfat_sum(uint32_t sum, const uint8_t* sector, uint32_t n, bint first) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        # The volume's flags and how full it is change without it.
        if not (first and (i == 106 or i == 107 or i == 112)):
            sum = (sum << 31 | sum >> 1) + sector[i]
    return sum


cdef bint exfat_label(Text* label, const Extent* extent, uint64_t at, uint64_t size) noexcept nogil:
    # Look through the first entries of a cluster. True where the search is over.
    cdef uint8_t block[512]
    cdef uint32_t i
    if not extent_read(extent, at, block, sizeof(block)):
        return True
    for i in range(0, sizeof(block), 32):
        if block[i] == 0:
            return True
        if block[i] == 0x83:
            put_utf16(label, block + i + 2, block[i + 1] if block[i + 1] <= 11 else 11, False)
            return True
    return False


cdef bint read_fat(Found* found, const uint8_t* front, const Extent* extent) noexcept nogil:
    # FAT12, FAT16 and FAT32 by Microsoft's specification (fatgen103); the rules of the kernel's fat_read_bpb().
    cdef uint8_t entry[4]
    cdef uint32_t sector = little16(front + 11)
    cdef uint32_t per_cluster = front[13]
    cdef uint32_t reserved = little16(front + 14)
    cdef uint32_t fats = front[16]
    cdef uint32_t entries = little16(front + 17)
    cdef uint32_t sectors = little16(front + 19)
    cdef uint32_t length = little16(front + 22)
    cdef bint wide = length == 0
    cdef uint64_t directory, data, clusters
    cdef uint32_t cluster, i
    if sectors == 0:
        sectors = little32(front + 32)
    if wide:
        length = little32(front + 36)
    if (front[510] != 0x55 or front[511] != 0xaa or not (front[0] == 0xeb or front[0] == 0xe9)
            or not is_power_of_two(sector, 512, 4096) or not is_power_of_two(per_cluster, 1, 128)
            or reserved == 0 or not 1 <= fats <= 2 or not (front[21] == 0xf0 or front[21] >= 0xf8) or length == 0):
        return False
    directory = reserved + <uint64_t>fats * length
    data = directory + (entries * 32 + sector - 1) / sector
    if sectors <= data:
        return False
    clusters = (sectors - data) / per_cluster
    put_serial(&found.uuid, front + (67 if wide else 39))
    if not wide:
        fat_label(&found.label, extent, directory * sector, entries)
        return found_as(found, b"vfat")
    cluster = little32(front + 44)
    for i in range(MOST_CLUSTERS):
        if cluster < 2 or cluster - 2 >= clusters:
            break
        if fat_label(&found.label, extent, (data + <uint64_t>(cluster - 2) * per_cluster) * sector,
                     per_cluster * sector / 32):
            break
        if not extent_read(extent, <uint64_t>reserved * sector + <uint64_t>cluster * 4, entry, 4):
            break
        cluster = little32(entry) & 0x0fffffff
    return found_as(found, b"vfat")


cdef bint fat_label(Text* label, const Extent* extent, uint64_t at, uint32_t entries) noexcept nogil:
    # Look for the volume's label among the entries of a directory. True where the search is over.
    cdef uint8_t block[512]
    cdef const uint8_t* entry
    cdef uint32_t i
    for i in range(entries):
        if i % 16 == 0 and not extent_read(extent, at + <uint64_t>i * 32, block, sizeof(block)):
            return True
        entry = block + i % 16 * 32
        if entry[0] == 0:
            return True
        # A volume's label, no directory, no part of a long name; deleted ones begin with E5.
        if (entry[0] != 0xe5 and entry[11] & 0x3f != 0x0f and entry[11] & 0x18 == 8
                and little16(entry + 20) == 0 and little16(entry + 26) == 0):
            put_label(label, entry, 11)
            if label.used and entry[0] == 0x05:
                label.data[0] = <char>0xe5
            return True
    return False
