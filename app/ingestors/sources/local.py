"""Files of this machine."""

import os
import stat
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.ingestors.base import ForbiddenPathError, SourceError, UnreachableError
from app.ingestors.sources.base import BaseSource, Document, Limits, Validators, read_chunks, spool

_SETTLED = 2_000_000_000  # nanoseconds


class LocalSource(BaseSource):
    """Reads files. What a registry or an index names must lie under the folder of that document, however it is
    written, unless `allow_outside`. Relative paths are relative to `root`, else to the working folder."""

    def __init__(self, root: Path | None = None, *, allow_outside: bool = False, limits: Limits | None = None) -> None:
        self._root = root
        self._limits = limits or Limits()
        self._allow_outside = allow_outside

    def open(self, path: str) -> Document:
        file_path = self._locate(path)
        try:
            # A pipe or a device must not be opened for good: it would never end.
            descriptor = os.open(file_path, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise SourceError(f"{path}: not a regular file", remedy="Name a file.")
                self._limits.check(path, packed=status.st_size, unpacked=0)
                stored, sha256 = spool(read_chunks(file))
        except OSError as error:
            raise _unreachable(path, error) from error
        return Document(path=path, stored=stored, sha256=sha256, validators=_version(status), limits=self._limits)

    def version(self, path: str) -> Validators:
        try:
            return _version(self._locate(path).stat())
        except OSError as error:
            raise _unreachable(path, error) from error

    def resolve(self, base: str, reference: str) -> str:
        folder = self._locate(base).resolve().parent
        target = folder / _as_path(reference)
        if not (self._allow_outside or target.resolve().is_relative_to(folder)):
            raise ForbiddenPathError(
                f"{base} names {reference!r}, which lies outside its folder",
                remedy="Publish it beside the document, or set `allow_outside: true` for this ingestor.",
            )
        return str(target)

    def _locate(self, path: str) -> Path:
        located = Path(_as_path(path)).expanduser()
        return located if self._root is None else self._root / located


def _unreachable(path: str, error: OSError) -> UnreachableError:
    return UnreachableError(f"{path}: {error.strerror}", remedy="Check the path and the file's permissions.")


def _version(status: os.stat_result) -> Validators:
    """A file that was just written may be written again within the same tick of its clock: it has no version yet."""
    if time.time_ns() - status.st_mtime_ns < _SETTLED:
        return {}
    return {"mtime_ns": status.st_mtime_ns, "size": status.st_size}


def _as_path(reference: str) -> str:
    """The file that a path or a `file:` URL means."""
    if "\0" in reference:
        raise SourceError(f"{reference!r} holds a NUL character", remedy="Correct the path.")
    parts = urlsplit(reference) if ":" in reference else None
    if parts is None or len(parts.scheme) < 2:
        return reference
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return unquote(parts.path)
    if "://" in reference:
        raise SourceError(
            f"{reference!r} is a URL, and a local source reads files",
            remedy="Set `source_type: remote` for this ingestor, or name a file.",
        )
    return reference
