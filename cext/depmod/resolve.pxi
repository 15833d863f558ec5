# Which modules a module needs, and the order in which they are loaded: the twin of tinykmod/kmod/depends.py.

cdef enum SymbolCheck:
    CHECK_NOTHING
    CHECK_NAMES  # something exports each symbol that is not weak
    CHECK_CRCS  # and its CRC is the one that was built against

cdef struct Graph:
    size_t count
    # The modules whose symbols a module imports, in the order in which it first names them: for module N,
    # direct[first[N]] up to direct[first[N + 1]], u32 each.
    Buffer direct
    size_t* first
    # order[rank] is a module, each before those that it needs; needs[rank] the ranks of all that it needs, as bits.
    uint32_t* order
    uint64_t* needs
    size_t words  # of 64 bits, for one module's


cdef void drop_graph(Graph* graph) noexcept nogil:
    free(graph.direct.data)
    free(graph.first)
    free(graph.order)
    free(graph.needs)


cdef inline uint32_t direct_at(const Graph* graph, size_t at) noexcept nogil:
    return (<const uint32_t*>graph.direct.data)[at]


cdef bint add_exports(Symbols* symbols, ElfSpan record, int module) noexcept nogil:
    # Of two exporters the later counts. False for a name that no index takes, and where memory ran out.
    cdef Entry entry
    cdef Symbol* symbol
    while next_entry(&record, &entry):
        if entry.tag != TAG_EXPORT and entry.tag != TAG_EXPORT_CRC:
            continue
        symbol = find_symbol(symbols, entry.text, True)
        if symbol == NULL or not is_ascii(entry.text):
            return False
        if symbol.owner != module:
            symbol.owner = module
            symbol.has_crc = False
        if entry.tag == TAG_EXPORT_CRC:
            symbol.has_crc = True
            symbol.crc = entry.crc
    return True


cdef bint add_imports(
    Graph* graph, Symbols* symbols, ElfSpan record, int module, uint32_t* told, int check
) noexcept nogil:
    # The modules that one module needs. TOLD has a place for each module, where the last that named it is noted.
    # False where a symbol fails the CHECK, and where memory ran out.
    cdef Entry entry
    cdef Symbol* symbol
    cdef ElfSpan rest = record
    cdef uint32_t number = <uint32_t>module + 1
    while next_entry(&rest, &entry):
        if entry.tag != TAG_IMPORT and entry.tag != TAG_IMPORT_CRC and entry.tag != TAG_WEAK_IMPORT:
            continue
        symbol = find_symbol(symbols, entry.text, check != CHECK_NOTHING)
        if symbol == NULL:
            if check != CHECK_NOTHING:
                return False
            continue
        if symbol.wanted_by != number:
            symbol.wanted_by = number
            symbol.weak = symbol.wants_crc = False
        symbol.weak |= entry.tag == TAG_WEAK_IMPORT
        if entry.tag == TAG_IMPORT_CRC:
            symbol.wants_crc = True
            symbol.wanted_crc = entry.crc
        if symbol.owner >= 0 and symbol.owner != module and told[symbol.owner] != number:
            told[symbol.owner] = number
            add(&graph.direct, &symbol.owner, sizeof(uint32_t))
    while check != CHECK_NOTHING and next_entry(&record, &entry):
        if entry.tag != TAG_IMPORT and entry.tag != TAG_IMPORT_CRC:
            continue
        symbol = find_symbol(symbols, entry.text, False)
        if symbol == NULL or symbol.weak:
            continue
        if symbol.owner == NOBODY:
            return False
        if check == CHECK_CRCS and symbol.has_crc and symbol.wants_crc and symbol.crc != symbol.wanted_crc:
            return False
    return True


cdef bint sort_graph(Graph* graph) noexcept nogil:
    # Fill order and needs. False where modules need each other in a circle, and where memory ran out.
    cdef size_t count = graph.count, at, ready = 0, done = 0, word
    cdef uint32_t module, needed
    cdef uint64_t* mine
    cdef uint64_t* theirs
    cdef uint32_t* users = <uint32_t*>calloc(count + 1, sizeof(uint32_t))
    cdef uint32_t* stack = <uint32_t*>malloc((count + 1) * sizeof(uint32_t))
    cdef uint32_t* rank = <uint32_t*>malloc((count + 1) * sizeof(uint32_t))
    graph.words = (count + 63) // 64
    graph.order = <uint32_t*>malloc((count + 1) * sizeof(uint32_t))
    graph.needs = <uint64_t*>calloc(count * graph.words + 1, sizeof(uint64_t))
    if users != NULL and stack != NULL and rank != NULL and graph.order != NULL and graph.needs != NULL:
        for at in range(graph.first[count]):
            users[direct_at(graph, at)] += 1
        for module in range(<uint32_t>count):
            if users[module] == 0:
                stack[ready] = module
                ready += 1
        while ready:
            ready -= 1
            module = stack[ready]
            rank[module] = <uint32_t>done
            graph.order[done] = module
            done += 1
            for at in range(graph.first[module], graph.first[module + 1]):
                needed = direct_at(graph, at)
                users[needed] -= 1
                if users[needed] == 0:
                    stack[ready] = needed
                    ready += 1
        # What is needed ranks higher, and has its own needs when its users ask.
        at = done if done == count else 0
        while at:
            at -= 1
            mine = graph.needs + at * graph.words
            module = graph.order[at]
            for word in range(graph.first[module], graph.first[module + 1]):
                needed = rank[direct_at(graph, word)]
                mine[needed // 64] |= <uint64_t>1 << (needed & 63)
                theirs = graph.needs + needed * graph.words
                join_bits(mine, theirs, graph.words)
    free(users)
    free(stack)
    free(rank)
    return done == count


cdef inline void join_bits(uint64_t* to, const uint64_t* bits, size_t words) noexcept nogil:
    cdef size_t word
    for word in range(words):
        to[word] |= bits[word]


cdef bint resolve_modules(
    Graph* graph, Symbols* symbols, const ElfSpan* records, size_t count, int check
) noexcept nogil:
    # All modules' dependencies. False for whatever the twin has to tell of.
    cdef size_t module
    cdef bint well = True
    cdef uint32_t* told = <uint32_t*>calloc(count + 1, sizeof(uint32_t))
    graph.count = count
    graph.first = <size_t*>malloc((count + 1) * sizeof(size_t))
    if told == NULL or graph.first == NULL:
        free(told)
        return False
    for module in range(count):
        well = well and add_exports(symbols, records[module], <int>module)
    for module in range(count):
        graph.first[module] = graph.direct.used // sizeof(uint32_t)
        well = well and add_imports(graph, symbols, records[module], <int>module, told, check)
    graph.first[count] = graph.direct.used // sizeof(uint32_t)
    free(told)
    return well and not graph.direct.failed and sort_graph(graph)
