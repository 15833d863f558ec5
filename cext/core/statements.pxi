# What modprobe.d said, statement by statement, with its place. Twin: tinykmod/index/reader.py (statements, options,
# install_command). Searching and planning never come here.

cdef const char* statement_word(uint32_t kind) noexcept nogil:
    if kind == STATEMENT_KIND_BLACKLIST:
        return b"blacklist"
    if kind == STATEMENT_KIND_INSTALL:
        return b"install"
    if kind == STATEMENT_KIND_REMOVE:
        return b"remove"
    if kind == STATEMENT_KIND_ALIAS:
        return b"alias"
    if kind == STATEMENT_KIND_OPTIONS:
        return b"options"
    if kind == STATEMENT_KIND_SOFTDEP:
        return b"softdep"
    return b"weakdep"


cdef void put_place(Text* text, const BootIndex* ix, const Statement* statement) noexcept nogil:
    # FILE:LINE
    put(text, index_string(ix, statement.file))
    put_char(text, c':')
    put_number(text, statement.line)


cdef const Statement* statement_of(const BootIndex* ix, uint32_t kind, const char* module) noexcept nogil:
    # The first of a kind that fits MODULE, which is the one that counts for a command (kmod); NULL where none does.
    cdef uint32_t i
    for i in range(ix.count[<int>SECTION_STATEMENTS]):
        if ix.statements[i].kind == kind and glob(index_string(ix, ix.statements[i].name), module):
            return ix.statements + i
    return NULL


cdef bint alias_leads(const BootIndex* ix, const char* pattern, const char* module, const char* name) noexcept nogil:
    # Whether `alias PATTERN MODULE` is in the configuration and NAME, normalised, fits it.
    cdef uint32_t i
    cdef const Statement* statement
    for i in range(ix.count[<int>SECTION_STATEMENTS]):
        statement = ix.statements + i
        if (statement.kind == STATEMENT_KIND_ALIAS and strcmp(index_string(ix, statement.name), pattern) == 0
                and strcmp(index_string(ix, statement.text), module) == 0):
            return glob(pattern, name)
    return False


cdef void put_options(Text* out, const BootIndex* ix, const Module* module, const char* alias) noexcept nogil:
    # What the configuration gives to MODULE. With ALIAS, the name that led to it, also what is given to that name or
    # to the pattern of the `alias` statement that led from it to MODULE, each in its place.
    cdef char used[MATCH_TEXT]
    cdef Text text = text_over(used, sizeof(used))
    cdef const char* own = index_string(ix, module.name)
    cdef const char* name
    cdef const char* said
    cdef uint32_t i
    if alias[0] == 0 or ix.count[<int>SECTION_STATEMENTS] == 0:
        put(out, index_string(ix, module.options))
        return
    while alias[0]:
        put_char(&text, normal(alias[0]))
        alias += 1
    for i in range(ix.count[<int>SECTION_STATEMENTS]):
        if ix.statements[i].kind != STATEMENT_KIND_OPTIONS:
            continue
        name = index_string(ix, ix.statements[i].name)
        said = index_string(ix, ix.statements[i].text)
        if said[0] and (strcmp(name, own) == 0 or strcmp(name, used) == 0 or alias_leads(ix, name, own, used)):
            if out.used:
                put_char(out, c' ')
            put(out, said)
