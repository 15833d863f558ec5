"""What the kernel command line says of modules at boot: the twin of cext/core/cmdline.pxi."""

from __future__ import annotations

from collections.abc import Iterator

from tinykmod.kmod.commandline import parameters, parse

_BLACKLISTS = ("modprobe.blacklist", "module_blacklist", "rd.driver.blacklist")


def options_of(text: str, module: str) -> str:
    """What the command line TEXT gives to MODULE (`MODULE.PARAM[=VALUE]`, in order), as finit_module wants it."""
    return " ".join(param for name, param in parameters(text) if name == module.replace("-", "_"))


def blacklists(text: str, module: str) -> bool:
    """Whether TEXT keeps MODULE from being loaded on behalf of an alias (module_blacklist= among them).

    Names are normalised, which kmod leaves out for modprobe.blacklist=.
    """
    return any(module in names for _, names in _blacklisted(text))


def blacklisted_by_kernel(text: str, module: str) -> bool:
    """Whether `module_blacklist=` in TEXT lists MODULE: the kernel refuses it, whoever asks (EPERM)."""
    return any(module in names for key, names in _blacklisted(text) if key == "module_blacklist")


def _blacklisted(text: str) -> Iterator[tuple[str, list[str]]]:
    for key, value in parse(text):
        if key in _BLACKLISTS and value is not None:
            yield key, value.replace("-", "_").split(",")
