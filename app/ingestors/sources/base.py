"""A source fetches bytes, and nothing else."""

import hashlib
import mmap
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Self

from app.core.config import Settings
from app.ingestors.base import SourceError, UnreachableError
from app.ingestors.sources.packing import CHUNK, DAMAGED, by_content
from app.net.urls import shown

# A document up to this size stays in memory; a larger one is spooled to an unnamed file and mapped, so that what the
# node holds in memory does not grow with a feed, and a publisher that truncates a file under it does no harm.
MEMORY_BYTES = 8 * 1024 * 1024
_UNSUSPICIOUS_BYTES = 64 * 1024**2  # what unpacks to no more than this may do so at any ratio

Validators = dict[str, str | int]
"""What a source says of a document's version."""


@dataclass(frozen=True)
class Limits:
    """How large a document may be, as it is stored or sent, and unpacked: in bytes, and as a multiple of the former."""

    document_bytes: int = 2 * 1024**3
    unpacked_bytes: int = 8 * 1024**3
    unpack_ratio: int = 500

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.max_document_bytes, settings.max_unpacked_bytes, settings.max_unpack_ratio)

    def check(self, path: str, *, packed: int, unpacked: int) -> None:
        """Raises `SourceError` that names the setting when so much has come of so many bytes."""
        if packed > self.document_bytes:
            raise _too_large(f"{path} has more than {self.document_bytes} bytes", "MAX_DOCUMENT_BYTES")
        if unpacked > self.unpacked_bytes:
            raise _too_large(f"{path} unpacks to more than {self.unpacked_bytes} bytes", "MAX_UNPACKED_BYTES")
        if unpacked > max(packed * self.unpack_ratio, _UNSUSPICIOUS_BYTES):
            raise _too_large(f"{path} unpacks to more than {self.unpack_ratio} times its size", "MAX_UNPACK_RATIO")

    def received(self, path: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks of a document as it is sent, until they are more than may be."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
            self.check(path, packed=size, unpacked=0)
            yield chunk


@dataclass
class Document:
    """A fetched document: its bytes as stored, their SHA-256, and what the source says of its version."""

    path: str
    stored: bytes | mmap.mmap
    sha256: bytes
    validators: Validators = field(default_factory=dict)
    limits: Limits = Limits()
    _unpacked: bytes | mmap.mmap | None = None

    def content(self) -> bytes | mmap.mmap:
        """The document itself, unpacked when its first bytes say gzip or zstd. Raises `SourceError`."""
        if self._unpacked is None:
            self._unpacked = self._unpack()
        return self._unpacked

    def text(self) -> str:
        """The document as text; a byte order mark is dropped. Raises `SourceError` when it is not UTF-8."""
        try:
            return bytes(self.content()).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{shown(self.path)}: not UTF-8 at byte {error.start}", remedy="Publish the document as UTF-8."
            ) from error

    def close(self) -> None:
        """Gives mapped files back; the document cannot be read afterwards."""
        for data in (self._unpacked, self.stored):
            if isinstance(data, mmap.mmap):
                with suppress(BufferError):  # an error in flight may still hold a view; then it is freed with that
                    data.close()
        self.stored, self._unpacked = b"", b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unpack(self) -> bytes | mmap.mmap:
        unpack = by_content(bytes(self.stored[:4]))
        if unpack is None:
            return self.stored
        try:
            return spool(self._checked(unpack(_pieces(self.stored))))[0]
        except DAMAGED as error:
            raise SourceError(
                f"{shown(self.path)}: the compressed data is damaged ({error})", remedy="Publish the file again, whole."
            ) from error
        except OSError as error:
            raise cannot_spool(shown(self.path), error) from error

    def _checked(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Chunks of the unpacked document, while they are not too many."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
            self.limits.check(shown(self.path), packed=len(self.stored), unpacked=size)
            yield chunk


class BaseSource(ABC):
    """Where documents come from. Every implementation passes `tests/contract/test_sources.py`."""

    @abstractmethod
    def open(self, path: str) -> Document:
        """Fetches a document. Raises `SourceError`."""

    def open_if_changed(self, path: str, validators: Mapping[str, str | int]) -> Document | None:
        """Fetches a document unless it is still the version that the source once told by these validators: then None.
        A source that cannot tell more cheaply than by fetching fetches. Raises `SourceError`."""
        return self.open(path)

    @abstractmethod
    def version(self, path: str) -> Validators:
        """What the source says of a document's version without fetching it, comparable with `Document.validators`;
        empty when it cannot say. Raises `SourceError`."""

    @abstractmethod
    def resolve(self, base: str, reference: str) -> str:
        """The path of a document that the document at `base` names. Raises `SourceError` when it may not be read."""

    def resolve_feed(self, registry: str, reference: str) -> str:
        """The path of a feed that a registry names. Raises `SourceError` when it may not be read."""
        return self.resolve(registry, reference)

    def fetch(self, path: str) -> str:
        """The text of a document. Raises `SourceError`."""
        with self.open(path) as document:
            return document.text()


def spool(chunks: Iterable[bytes]) -> tuple[bytes | mmap.mmap, bytes]:
    """Gathers chunks in memory, beyond `MEMORY_BYTES` in a mapped file without a name; returns them and their SHA-256.
    Raises `OSError` when there is no room."""
    chunks = iter(chunks)
    head = next(chunks, b"")
    if len(head) <= MEMORY_BYTES:
        gathered = bytearray()
        for chunk in chunks:
            gathered = gathered or bytearray(head)
            gathered += chunk
            if len(gathered) > MEMORY_BYTES:
                break
        head = bytes(gathered) if gathered else head
    if len(head) > MEMORY_BYTES:
        return _spool_to_file(head, chunks)
    return head, hashlib.sha256(head).digest()


def read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file, piece by piece; the first piece is a whole small document."""
    size = MEMORY_BYTES
    while chunk := file.read(size):
        yield chunk
        size = CHUNK


def cannot_spool(path: str, error: OSError) -> SourceError:
    """There is no room for a document here: no fault of its publisher."""
    return SourceError(
        f"{path}: cannot be written to {tempfile.gettempdir()}: {error.strerror}",
        remedy="Make room there, or set TMPDIR.",
    )


def refuse_page(document: Document) -> None:
    """Servers in trouble, and portals before them, send their pages as if all was well. Raises `UnreachableError`."""
    if bytes(document.stored[:512]).lstrip().startswith(b"<"):
        document.close()
        raise UnreachableError(
            f"{shown(document.path)}: a page of HTML or XML in place of the document, and no error status",
            remedy="Publish the document itself, and answer with an error status when there is an error.",
        )


def _spool_to_file(head: bytes, chunks: Iterable[bytes]) -> tuple[mmap.mmap, bytes]:
    digest = hashlib.sha256(head)
    with tempfile.TemporaryFile() as file:
        file.write(head)
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), digest.digest()


def _pieces(data: bytes | mmap.mmap) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


def _too_large(told: str, setting: str) -> SourceError:
    return SourceError(told, remedy=f"Split the feed into shards of at most 5 MB, or raise {setting}.")
