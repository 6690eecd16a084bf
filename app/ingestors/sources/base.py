"""A source fetches bytes, and nothing else."""

import hashlib
import mmap
import tempfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Self

import zstandard

from app.ingestors.base import SourceError

CHUNK = 1024 * 1024
ZSTD_SLICE = 1024
# A document up to this size stays in memory; a larger one is spooled to an unnamed file and mapped, so that what the
# node holds in memory does not grow with a feed, and a publisher that truncates a file under it does no harm.
MEMORY_BYTES = 8 * 1024 * 1024
# What a packed document may unpack to: so many times its size, within these bounds.
MAX_RATIO = 500
MIN_UNPACKED_LIMIT, MAX_UNPACKED_LIMIT = 64 * 1024**2, 8 * 1024**3
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@dataclass
class Document:
    """A fetched document: its bytes as stored, their SHA-256, and what the source says of its version."""

    path: str
    stored: bytes | mmap.mmap
    sha256: bytes
    validators: dict[str, str | int] = field(default_factory=dict)
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
                f"{self.path}: not UTF-8 at byte {error.start}", remedy="Publish the document as UTF-8."
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
        if self.stored[:2] == _GZIP:
            chunks = _gunzip(self.stored)
        elif self.stored[:4] == _ZSTD:
            chunks = _unzstd(self.stored)
        else:
            return self.stored
        limit = min(max(MAX_RATIO * len(self.stored), MIN_UNPACKED_LIMIT), MAX_UNPACKED_LIMIT)
        try:
            return spool(chunks, limit=limit)[0]
        except (zlib.error, zstandard.ZstdError, EOFError) as error:
            raise SourceError(
                f"{self.path}: the compressed data is damaged ({error})", remedy="Publish the file again, whole."
            ) from error
        except OSError as error:
            raise SourceError(
                f"{self.path}: cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}",
                remedy="Make room there, or set TMPDIR.",
            ) from error
        except OverflowError as error:
            raise SourceError(
                f"{self.path}: unpacks to more than {limit} bytes",
                remedy="Split the feed into shards of at most 5 MB.",
            ) from error


class BaseSource(ABC):
    """Where documents come from. Every implementation passes `tests/contract/test_sources.py`."""

    @abstractmethod
    def open(self, path: str) -> Document:
        """Fetches a document. Raises `SourceError`."""

    @abstractmethod
    def version(self, path: str) -> dict[str, str | int]:
        """What the source says of a document's version without fetching it, comparable with `Document.validators`;
        empty when it cannot say. Raises `SourceError`."""

    @abstractmethod
    def resolve(self, base: str, reference: str) -> str:
        """The path of a document that the document at `base` names. Raises `SourceError` when it may not be read."""

    def fetch(self, path: str) -> str:
        """The text of a document. Raises `SourceError`."""
        with self.open(path) as document:
            return document.text()


def spool(chunks: Iterator[bytes], *, limit: int | None = None) -> tuple[bytes | mmap.mmap, bytes]:
    """Gathers chunks in memory, beyond `MEMORY_BYTES` in a mapped file without a name; returns them and their SHA-256.
    Raises `OverflowError` past `limit` bytes."""
    head: list[bytes] = []
    size = 0
    for chunk in chunks:
        head.append(chunk)
        size += len(chunk)
        if size > MEMORY_BYTES:
            return _spool_to_file(chain(head, chunks), limit)
    data = head[0] if len(head) == 1 else b"".join(head)
    return data, hashlib.sha256(data).digest()


def read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file, piece by piece; the first piece is a whole small document."""
    size = MEMORY_BYTES
    while chunk := file.read(size):
        yield chunk
        size = CHUNK


def _spool_to_file(chunks: Iterator[bytes], limit: int | None) -> tuple[mmap.mmap, bytes]:
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as file:
        for chunk in chunks:
            digest.update(chunk)
            if limit is not None and file.tell() + len(chunk) > limit:
                raise OverflowError
            file.write(chunk)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), digest.digest()


def _gunzip(data: bytes | mmap.mmap) -> Iterator[bytes]:
    """Unpacks every member; raises `EOFError` when the last one is cut off."""
    unpacker = zlib.decompressobj(wbits=31)
    view = memoryview(data)
    for start in range(0, len(view), CHUNK):
        pending = bytes(view[start : start + CHUNK])
        while pending:
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)
            yield unpacker.decompress(pending, CHUNK)
            pending = unpacker.unconsumed_tail or unpacker.unused_data
    while not unpacker.eof and (rest := unpacker.decompress(unpacker.unconsumed_tail, CHUNK)):
        yield rest
    if not unpacker.eof:
        raise EOFError("it ends in the middle")


def _unzstd(data: bytes | mmap.mmap) -> Iterator[bytes]:
    """Unpacks every frame; raises `EOFError` when the last one is cut off. A slice of input is small, because its
    output cannot be bounded: four bytes may stand for 128 KiB."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=128 * CHUNK)
    unpacker = decompressor.decompressobj()
    view = memoryview(data)
    for start in range(0, len(view), ZSTD_SLICE):
        pending = bytes(view[start : start + ZSTD_SLICE])
        while pending:
            if unpacker.eof:
                unpacker = decompressor.decompressobj()
            yield unpacker.decompress(pending)
            pending = unpacker.unused_data
    if not unpacker.eof:
        raise EOFError("it ends in the middle")
