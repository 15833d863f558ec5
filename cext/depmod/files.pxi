# depmod's files from the modules' records: the twin of tinykmod.kmod.depmod.make().
# Whatever must be told of, and an index cannot take, ends in False: the twin, run after this, tells it.

cdef struct DepmodFiles:
    Buffer dep, alias, softdep, weakdep, symbols, devname
    Buffer dep_bin, alias_bin, symbols_bin

cdef struct DepmodModule:
    ElfName name
    ElfName path


cdef Item* add_item(Buffer* items) noexcept nogil:
    return <Item*>more(items, sizeof(Item))


cdef void add_name(Buffer* out, ElfName name) noexcept nogil:
    add(out, name.text, name.size)


cdef void put_line(Buffer* out, const char* keyword, ElfName first, ElfName second) noexcept nogil:
    add_text(out, keyword)
    add_name(out, first)
    add_byte(out, c' ')
    add_name(out, second)
    add_byte(out, c'\n')


cdef bint normalise_alias(ElfName alias, Buffer* out, ElfName* normalised) noexcept nogil:
    # As normalise_pattern(): `-` is `_` outside brackets. Written in place of OUT. False for a bracket without
    # its other, and for an alias that is not of 7 bits.
    cdef size_t i = 0
    cdef const void* end
    cdef uint8_t* to
    if not is_ascii(alias):
        return False
    out.used = 0
    to = more(out, alias.size)
    if to == NULL:
        return False
    while i < alias.size:
        if alias.text[i] == c']':
            return False
        if alias.text[i] == c'[':
            end = memchr(alias.text + i, c']', alias.size - i)
            if end == NULL:
                return False
            while alias.text + i < <const char*>end:
                to[i] = <uint8_t>alias.text[i]
                i += 1
            to[i] = c']'
        else:
            to[i] = <uint8_t>normal(alias.text[i])
        i += 1
    normalised.text = <const char*>to
    normalised.size = alias.size
    return True


cdef bint put_number_of(Buffer* out, ElfName* text) noexcept nogil:
    # The digits with which a text begins, without zeros before them; they are cut off. False where there are none.
    cdef size_t digits = 0, zeros = 0
    while digits < text.size and c'0' <= text.text[digits] <= c'9':
        digits += 1
    while zeros + 1 < digits and text.text[zeros] == c'0':
        zeros += 1
    add(out, text.text + zeros, digits - zeros)
    text.text += digits
    text.size -= digits
    return digits > 0


cdef bint put_node(Buffer* out, ElfName alias) noexcept nogil:
    # `c10:200` of char-major-10-200, in place of OUT; false for any other alias.
    cdef const char* kind = alias.text
    if not elf_begins(&alias, b"char-major-", 11) and not elf_begins(&alias, b"block-major-", 12):
        return False
    out.used = 0
    add(out, kind, 1)
    if not put_number_of(out, &alias) or not elf_begins(&alias, b"-", 1):
        return False
    add_byte(out, c':')
    return put_number_of(out, &alias)


cdef bint put_devname(
    Buffer* out, ElfSpan record, ElfName module, Buffer* node, Buffer* scratch
) noexcept nogil:
    # A module's line in modules.devname, if it has one. False for a name without a node.
    cdef Entry entry
    cdef ElfName name
    cdef bint named = False
    cdef Buffer swap
    node.used = 0
    while next_entry(&record, &entry):
        if entry.tag != TAG_ALIAS:
            continue
        if elf_begins(&entry.text, b"devname:", 8):
            name = entry.text
            named = True
        elif put_node(scratch, entry.text):
            swap = node[0]
            node[0] = scratch[0]
            scratch[0] = swap
        if named and node.used:
            if out.used == 0:
                add_text(out, b"# Device nodes to trigger on-demand module loading.\n")
            add_name(out, module)
            add_byte(out, c' ')
            add_name(out, name)
            add_byte(out, c' ')
            add(out, node.data, node.used)
            add_byte(out, c'\n')
            return True
    return not named


