# tinykmod._core.merge_patterns: the fast twin of tinykmod.index.matcher.merge_patterns.

from cpython.unicode cimport PyUnicode_GET_LENGTH, PyUnicode_READ_CHAR, PyUnicode_Substring

cdef enum:
    # As in the twin.
    SYMBOL_STAR = 0x100
    SYMBOL_ANY = 0x101
    SYMBOL_CLASS = 0x200
    SYMBOL_ESCAPED = 0x10000
    NO_SYMBOL = -1

cdef struct Rows:
    # Rows from FIRST to before END, alike up to DEPTH; NODE is to be completed, LEVEL nodes below the root.
    Py_ssize_t first, end, depth, node, level

cdef struct Group:
    # Rows alike in the next symbol as well.
    int key, symbol
    Py_ssize_t first, end


cdef inline int symbol_at(list rows, Py_ssize_t number, Py_ssize_t depth):
    cdef object symbols = (<tuple>rows[number])[0]
    if depth >= PyUnicode_GET_LENGTH(symbols):
        return NO_SYMBOL
    return <int>PyUnicode_READ_CHAR(symbols, depth)


cdef inline bint ordinary(int symbol):
    return 0 <= symbol < SYMBOL_STAR or symbol >= SYMBOL_ESCAPED


cdef inline str spelled(tuple row, Py_ssize_t begin, Py_ssize_t end, dict spelling):
    cdef object text = PyUnicode_Substring(row[2], begin, end)
    return text if row[2] is row[3] else text.translate(spelling)


cdef Py_ssize_t group_end(list rows, Py_ssize_t number, Py_ssize_t end, Py_ssize_t depth, int symbol):
    # Behind the rows that go on with SYMBOL.
    cdef Py_ssize_t step = 1, middle
    while number + step < end and symbol_at(rows, number + step, depth) == symbol:
        number += step
        step *= 2
    end = min(end, number + step)
    number += 1
    while number < end:
        middle = (number + end) // 2
        if symbol_at(rows, middle, depth) == symbol:
            number = middle + 1
        else:
            end = middle
    return number


cdef inline bint comes_before(const Group* one, const Group* other):
    return one.key < other.key or (one.key == other.key and one.symbol < other.symbol)


cdef Py_ssize_t find_groups(list rows, const Rows* work, Group* groups):
    # The groups in the order of their children; how many there are.
    cdef Py_ssize_t count = 0, place, number = work.first
    cdef Group group
    while number < work.end:
        group.first = number
        group.symbol = symbol_at(rows, number, work.depth)
        group.key = group.symbol & 0xFF if ordinary(group.symbol) else 0
        group.end = number = group_end(rows, number, work.end, work.depth, group.symbol)
        place = count
        while place and comes_before(&group, &groups[place - 1]):
            groups[place] = groups[place - 1]
            place -= 1
        groups[place] = group
        count += 1
    return count


def merge_patterns(tree not None, list rows not None, dict spelling not None):
    """As tinykmod.index.matcher.merge_patterns()."""
    # Imported here: this module's other users have no need of it.
    from tinykmod.index.matcher import DEEPEST, MEANING, too_deep
    from tinykmod.index.schema import NodeKind

    cdef int literal = NodeKind.LITERAL, tail_kind = NodeKind.TAIL, star = NodeKind.STAR
    cdef int anything = NodeKind.ANY, bracket = NodeKind.CLASS
    cdef list nodes = tree.nodes, values = tree.values, prefixes = [""]
    cdef object intern = tree.intern
    cdef dict meaning = MEANING
    cdef int stars = tree.stars, deepest = DEEPEST, kind
    cdef Py_ssize_t count, number, at = 0, place, end
    cdef Buffer queue
    cdef Rows work, below
    cdef Group* group
    cdef Group* groups = <Group*>calloc(len(rows) + 1, sizeof(Group))
    cdef tuple first, last, row
    cdef str path, tail
    memset(&queue, 0, sizeof(Buffer))
    memset(&work, 0, sizeof(Rows))
    work.end = len(rows)
    work.node = len(nodes)
    nodes.append([0, 0, 0, literal, 0])
    try:
        if groups == NULL:
            raise MemoryError()
        add(&queue, &work, sizeof(Rows))
        while at < <Py_ssize_t>(queue.used // sizeof(Rows)):
            work = (<Rows*>queue.data)[at]
            path = prefixes[at]
            prefixes[at] = None
            at += 1
            if work.level >= deepest - 1:
                raise too_deep(rows[work.first][3])
            count = find_groups(rows, &work, groups)
            nodes[work.node][1:3] = [len(nodes), count]
            for number in range(count):
                group = &groups[number]
                first = rows[group.first]
                last = rows[group.end - 1]
                if first[0] == last[0]:
                    tail = spelled(first, work.depth, PyUnicode_GET_LENGTH(first[0]), spelling)
                    nodes.append([
                        intern(tail.encode("latin-1")), len(values), group.end - group.first, tail_kind, group.key
                    ])
                    tail = path + tail
                    for place in range(group.first, group.end):
                        row = rows[place]
                        values.append((row[4].value, 0 if row[3] == tail else intern(row[3].encode("latin-1"))))
                    continue
                below.first = group.first
                below.end = group.end
                below.node = len(nodes)
                below.level = work.level + 1
                end = work.depth + 1
                if group.symbol == SYMBOL_STAR:
                    nodes.append([stars, 0, 0, star, 0])
                    stars += 1
                elif group.symbol == SYMBOL_ANY:
                    nodes.append([0, 0, 0, anything, 0])
                elif not ordinary(group.symbol):
                    nodes.append([intern(spelling[group.symbol].encode("latin-1")), 0, 0, bracket, 0])
                else:
                    while ordinary(symbol_at(rows, group.first, end)) and (
                        symbol_at(rows, group.first, end) == symbol_at(rows, group.end - 1, end)
                    ):
                        end += 1
                    tail = spelled(first, work.depth, end, meaning)
                    nodes.append([intern(tail.encode("latin-1")), 0, 0, literal, group.key])
                below.depth = end
                add(&queue, &below, sizeof(Rows))
                prefixes.append(path + spelled(first, work.depth, end, spelling))
            if queue.failed:
                raise MemoryError()
        tree.stars = stars
    finally:
        free(queue.data)
        free(groups)
