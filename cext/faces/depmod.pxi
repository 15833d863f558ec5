# tinykmod._core.Depmod: module files read in threads, and depmod's files made of what was read.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from *:
    size_t fetch_and_add "__sync_fetch_and_add"(size_t* number, size_t n) nogil

cdef bytes contents(Buffer* file):
    return PyBytes_FromStringAndSize(<const char*>file.data, <Py_ssize_t>file.used)


cdef inline ElfName name_of(bytes text):
    cdef ElfName name
    if text is None:
        raise TypeError("bytes are expected, not None")
    name.text = PyBytes_AS_STRING(text)
    name.size = <size_t>PyBytes_GET_SIZE(text)
    return name


cdef class Depmod:
    """The records (tinykmod.kmod.depmod_record) of modules: read from their files, or given; and what comes of them.

    files are paths of module files, of which read() makes the records.
    """

    cdef list files
    cdef size_t count
    cdef size_t next  # the next file that nobody has taken yet
    cdef readonly size_t done
    cdef Buffer* buffers  # one for each file: its record
    cdef dict given  # the records that were given: their bytes live as long as this
    cdef object failure

    def __cinit__(self, list files not None):
        self.files = files[:]
        self.count = len(files)
        self.given = {}
        self.buffers = <Buffer*>calloc(self.count + 1, sizeof(Buffer))
        if self.buffers == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef size_t number
        if self.buffers != NULL:
            for number in range(self.count):
                free(self.buffers[number].data)
            free(self.buffers)

    def give(self, size_t number, bytes record not None):
        """Take a record as it is, instead of reading the file of that number."""
        self.given[number] = record

    def read(self, decompress not None):
        """Read files until none is left; several threads may be at it.

        decompress(data, path) gives a compressed file's contents in pieces. Raises the first failure of any thread:
        ModuleFormatError, OSError, MemoryError or what decompress raises.
        """
        cdef size_t number
        cdef Buffer small
        memset(&small, 0, sizeof(Buffer))
        try:
            while self.failure is None:
                number = fetch_and_add(&self.next, 1)
                if number >= self.count:
                    break
                if number not in self.given:
                    self.read_file(number, self.files[number], decompress, &small)
                self.done += 1
        except BaseException as error:
            self.failure = error
            raise
        finally:
            free(small.data)

    cdef read_file(self, size_t number, bytes path, decompress, Buffer* small):
        cdef const char* name = path
        cdef Elf elf
        cdef Buffer* out = &self.buffers[number]
        cdef FileView view
        cdef int failed, found = -1
        cdef bint packed = False
        cdef ElfName whole
        cdef bytes data
        with nogil:
            failed = open_view(&view, name, small)
            if not failed:
                packed = not begins_as_elf(&view)
                if not packed:
                    found = elf_open(&elf, view.data, view.size)
                    if found == 0:
                        found = record_of(&elf, out)
                    close_view(&view)
        which = path.decode("utf-8", "surrogateescape")
        if failed:
            raise OSError(failed, strerror(failed).decode(), which)
        if packed:
            try:
                data = view.data[:view.size]
            finally:
                close_view(&view)
            small.used = 0
            for piece in decompress(data, which):
                whole = name_of(piece)
                add(small, whole.text, whole.size)
            if small.failed:
                raise MemoryError()
            with nogil:
                found = elf_open(&elf, small.data, small.used)
                if found == 0:
                    found = record_of(&elf, out)
        if found < 0:
            raise ModuleFormatError(which, WHY[elf.fault].format(elf.number))
        if out.failed:
            raise MemoryError()
        trim(out)

    cdef ElfSpan span(self, size_t number):
        cdef ElfSpan record
        cdef ElfName name
        if number in self.given:
            name = name_of(self.given[number])
            record.data = <const uint8_t*>name.text
            record.size = name.size
        else:
            record.data = self.buffers[number].data
            record.size = self.buffers[number].used
        return record

    def record(self, size_t number):
        """The record of the file of that number, bytes."""
        if number >= self.count:
            raise IndexError(number)
        cdef ElfSpan record = self.span(number)
        return PyBytes_FromStringAndSize(<const char*>record.data, <Py_ssize_t>record.size)

    def make(self, list names not None, list paths not None, kernel=None, bint versioned=False):
        """depmod's files by their names, but for those of builtin modules; None where there is something to tell.

        names and paths are the modules', bytes, in the files' order. kernel: symbol (bytes) -> CRC or None, if it
        is to be checked that each symbol is exported, and, with versioned, that the CRCs are the same.
        Raises ValueError where names or paths are not as many as the files.
        """
        cdef DepmodModule* modules = <DepmodModule*>calloc(self.count + 1, sizeof(DepmodModule))
        cdef ElfSpan* records = <ElfSpan*>calloc(self.count + 1, sizeof(ElfSpan))
        cdef DepmodFiles files
        cdef Symbols symbols
        cdef Symbol* symbol
        cdef size_t number
        cdef bint made = False
        cdef int check = CHECK_NOTHING if kernel is None else CHECK_CRCS if versioned else CHECK_NAMES
        memset(&files, 0, sizeof(DepmodFiles))
        memset(&symbols, 0, sizeof(Symbols))
        try:
            if modules == NULL or records == NULL:
                raise MemoryError()
            if <size_t>len(names) != self.count or <size_t>len(paths) != self.count:
                raise ValueError(f"{self.count} files, {len(names)} names, {len(paths)} paths")
            for number in range(self.count):
                modules[number].name = name_of(names[number])
                modules[number].path = name_of(paths[number])
                records[number] = self.span(number)
            for text, crc in (kernel or {}).items():
                symbol = find_symbol(&symbols, name_of(text), True)
                if symbol == NULL:
                    raise MemoryError()
                symbol.owner = KERNEL
                symbol.has_crc = crc is not None
                symbol.crc = crc or 0
            with nogil:
                made = make_files(&files, &symbols, modules, records, self.count, check)
            if not made:
                return None
            return {
                "modules.dep": contents(&files.dep),
                "modules.alias": contents(&files.alias),
                "modules.softdep": contents(&files.softdep),
                "modules.weakdep": contents(&files.weakdep),
                "modules.symbols": contents(&files.symbols),
                "modules.devname": contents(&files.devname),
                "modules.dep.bin": contents(&files.dep_bin),
                "modules.alias.bin": contents(&files.alias_bin),
                "modules.symbols.bin": contents(&files.symbols_bin),
            }
        finally:
            free(modules)
            free(records)
            drop_files(&files)
            free(symbols.items)
            free(symbols.slots)
