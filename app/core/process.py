"""Processes by a name that holds across machines and reuses of their numbers."""

import hashlib
import os
import platform
from pathlib import Path


def own_name() -> str:
    """This process's name."""
    return _name(os.getpid())


def tag(name: str) -> str:
    """The process in few letters, as its database connections are called: PostgreSQL cuts names at 63 bytes."""
    return f"discovery-node {hashlib.sha256(name.encode()).hexdigest()[:16]}"


def is_dead(name: str) -> bool:
    """Whether it was a process of this machine that is no more. Of those of other machines nothing is known."""
    host, pid, _ = name.rsplit(":", 2)
    return host == platform.node() and name != _name(int(pid))


def _name(pid: int) -> str:
    """Host, number, start time."""
    return f"{platform.node()}:{pid}:{_start_time(pid)}"


def _start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; "gone" when it does not run, "?" where this cannot be known."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "gone" if Path("/proc/self/stat").exists() else "?"
    fields = status.rpartition(")")[2].split()
    # A process that is dead and not yet buried by its parent still has a number.
    return "gone" if fields[0] in {"Z", "X"} else fields[19]
