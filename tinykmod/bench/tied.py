"""Processes that end with the one that started them, also where that one is killed and can do nothing any more.

This file is a program too, which becomes another: python tied.py PID PROGRAM ARGUMENT... So it imports little, and
nothing runs between fork() and exec() of a process that may have threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2): a signal for this process when its parent's thread that started it ends


def command(*words: str) -> list[str]:
    """What starts the program of WORDS, its path first, so that it is killed with the thread that calls this."""
    return [sys.executable, "-IS", __file__, str(os.getpid()), *words]


def tie(parent: int, number: signal.Signals) -> None:
    """Have this process get signal NUMBER when its parent, PARENT, ends; now, where that has ended already."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl: {os.strerror(error)}")
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    tie(int(sys.argv[1]), signal.SIGKILL)
    os.execv(sys.argv[2], sys.argv[2:])
