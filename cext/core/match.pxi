# Searching an alias matcher. Twin: tinykmod/index/matcher.py, which explains why each star is entered once.

cdef enum:
    MATCH_MOST = 256  # matches that one search keeps; Debian's worst case is below 20
    MATCH_DEPTH = 512  # nodes on one path; the compiler makes none that is deeper
    MATCH_TEXT = 4096  # bytes of a modalias, its NUL included; an event of the kernel is shorter


cdef struct Hit:
    uint32_t module  # under ROOT_BUILTIN a position in BUILTINS
    uint32_t value
    uint32_t spelled  # offset in Search.spelling


cdef struct Search:
    const BootIndex* ix
    uint32_t* marks  # one a star of the index: the number of the search that entered it last
    uint32_t number
    char text[MATCH_TEXT]  # the modalias, normalised
    uint32_t length
    uint64_t budget  # nodes that may still be looked at: a search ends, whatever the file says
    uint32_t path[MATCH_DEPTH]
    Hit hits[MATCH_MOST]  # by module number, each module once
    uint32_t n_hits
    bint matched  # a pattern matched, though it may lead nowhere
    bint builtin
    Text* spelling  # where wanted: the patterns that matched, each with a NUL


cdef void search_start(Search* search, const BootIndex* ix, uint32_t* marks, Text* spelling) noexcept nogil:
    search.ix = ix
    search.marks = marks
    search.number = 0
    search.spelling = spelling


cdef bint search_text(Search* search, const char* name) noexcept nogil:
    # Take NAME, normalised, as what is searched. False where it is longer than any that the kernel makes.
    cdef uint32_t i = 0
    search.n_hits = 0
    search.matched = False
    while name[i] and i < MATCH_TEXT - 1:
        search.text[i] = normal(name[i])
        i += 1
    search.text[i] = 0
    search.length = i
    return name[i] == 0


cdef bint search_run(Search* search, int root, const char* name) noexcept nogil:
    # Search NAME under one root. True where a pattern matched; `hits` then holds where the patterns lead.
    cdef uint32_t node = search.ix.header.roots[root]
    search.builtin = root == ROOT_BUILTIN
    if not search_text(search, name) or is_none(node):
        return False
    search.number += 1
    # Every star is entered once and every other node once a place, so no tree of the compiler's needs more.
    search.budget = (<uint64_t>search.ix.count[<int>SECTION_NODES] + 1) * (search.length + 1)
    search_children(search, node, 0, 0)
    return search.matched


cdef void search_children(Search* search, uint32_t parent, uint32_t at, uint32_t depth) noexcept nogil:
    cdef const BootIndex* ix = search.ix
    cdef uint32_t n_nodes = ix.count[<int>SECTION_NODES]
    cdef uint32_t first, end, child, middle
    cdef uint8_t wanted = <uint8_t>search.text[at]
    if parent >= n_nodes or depth >= MATCH_DEPTH:
        return
    first = ix.nodes[parent].first
    if first <= parent or first > n_nodes or ix.nodes[parent].count > n_nodes - first:
        return
    end = first + ix.nodes[parent].count
    child = first
    while child < end and ix.nodes[child].key == 0:
        search_node(search, child, at, depth)
        child += 1
    if wanted == 0:
        return
    while child < end:
        middle = child + (end - child) / 2
        if ix.nodes[middle].key == wanted:
            search_node(search, middle, at, depth)
            return
        if ix.nodes[middle].key < wanted:
            child = middle + 1
        else:
            end = middle


cdef void search_node(Search* search, uint32_t number, uint32_t at, uint32_t depth) noexcept nogil:
    cdef const Node* node = search.ix.nodes + number
    cdef const char* label
    cdef uint32_t place
    if search.budget == 0:
        return
    search.budget -= 1
    search.path[depth] = number
    if node.kind == NODE_KIND_STAR:
        if node.text >= search.ix.header.stars or search.marks[node.text] == search.number:
            return
        search.marks[node.text] = search.number
        for place in range(at, search.length + 1):
            search_children(search, number, place, depth + 1)
        return
    if node.kind == NODE_KIND_ANY:
        if at < search.length:
            search_children(search, number, at + 1, depth + 1)
        return
    label = index_string(search.ix, node.text)
    if node.kind == NODE_KIND_TAIL:
        if glob(label, search.text + at):
            search_found(search, node, depth)
    elif node.kind == NODE_KIND_CLASS:
        if at < search.length and in_class(label, bracket_end(label), search.text[at]):
            search_children(search, number, at + 1, depth + 1)
    else:
        while label[0] and normal(label[0]) == search.text[at]:
            label += 1
            at += 1
        if label[0] == 0:
            search_children(search, number, at, depth + 1)


