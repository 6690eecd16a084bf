"""Unpacking strangers' compressed bytes piece by piece: no piece is large, however well it is packed."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import brotli
import zstandard

CHUNK = 1024 * 1024
# What is unpacked at once. Each of many tiny members costs a copy of the rest of its slice; and what a slice of zstd
# unpacks to cannot be bounded: four bytes may stand for 128 KiB.
_GZIP_SLICE, _ZSTD_SLICE = 16 * 1024, 128
_MAX_WINDOW = 128 * 1024 * 1024

DAMAGED = (zlib.error, zstandard.ZstdError, brotli.error, EOFError)
"""What unpacking raises for data that are not what they should be, or end in the middle."""

Unpack = Callable[[Iterable[bytes]], Iterator[bytes]]


def gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpacks every member. Zeros after the last one are padding."""
    unpacker = zlib.decompressobj(wbits=31)
    for pending in _slices(chunks, _GZIP_SLICE):
        while pending:
            if unpacker.eof:
                pending = pending.lstrip(b"\0")
                if not pending:
                    break
                unpacker = zlib.decompressobj(wbits=31)
            yield unpacker.decompress(pending, CHUNK)
            pending = unpacker.unconsumed_tail or unpacker.unused_data
    yield from _rest(unpacker)


def inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpacks `deflate`, with the header of zlib or, as some servers send it, without."""
    unpacker = None
    for chunk in chunks:
        if unpacker is None:
            unpacker = zlib.decompressobj(15 if chunk[:1] and chunk[0] & 0x0F == 8 else -15)
        pending = chunk
        while pending and not unpacker.eof:
            yield unpacker.decompress(pending, CHUNK)
            pending = unpacker.unconsumed_tail
    if unpacker is not None:
        yield from _rest(unpacker)


def unbrotli(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = brotli.Decompressor()
    for chunk in chunks:
        yield unpacker.process(chunk, output_buffer_limit=CHUNK)
        while not unpacker.can_accept_more_data():
            yield unpacker.process(b"", output_buffer_limit=CHUNK)
    if not unpacker.is_finished():
        raise EOFError("it ends in the middle")


def unzstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpacks every frame."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    unpacker = decompressor.decompressobj()
    for pending in _slices(chunks, _ZSTD_SLICE):
        while pending:
            if unpacker.eof:
                unpacker = decompressor.decompressobj()
            yield unpacker.decompress(pending)
            pending = unpacker.unused_data
    if not unpacker.eof:
        raise EOFError("it ends in the middle")


ENCODINGS: Mapping[str, Unpack] = {
    "br": unbrotli, "deflate": inflate, "gzip": gunzip, "x-gzip": gunzip, "zstd": unzstd,
}  # fmt: skip
"""By the names of HTTP."""

_MAGIC = ((b"\x1f\x8b", gunzip), (b"\x28\xb5\x2f\xfd", unzstd))


def by_content(head: bytes) -> Unpack | None:
    """How a document that begins so is unpacked; None when it is not packed."""
    return next((unpack for magic, unpack in _MAGIC if head.startswith(magic)), None)


def _slices(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def _rest(unpacker: "zlib._Decompress") -> Iterator[bytes]:
    while not unpacker.eof and (rest := unpacker.decompress(unpacker.unconsumed_tail, CHUNK)):
        yield rest
    if not unpacker.eof:
        raise EOFError("it ends in the middle")
