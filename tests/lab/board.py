"""A board of a lab, made of QEMU: a terminal server that is always there, and a switch for its power.

    board.py serve DIRECTORY PORT QEMU-ARGUMENT...     its console on 127.0.0.1:PORT
    board.py on|off DIRECTORY                          what a lab's power switch does

Switched on it boots what is in DIRECTORY/stage, as a bootloader takes it from a network: vmlinuz, initrd, cmdline.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path


class Board:
    def __init__(self, directory: Path, port: int, machine: list[str]) -> None:
        self.stage, self.machine = directory / "stage", machine
        self.qemu: subprocess.Popen[bytes] | None = None
        self.console: socket.socket | None = None
        self.terminal = socket.create_server(("127.0.0.1", port))
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(str(directory / "power"))
        self.control.listen()

    def serve(self) -> None:
        threading.Thread(target=self.terminals, daemon=True).start()
        while True:
            client, _ = self.control.accept()
            with client:
                self.switch(client.recv(16).decode())
                client.sendall(b"done")

    def terminals(self) -> None:
        while True:
            client, _ = self.terminal.accept()
            self.console = client
            threading.Thread(target=self.keys, args=(client,), daemon=True).start()

    def keys(self, client: socket.socket) -> None:
        while data := client.recv(4096):
            if self.qemu and self.qemu.stdin:
                self.qemu.stdin.write(data)
                self.qemu.stdin.flush()

    def switch(self, word: str) -> None:
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
            self.qemu = None
        if word == "on":
            command = [*self.machine, "-kernel", str(self.stage / "vmlinuz"), "-initrd", str(self.stage / "initrd"),
                       "-append", (self.stage / "cmdline").read_text().strip()]  # fmt: skip
            self.qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            threading.Thread(target=self.says, args=(self.qemu,), daemon=True).start()

    def says(self, qemu: subprocess.Popen[bytes]) -> None:
        assert qemu.stdout is not None
        while data := os.read(qemu.stdout.fileno(), 65536):
            try:
                if self.console:
                    self.console.sendall(data)
            except OSError:  # nobody listens
                self.console = None


def main() -> None:
    word, directory, *rest = sys.argv[1:]
    if word == "serve":
        Board(Path(directory), int(rest[0]), rest[1:]).serve()
    with socket.socket(socket.AF_UNIX) as power:
        power.connect(str(Path(directory, "power")))
        power.sendall(word.encode())
        assert power.recv(16) == b"done"


if __name__ == "__main__":
    main()
