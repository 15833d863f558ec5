"""tinykmod: a module loader for the initramfs, and the tools that feed it."""

__version__ = "0.1.0"
