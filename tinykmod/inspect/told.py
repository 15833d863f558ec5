"""What `tinykmod show --json` prints."""

from __future__ import annotations

from typing import Any

from tinykmod.inspect.about import About, Around, Need
from tinykmod.inspect.devices import Served
from tinykmod.kmod.signature import Signature


def told(about: About) -> dict[str, Any]:
    """All of a module; what is not known or not there is null."""
    state = about.state
    return {
        "name": about.name,
        "alias": about.alias or None,
        "release": about.release or None,
        "tree": about.tree or None,
        "file": about.file or None,
        "builtin": about.builtin,
        "class": [{"class": str(kind.name).lower(), "why": why} for kind, why in about.classes],
        "description": about.value("description") or None,
        "author": about.values("author"),
        "license": about.value("license") or None,
        "version": about.value("version") or None,
        "srcversion": about.value("srcversion") or None,
        "vermagic": about.value("vermagic").strip() or None,
        "signature": {"fault": about.signature_fault} if about.signature_fault else _signature(about.signature),
        "compression": about.compression or None,
        "size": about.size,
        "unpacked": about.unpacked,
        "memory": about.memory._asdict() if about.memory else None,
        "parameters": [each._asdict() for each in about.parameters],
        "needs": [need(each) for each in about.needs],
        "kernel_symbols": about.kernel_symbols,
        "wrong_symbols": about.wrong_symbols._asdict() if about.wrong_symbols is not None else None,
        "exports": [
            {"name": each.name, "crc": each.crc, "gpl_only": each.gpl_only, "namespace": each.namespace or None}
            for each in about.exports
        ],
        "needed_by": about.needed_by,
        "softdeps": [_around(each) for each in about.deps if each.kind != "weak"],
        "weakdeps": [_around(each) for each in about.deps if each.kind == "weak"],
        "softdep_of": [_around(each) for each in about.deps_of if each.kind != "weak"],
        "weakdep_of": [_around(each) for each in about.deps_of if each.kind == "weak"],
        "aliases": about.aliases,
        "devices": None if about.devices is None else [_device(each) for each in about.devices],
        "firmware": about.firmware,
        "config": [each._asdict() for each in about.config],
        "running": about.running,
        "state": None if state is None else {**state._asdict(), "holders": list(state.holders)},
        "blocked": about.blocked,
        "load": [each._asdict() for each in about.load],
    }


def need(each: Need) -> dict[str, Any]:
    """A module that is needed, with what it needs itself."""
    return {"name": each.name, "symbols": list(each.symbols), "needs": [need(below) for below in each.needs]}


def _around(each: Around) -> dict[str, Any]:
    return {"module": each.module, "kind": each.kind, "where": each.where or None}


def _device(each: Served) -> dict[str, Any]:
    device = each.device
    return {
        "path": device.path, "bus": device.bus, "modalias": device.modalias, "alias": each.alias or None,
        "driver": device.driver or None, "module": device.module or None,
    }  # fmt: skip


def _signature(signature: Signature | None) -> dict[str, Any] | None:
    if signature is None:
        return None
    return {
        "type": signature.id_type, "signer": signature.signer, "key": signature.key.hex(":").upper(),
        "hash": signature.hash,
    }  # fmt: skip
