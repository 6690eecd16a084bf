"""`s3://bucket/key`: the key as it is, without any quoting."""

import posixpath
import re
from dataclasses import dataclass

from app.ingestors.base import SourceError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]")
_PREFIX = "s3://"


@dataclass(frozen=True)
class StoredObject:
    """Where an object lies."""

    bucket: str
    key: str

    @classmethod
    def of(cls, path: str) -> "StoredObject":
        """Raises `SourceError`."""
        bucket, _, key = path.removeprefix(_PREFIX).partition("/")
        if not path.startswith(_PREFIX) or not _BUCKET.fullmatch(bucket):
            raise SourceError(f"{path[:300]!r} is no object of a bucket", remedy="Write it as s3://bucket/key.")
        if not key.isprintable() or len(key.encode()) > 1024 or not _is_plain(key):
            raise SourceError(f"{path[:300]!r} has a key that cannot be asked for", remedy="Write s3://bucket/key.")
        return cls(bucket, key)

    def named(self, reference: str) -> "StoredObject":
        """What a document at this place means by a reference. Raises `SourceError`."""
        if "://" in reference:
            return StoredObject.of(reference)
        if not reference or reference.endswith("/"):
            raise SourceError(f"{self} names {reference[:300]!r}, which is no object", remedy="Correct the reference.")
        joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(self.key), reference))
        return StoredObject.of(f"{self.origin}/{joined.lstrip('/')}")

    @property
    def origin(self) -> str:
        return f"{_PREFIX}{self.bucket}"

    def __str__(self) -> str:
        return f"{self.origin}/{self.key}"


def bucket_origin(text: str) -> str:
    """`s3://bucket`, as buckets are listed. Raises `SourceError`."""
    bucket = text.removeprefix(_PREFIX).removesuffix("/")
    if not text.startswith(_PREFIX) or not _BUCKET.fullmatch(bucket):
        raise SourceError(f"{text[:300]!r} is no bucket", remedy="Write it as s3://bucket.")
    return f"{_PREFIX}{bucket}"


def _is_plain(key: str) -> bool:
    """Whether a key stays the same when URLs are put in order on the way."""
    return bool(key) and not key.endswith("/") and not {"", ".", ".."} & set(key.split("/"))