cdef bint put_dependencies(
    Buffer* out, Buffer* bin_out, const DepmodModule* modules, const Graph* graph
) noexcept nogil:
    # modules.dep and its index.
    cdef size_t place, word, module, count = graph.count
    cdef uint64_t bits
    cdef const uint64_t* needs
    cdef size_t* rank = <size_t*>malloc((count + 1) * sizeof(size_t))
    cdef size_t* ends = <size_t*>malloc((count + 1) * sizeof(size_t))
    cdef Item* items = <Item*>malloc((count + 1) * sizeof(Item))
    cdef bint well = rank != NULL and ends != NULL and items != NULL
    if well:
        for place in range(count):
            rank[graph.order[place]] = place
        for module in range(count):
            add_name(out, modules[module].path)
            add_byte(out, c':')
            needs = graph.needs + rank[module] * graph.words
            for word in range(graph.words):
                bits = needs[word]
                while bits:
                    add_byte(out, c' ')
                    add_name(out, modules[graph.order[word * 64 + lowest_bit(bits)]].path)
                    bits &= bits - 1
            ends[module] = out.used
            add_byte(out, c'\n')
        for module in range(count):
            items[module].key = modules[module].name
            items[module].value.text = <const char*>out.data + (ends[module - 1] + 1 if module else 0)
            items[module].value.size = ends[module] - (ends[module - 1] + 1 if module else 0)
            items[module].priority = <uint32_t>module
        well = not out.failed and write_trie(items, count, bin_out)
    free(rank)
    free(ends)
    free(items)
    return well


cdef extern from *:
    int lowest_bit "__builtin_ctzll"(unsigned long long bits) nogil


cdef bint put_symbols(
    Buffer* out, Buffer* bin_out, const DepmodModule* modules, const Symbols* symbols
) noexcept nogil:
    # modules.symbols and its index, of the symbols that modules export.
    cdef const Symbol* symbol
    cdef size_t number, used = 0, begin
    cdef const Symbol** sorted_symbols = <const Symbol**>malloc((symbols.count + 1) * sizeof(Symbol*))
    cdef Item* items = <Item*>malloc((symbols.count + 1) * sizeof(Item))
    cdef size_t* begins = <size_t*>malloc((symbols.count + 1) * sizeof(size_t))
    cdef bint well = sorted_symbols != NULL and items != NULL and begins != NULL
    if well:
        for number in range(symbols.count):
            if symbols.items[number].owner >= 0:
                sorted_symbols[used] = &symbols.items[number]
                used += 1
        qsort(sorted_symbols, used, sizeof(Symbol*), compare_symbols)
        add_text(out, b"# Aliases for symbols, used by symbol_request().\n")
        for number in range(used):
            symbol = sorted_symbols[number]
            begins[number] = out.used + 6
            add_text(out, b"alias symbol:")
            add_name(out, symbol.name)
            add_byte(out, c' ')
            add_name(out, modules[symbol.owner].name)
            add_byte(out, c'\n')
        for number in range(used):
            symbol = sorted_symbols[number]
            begin = begins[number]
            items[number].key.text = <const char*>out.data + begin
            items[number].key.size = 7 + symbol.name.size
            items[number].value = modules[symbol.owner].name
            items[number].priority = <uint32_t>symbol.owner
        well = not out.failed and write_trie(items, used, bin_out)
    free(<void*>sorted_symbols)
    free(items)
    free(begins)
    return well


