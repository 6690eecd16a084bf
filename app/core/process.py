"""Processes by a name that holds across machines and reuses of their numbers."""

import hashlib
import os
import platform
from functools import cache
from pathlib import Path


def own_name() -> str:
    """This process's name."""
    return _name(os.getpid())


def tag(name: str) -> str:
    """The process in few letters, as its database connections are called: PostgreSQL cuts names at 63 bytes."""
    return f"discovery-node {hashlib.sha256(name.encode()).hexdigest()[:16]}"


def is_dead(name: str) -> bool:
    """Whether it was a process of this machine, or of this container, that is no more. Of others nothing is known."""
    place, pid, _ = name.rsplit(":", 2)
    return place == _place() and name != _name(int(pid))


def _name(pid: int) -> str:
    """Place, number, start time."""
    return f"{_place()}:{pid}:{_start_time(pid)}"


@cache
def _place() -> str:
    """Where numbers of processes mean what they mean here: the host, and on Linux its boot and the namespace of the
    numbers. Containers and machines may have one host name and are different places all the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return platform.node()
    return f"{platform.node()}/{hashlib.sha256(f'{boot} {namespace}'.encode()).hexdigest()[:8]}"


def _start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; "gone" when it does not run, "?" where this cannot be known."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "gone" if Path("/proc/self/stat").exists() else "?"
    fields = status.rpartition(")")[2].split()
    # A process that is dead and not yet buried by its parent still has a number.
    return "gone" if fields[0] in {"Z", "X"} else fields[19]
