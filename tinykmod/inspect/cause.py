"""Why a load failed, in one line: of what examine() found what the kernel's log and its errno point at.

The kernel tells a loader one number, and its log some lines: which words and which errno are for what is in its
kernel/module/main.c, signing.c, version.c and kernel/params.c.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

#: The kinds of which a module may have one for each of its symbols.
OF_SYMBOLS = frozenset(("symbol", "crc", "gpl", "namespace"))
#: The kinds after whose line in the log the kernel may have gone on.
NOT_FATAL = frozenset(("btf", "firmware"))


class Cause(NamedTuple):
    """One thing that keeps a module out, or that its loader has to see to."""

    kind: str  # `symbol`, `crc`, `vermagic`, ...
    text: str  # one line
    errnos: tuple[int, ...] = ()  # that the kernel has for it
    fatal: bool = True
    subject: str = ""  # the symbol or parameter that it is about; of a clash with whom
    harmless: str = ""  # what comes of it where it is not fatal

    @property
    def line(self) -> str:
        """The text with what comes of it."""
        return f"{self.text}: {self.harmless}" if self.harmless else self.text


_REFUSED = (errno.EKEYREJECTED, errno.EPERM)
#: What the kernel's log says of a module, whose name is {m}: form, kind of the cause, its line ({0}: a group); of a
#: form without the name the errnos that it goes with.
_SAID: tuple[tuple[str, str, str, tuple[int, ...]], ...] = (
    (r"{m}: Unknown symbol (\S+) \(err -2\)", "symbol", "unknown symbol {0}", ()),
    (r"{m}: disagrees about version of symbol (\S+)", "crc", "built against another version of {0}", ()),
    (r"{m}: no symbol version for (\S+)", "crc", "built without a version of {0}", ()),
    (r"{m}: module uses symbol \(?(\S+?)\)? from namespace (\S+?),", "namespace",
     "{0} is exported in the namespace {1}, which the module does not import", ()),
    (r"{m}: version magic '([^']*)' should be '([^']*)'", "vermagic", "built for '{0}', the kernel is '{1}'", ()),
    (r"{m}: exports duplicate symbol (\S+) \(owned by ([^)]+)\)", "clash", "it exports {0}, as {1} does", ()),
    (r"{m}: `(.*)' (invalid|too large) for parameter `([^']+)'", "parameter", "parameter {2}: '{0}' is {1}", ()),
    (r"Module ({m}) is blacklisted", "blacklist", "module_blacklist= on the kernel command line forbids it", ()),
    (r"{m} \S+: Direct firmware load for (\S+) failed with error -2", "firmware", "firmware {0} is not there", ()),
    (r"failed to validate module \[{m}\] BTF: (-\d+)", "btf", "its BTF does not fit this kernel's", ()),
    (r"{m} \S+: (BAR \d+: can't reserve .*|can't request region .*)", "busy", "what it needs is taken: {0}", ()),
    (r"(?:Error: )?Driver '([^']+)' is already registered", "busy", "a driver named {0} is registered already",
     (errno.EBUSY, errno.EEXIST)),
    (r"Loading of (unsigned module) is rejected", "unsigned", "it is not signed", _REFUSED),
    (r"Loading of (module with \S+ key) is rejected", "key", "it is signed by a key that the kernel lacks", _REFUSED),
    (r"Loading of (module with \S+ crypto) is rejected", "key", "the kernel knows not how it is signed", _REFUSED),
    (r"Lockdown: \S+: (unsigned module loading) is restricted", "unsigned", "it is not signed, and lockdown is on",
     _REFUSED),
)  # fmt: skip
#: The group with the subject, where that is not the first.
_SUBJECT = {"parameter": 3, "clash": 2}

#: What an errno means of a load where neither the module nor the log tells more.
_ERRNOS = {
    errno.ENOENT: "its init found something missing",
    errno.ENOEXEC: "the kernel does not take its format",
    errno.EKEYREJECTED: "the kernel does not take its signature",
    errno.EEXIST: "the kernel has it already",
    errno.EINVAL: "its init, or the kernel, refuses a value",
    errno.ENODEV: "its init found no device that it can drive",
    errno.ENXIO: "its init found no device that it can drive",
    errno.EBUSY: "what it needs is in use by something else",
    errno.ENOMEM: "the kernel had no memory for it",
    errno.ETIMEDOUT: "its device did not answer in time",
    errno.EPERM: "loading modules is not permitted (modules_disabled, module_blacklist=, lockdown, or not root)",
    errno.EOPNOTSUPP: "this machine, or this kernel, does not do what it needs",
}


def said_of(name: str, log: Iterable[str], number: int = 0) -> list[Cause]:
    """What the kernel's log lines say of a module, whose load failed with NUMBER if any, in the log's order."""
    own = re.escape(name).replace("_", "[-_]")
    forms = [(re.compile(form.replace("{m}", own)), kind, text, numbers) for form, kind, text, numbers in _SAID
             if not numbers or number in numbers]  # fmt: skip
    found = []
    for line in log:
        for form, kind, text, numbers in forms:
            if told := form.match(line):
                subject = told[_SUBJECT.get(kind, 1)]
                found.append(Cause(kind, text.format(*told.groups()), numbers, subject=subject))
                break
    return found


def explain(number: int, name: str, found: Iterable[Cause], log: Iterable[str] = ()) -> Cause:
    """The cause of a failed load: of what was FOUND by examine() what the kernel's log names, else what its errno,
    NUMBER (positive; 0: not known), is for; else what the log says, or the errno."""
    causes, said = list(found), said_of(name, log, number)
    for told in said:
        for cause in causes:
            # To the kernel a symbol that is for GPL modules only is an unknown one.
            same = cause.kind == told.kind or (cause.kind, told.kind) == ("gpl", "symbol")
            if same and (not cause.subject or cause.subject == told.subject):
                return _with_others(cause, causes)
    fitting = sorted((cause for cause in causes if number in cause.errnos), key=lambda cause: not cause.fatal)
    named = [told for told in said if not told.errnos]
    blamed = [told for told in named if told.kind not in NOT_FATAL]
    # A line without the module's name may be of another's load.
    for cause in (*blamed, *fitting, *(told for told in said if told not in blamed)):
        return _with_others(cause, causes)
    return Cause("errno", _ERRNOS.get(number, os.strerror(number)), (number,))


def _with_others(cause: Cause, causes: Iterable[Cause]) -> Cause:
    """A cause by itself, which tells how many more there are of its kind, of symbols that is."""
    others = sum(other.kind == cause.kind and other.subject not in ("", cause.subject) for other in causes)
    more = _more(others) if cause.kind in OF_SYMBOLS else ""
    return cause._replace(text=cause.text + more, harmless="")


def _more(others: int) -> str:
    return f" (and {others} more such symbol{'s' * (others > 1)})" if others else ""


def shortened(causes: Iterable[Cause], most: int = 3) -> list[Cause]:
    """Of each kind that symbols are of the first MOST, the last of which tells how many more there are."""
    found = list(causes)
    kept = []
    for cause in found:
        alike = [other for other in found if other.kind == cause.kind]
        place = alike.index(cause)
        if cause.kind not in OF_SYMBOLS or place < most - 1:
            kept.append(cause)
        elif place == most - 1:
            kept.append(cause._replace(text=cause.text + _more(len(alike) - most)))
    return kept