cdef bint put_aliases(
    DepmodFiles* files, const DepmodModule* modules, const ElfSpan* records, size_t count
) noexcept nogil:
    # modules.alias with its index, .softdep, .weakdep and .devname.
    cdef Entry entry
    cdef ElfSpan record
    cdef ElfName key
    cdef Item* item
    cdef size_t module, number
    cdef Buffer items, keys, scratch, node
    cdef bint well = True
    memset(&items, 0, sizeof(Buffer))
    memset(&keys, 0, sizeof(Buffer))
    memset(&scratch, 0, sizeof(Buffer))
    memset(&node, 0, sizeof(Buffer))
    add_text(&files.alias, b"# Aliases extracted from modules themselves.\n")
    add_text(&files.softdep, b"# Soft dependencies extracted from modules themselves.\n")
    add_text(&files.weakdep, b"# Weak dependencies extracted from modules themselves.\n")
    for module in range(count):
        record = records[module]
        while well and next_entry(&record, &entry):
            if entry.tag == TAG_ALIAS:
                put_line(&files.alias, b"alias ", entry.text, modules[module].name)
                well = normalise_alias(entry.text, &scratch, &key)
                item = add_item(&items) if well else NULL
                well = item != NULL
                if well:
                    # KEYS may move while it grows: until it is complete, the key is told by its place.
                    item.key.text = <const char*>NULL + keys.used
                    item.key.size = key.size
                    item.value = modules[module].name
                    item.priority = <uint32_t>module
                    add_name(&keys, key)
            elif entry.tag == TAG_SOFTDEP:
                put_line(&files.softdep, b"softdep ", modules[module].name, entry.text)
            elif entry.tag == TAG_WEAKDEP:
                put_line(&files.weakdep, b"weakdep ", modules[module].name, entry.text)
        well = well and put_devname(&files.devname, records[module], modules[module].name, &node, &scratch)
    well = well and not (files.softdep.failed or files.weakdep.failed or files.devname.failed or files.alias.failed)
    well = well and not (keys.failed or items.failed or scratch.failed or node.failed)
    if well:
        item = <Item*>items.data
        for number in range(items.used // sizeof(Item)):
            item[number].key.text = <const char*>keys.data + <size_t>item[number].key.text
        well = write_trie(item, items.used // sizeof(Item), &files.alias_bin)
    free(items.data)
    free(keys.data)
    free(scratch.data)
    free(node.data)
    return well


cdef struct AliasWork:
    # What a second thread does meanwhile.
    DepmodFiles* files
    const DepmodModule* modules
    const ElfSpan* records
    size_t count
    bint well


cdef void* put_aliases_aside(void* work) noexcept nogil:
    cdef AliasWork* aside = <AliasWork*>work
    aside.well = put_aliases(aside.files, aside.modules, aside.records, aside.count)
    return NULL


cdef bint put_links(
    DepmodFiles* files, Symbols* symbols, const DepmodModule* modules, const ElfSpan* records, size_t count, int check
) noexcept nogil:
    # modules.dep and modules.symbols with their indexes.
    cdef Graph graph
    cdef bint well
    memset(&graph, 0, sizeof(Graph))
    well = resolve_modules(&graph, symbols, records, count, check)
    well = well and put_dependencies(&files.dep, &files.dep_bin, modules, &graph)
    well = well and put_symbols(&files.symbols, &files.symbols_bin, modules, symbols)
    drop_graph(&graph)
    return well


cdef bint make_files(
    DepmodFiles* files, Symbols* symbols, const DepmodModule* modules, const ElfSpan* records, size_t count, int check
) noexcept nogil:
    # All files. SYMBOLS has what the kernel exports, where anything is to be checked (SymbolCheck).
    cdef AliasWork aside
    cdef pthread_t thread
    cdef size_t number
    cdef bint alone, well = True
    for number in range(count):
        if not is_ascii(modules[number].name):
            return False
    aside.files = files
    aside.modules = modules
    aside.records = records
    aside.count = count
    alone = pthread_create(&thread, NULL, put_aliases_aside, &aside) != 0
    if alone:
        put_aliases_aside(&aside)
    well = put_links(files, symbols, modules, records, count, check)
    if not alone:
        pthread_join(thread, NULL)
    return well and aside.well


cdef void drop_files(DepmodFiles* files) noexcept nogil:
    free(files.dep.data)
    free(files.alias.data)
    free(files.softdep.data)
    free(files.weakdep.data)
    free(files.symbols.data)
    free(files.devname.data)
    free(files.dep_bin.data)
    free(files.alias_bin.data)
    free(files.symbols_bin.data)