cdef void search_found(Search* search, const Node* tail, uint32_t depth) noexcept nogil:
    # Keep where TAIL leads, sorted by module; of several patterns of a module, that with the lowest value number.
    cdef uint32_t number, at, module
    search.matched = True
    for number in range(tail.first, tail.first + tail.count):
        if number >= search.ix.count[<int>SECTION_VALUES]:
            return
        module = search.ix.values[number].module
        # NONE among them: an alias that leads nowhere.
        if module >= search.ix.count[<int>SECTION_BUILTINS if search.builtin else <int>SECTION_MODULES]:
            continue
        at = search.n_hits
        while at > 0 and search.hits[at - 1].module > module:
            at -= 1
        if at > 0 and search.hits[at - 1].module == module:
            if search.hits[at - 1].value > number:
                search_keep(search, at - 1, number, depth)
            continue
        if search.n_hits == MATCH_MOST:
            continue
        search_shift(search, at)
        search.hits[at].module = module
        search_keep(search, at, number, depth)


cdef void search_shift(Search* search, uint32_t at) noexcept nogil:
    cdef uint32_t last = search.n_hits
    while last > at:
        search.hits[last] = search.hits[last - 1]
        last -= 1
    search.n_hits += 1


cdef void search_keep(Search* search, uint32_t at, uint32_t number, uint32_t depth) noexcept nogil:
    cdef uint32_t raw = search.ix.values[number].raw
    cdef uint32_t i
    cdef const Node* node
    search.hits[at].value = number
    if search.spelling == NULL:
        return
    search.hits[at].spelled = <uint32_t>search.spelling.used
    if raw:
        put(search.spelling, index_string(search.ix, raw))
    else:
        for i in range(depth + 1):
            node = search.ix.nodes + search.path[i]
            if node.kind == NODE_KIND_STAR:
                put_char(search.spelling, c'*')
            elif node.kind == NODE_KIND_ANY:
                put_char(search.spelling, c'?')
            else:
                put(search.spelling, index_string(search.ix, node.text))
    put_char(search.spelling, 0)


cdef const char* bracket_end(const char* bracket) noexcept nogil:
    # The `]` of the bracket that begins at BRACKET, or the NUL where it has none.
    while bracket[0] and bracket[0] != c']':
        bracket += 1
    return bracket


cdef bint in_class(const char* bracket, const char* end, char c) noexcept nogil:
    cdef const char* at = bracket + 1
    cdef bint negate = at < end and (at[0] == c'!' or at[0] == c'^')
    cdef bint found = False
    cdef uint8_t low, high
    at += negate
    while at < end:
        low = high = <uint8_t>at[0]
        if at + 2 < end and at[1] == c'-':
            high = <uint8_t>at[2]
            at += 2
        if low <= <uint8_t>c <= high:
            found = True
        at += 1
    return found != negate


cdef bint glob(const char* pattern, const char* text) noexcept nogil:
    # fnmatch(PATTERN, TEXT, 0) as module aliases need it; TEXT is normalised, `-` in PATTERN equals `_`.
    cdef const char* star = NULL
    cdef const char* retry = NULL
    cdef const char* next
    cdef char c
    cdef bint same
    while True:
        c = pattern[0]
        if c == c'*':
            star = pattern
            retry = text
            pattern += 1
            continue
        if text[0] == 0:
            if c == 0:
                return True
        elif c:
            next = pattern + 1
            if c == c'[':
                next = bracket_end(pattern)
                if next[0] == 0:
                    return False
                same = in_class(pattern, next, text[0])
                next += 1
            elif c == c'?':
                same = True
            else:
                if c == c'\\' and next[0]:
                    c = next[0]
                    next += 1
                same = normal(c) == text[0]
            if same:
                pattern = next
                text += 1
                continue
        if star == NULL or retry[0] == 0:
            return False
        retry += 1
        pattern = star + 1
        text = retry
