# The extension's face of the boot index: the methods of tinykmod.index.reader.Index that the core has.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free

from tinykmod.errors import IndexFormatError
from tinykmod.index.records import Match as MatchRecord, Step as StepRecord


cdef enum:
    SPELLING_SIZE = 1 << 16


cdef inline str decoded(const char* text):
    return (<bytes>text).decode("utf-8", "surrogateescape")


cdef inline bytes encoded(str text):
    return text.encode("utf-8", "surrogateescape")


cdef class Index:
    """A boot index held in DATA, of this machine's byte order. Raises IndexFormatError."""

    cdef Py_buffer view
    cdef bint held
    cdef void* copied
    cdef BootIndex ix
    cdef Search* search
    cdef uint32_t* marks
    cdef char* spelling_data
    cdef Text spelling
    cdef readonly str which
    cdef readonly str release

    def __cinit__(self, data, str which="boot index"):
        cdef const char* why
        cdef const void* at
        self.which = which
        PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)
        self.held = True
        at = self.view.buf
        if <size_t>at % 8:
            # A slice of something larger: the core reads u64 words in place.
            self.copied = calloc(1, self.view.len)
            if self.copied == NULL:
                raise MemoryError
            memcpy(self.copied, at, self.view.len)
            at = self.copied
        why = index_open(&self.ix, at, self.view.len)
        if why != NULL:
            raise IndexFormatError(which, decoded(why))
        self.marks = <uint32_t*>calloc(<size_t>self.ix.header.stars + 1, sizeof(uint32_t))
        self.search = <Search*>calloc(1, sizeof(Search))
        self.spelling_data = <char*>calloc(1, SPELLING_SIZE)
        if self.marks == NULL or self.search == NULL or self.spelling_data == NULL:
            raise MemoryError
        search_start(self.search, &self.ix, self.marks, &self.spelling)
        self.release = decoded(index_string(&self.ix, self.ix.header.release))

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)
        free(self.copied)
        free(self.marks)
        free(self.search)
        free(self.spelling_data)

    def __len__(self):
        return self.ix.count[<int>SECTION_MODULES]

    cdef bint _find(self, bytes name, bint by_name):
        self.spelling = text_over(self.spelling_data, SPELLING_SIZE)
        return lookup(self.search, name) if by_name else match_modalias(self.search, name)

    cdef list _matches(self):
        cdef uint32_t i
        cdef Hit* hit
        out = []
        for i in range(self.search.n_hits):
            hit = self.search.hits + i
            pattern = "" if is_none(hit.value) else decoded(self.spelling_data + hit.spelled)
            out.append(MatchRecord(decoded(hit_name(self.search, hit)), pattern, bool(self.search.builtin)))
        return out

    def match(self, str modalias):
        """As tinykmod.index.reader.Index.match()."""
        return self._matches() if self._find(encoded(modalias), False) else []

    def lookup(self, str name):
        """As tinykmod.index.reader.Index.lookup()."""
        return self._matches() if self._find(encoded(name), True) else []

    def plan(self, wanted):
        """As tinykmod.index.reader.Index.plan()."""
        cdef size_t n = self.ix.count[<int>SECTION_MODULES]
        cdef Plan plan
        cdef uint32_t i, first
        cdef Hit hit
        steps = []
        plan.n_steps = 0
        plan.steps = <Step*>calloc(n + 1, sizeof(Step))
        plan.visited = <uint8_t*>calloc(n + 1, 1)
        try:
            if plan.steps == NULL or plan.visited == NULL:
                raise MemoryError
            for name in wanted:
                if not self._find(encoded(name), True) or self.search.builtin:
                    continue
                first = plan.n_steps
                for i in range(self.search.n_hits):
                    hit = self.search.hits[i]
                    if not is_none(hit.value) and index_blacklisted(&self.ix, hit.module):
                        continue
                    plan_add(&plan, &self.ix, hit.module, <uint32_t>-1,
                             WHY_REQUEST if is_none(hit.value) else WHY_MODALIAS)
                for i in range(first, plan.n_steps):
                    by = name
                    if not is_none(plan.steps[i].parent):
                        by = decoded(index_name(&self.ix, plan.steps[i].parent))
                    steps.append(StepRecord(decoded(index_name(&self.ix, plan.steps[i].module)),
                                            decoded(why_word(plan.steps[i].why)), by))
        finally:
            free(plan.steps)
            free(plan.visited)
        return steps

    cdef const Module* _record(self, str module) except NULL:
        cdef uint32_t number = index_find(&self.ix, encoded(module))
        if is_none(number) or number >= self.ix.count[<int>SECTION_MODULES]:
            raise KeyError(module)
        return self.ix.modules + number

    def options(self, str module, str alias=""):
        """As tinykmod.index.reader.Index.options()."""
        cdef char buffer[SPELLING_SIZE]
        cdef Text options = text_over(buffer, SPELLING_SIZE)
        put_options(&options, &self.ix, self._record(module), encoded(alias))
        return decoded(buffer)

    def path(self, str module):
        """MODULE's path below /lib/modules/RELEASE."""
        return decoded(index_string(&self.ix, self._record(module).path))


def cmdline_options_of(str text, str module):
    """As tinykmod.boot.cmdline.options_of()."""
    cdef char buffer[CMDLINE_MOST]
    cdef Text options = text_over(buffer, CMDLINE_MOST)
    cmdline_options(encoded(text)[:CMDLINE_MOST - 1], encoded(module), &options)
    return decoded(buffer)


def cmdline_blacklists(str text, str module):
    """As tinykmod.boot.cmdline.blacklists()."""
    cdef bint by_kernel = False
    return bool(cmdline_blacklisted(encoded(text)[:CMDLINE_MOST - 1], encoded(module), &by_kernel))
