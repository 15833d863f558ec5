# depmod's .bin indexes, written as tinykmod.kmod.binindex.write_index() does: the bytes are the same.

cdef enum:
    NODE_PREFIX = 0x80000000
    NODE_VALUES = 0x40000000
    NODE_CHILDREN = 0x20000000
    NODE_OFFSET = 0x0fffffff

cdef struct Item:
    # A value of a key.
    ElfName key  # of 7 bits
    ElfName value
    uint32_t priority
    uint32_t given  # its place among the items as they were given

cdef struct TrieNode:
    # A node of which not all children are written yet.
    size_t depth
    size_t first  # its values among the sorted items
    size_t values
    uint32_t children
    uint8_t char[128]
    uint32_t child[128]

cdef struct TriePath:
    # From the root to the last node; all else is written.
    TrieNode* nodes
    size_t used


cdef int compare_items(const void* a, const void* b) noexcept nogil:
    cdef const Item* left = <const Item*>a
    cdef const Item* right = <const Item*>b
    cdef int order = order_of_names(left.key, right.key)
    if order:
        return order
    if left.priority != right.priority:
        return 1 if left.priority > right.priority else -1
    # Of equal ones the last given comes first.
    return 1 if left.given < right.given else -1


cdef size_t common_length(ElfName a, ElfName b) noexcept nogil:
    cdef size_t n = 0
    while n < a.size and n < b.size and a.text[n] == b.text[n]:
        n += 1
    return n


cdef TrieNode* push_node(TriePath* path, size_t depth) noexcept nogil:
    cdef TrieNode* node = &path.nodes[path.used]
    path.used += 1
    node.depth = depth
    node.values = node.children = 0
    return node


cdef uint32_t write_node(
    Buffer* out, const TrieNode* node, const char* prefix, size_t n, const Item* items
) noexcept nogil:
    # Its reference: flags and offset.
    cdef uint32_t reference = <uint32_t>out.used
    cdef uint32_t i, at = 0
    if n:
        reference |= NODE_PREFIX
        add(out, prefix, n)
        add_byte(out, 0)
    if node.children:
        reference |= NODE_CHILDREN
        add_byte(out, node.char[0])
        add_byte(out, node.char[node.children - 1])
        for i in range(node.char[0], node.char[node.children - 1] + 1):
            if node.char[at] == i:
                add_u32(out, node.child[at])
                at += 1
            else:
                add_u32(out, 0)
    if node.values:
        reference |= NODE_VALUES
        add_u32(out, <uint32_t>node.values)
        for i in range(<uint32_t>node.values):
            add_u32(out, items[node.first + i].priority)
            add(out, items[node.first + i].value.text, items[node.first + i].value.size)
            add_byte(out, 0)
    return reference


cdef void close_nodes(Buffer* out, TriePath* path, ElfName key, size_t depth, const Item* items) noexcept nogil:
    # Write every node of the path below a depth; then the path ends in a node of just that depth.
    cdef TrieNode node
    cdef TrieNode* above
    cdef size_t begin
    while path.nodes[path.used - 1].depth > depth:
        path.used -= 1
        node = path.nodes[path.used]
        if path.nodes[path.used - 1].depth < depth:
            push_node(path, depth)
        above = &path.nodes[path.used - 1]
        begin = above.depth + 1
        above.char[above.children] = <uint8_t>key.text[above.depth]
        above.child[above.children] = write_node(out, &node, key.text + begin, node.depth - begin, items)
        above.children += 1


cdef bint write_trie(Item* items, size_t count, Buffer* out) noexcept nogil:
    # The index of these items, which are sorted for it. False where it is too large, or memory ran out.
    cdef TriePath path
    cdef TrieNode* node
    cdef ElfName last
    cdef size_t number, longest = 0
    cdef uint32_t root
    for number in range(count):
        items[number].given = <uint32_t>number
        longest = items[number].key.size if items[number].key.size > longest else longest
    if count:
        qsort(items, count, sizeof(Item), compare_items)
    # Depths rise along the path, and closing nodes may need one more than there are depths.
    path.nodes = <TrieNode*>malloc((longest + 2) * sizeof(TrieNode))
    if path.nodes == NULL:
        return False
    path.used = 0
    more(out, 12)
    push_node(&path, 0)
    last.text = b""
    last.size = 0
    for number in range(count):
        if number == 0 or order_of_names(items[number].key, last) != 0:
            close_nodes(out, &path, last, common_length(last, items[number].key), items)
            last = items[number].key
            if last.size > path.nodes[path.used - 1].depth:
                push_node(&path, last.size)
            path.nodes[path.used - 1].first = number
        path.nodes[path.used - 1].values += 1
    close_nodes(out, &path, last, 0, items)
    node = &path.nodes[0]
    root = write_node(out, node, b"", 0, items)
    free(path.nodes)
    if out.failed or out.used > NODE_OFFSET:
        return False
    number = out.used
    out.used = 0
    add_u32(out, 0xb007f457)
    add_u32(out, 0x00020001)
    add_u32(out, root)
    out.used = number
    return True
