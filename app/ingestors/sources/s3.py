"""Objects of S3 and of stores that speak like it. boto3 finds credentials, signs and parses; the door sends."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from app.core.errors import ConfigurationError
from app.ingestors.base import ForbiddenPathError, SourceError, UnreachableError
from app.ingestors.sources.base import BaseSource, Document, Limits, Validators, cannot_spool, refuse_page, spool
from app.ingestors.sources.objects import StoredObject
from app.ingestors.sources.packing import CHUNK
from app.ingestors.sources.tries import PassingError, Tries, as_source_error
from app.net.door import Answer, Credentials, Door
from app.net.errors import NetworkError

T = TypeVar("T")

_MAX_ERROR_BYTES = 1024 * 1024
_MAX_SENT = 5  # requests for one object: boto3 looks for the region of a bucket without end
_READ_AS_IT_IS = frozenset({"", "identity", "aws-chunked", "gzip", "zstd"})  # packed documents are told by content
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_making = threading.Lock()  # a session is not made for threads, its clients are

# What it logs when it is asked to log all holds the headers of requests.
logging.getLogger("botocore").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Store:
    """Which store, and as whom; what is not given is found as boto3 does."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    allowed_buckets: frozenset[str] = frozenset()
    """As `s3://bucket`: where shards may lie besides the bucket of their feed."""


class S3Source(BaseSource):
    """Fetches objects. What a document names must be of its bucket, or one that is allowed."""

    def __init__(self, door: Door, store: Store, limits: Limits, tries: Tries) -> None:
        self._wire = _Wire(door)
        self._client = _client(store)
        self._client.meta.events.register("before-send.s3", self._wire.send)
        self._allowed = store.allowed_buckets
        self._limits = limits
        self._tries = tries

    def open(self, path: str) -> Document:
        place = StoredObject.of(path)
        return self._tried(place, lambda: self._get(place))

    def open_if_changed(self, path: str, validators: Mapping[str, str | int]) -> Document | None:
        place, etag = StoredObject.of(path), validators.get("etag")
        if not etag:
            return self.open(path)
        return self._tried(place, lambda: self._get_if_changed(place, str(etag)))

    def version(self, path: str) -> Validators:
        place = StoredObject.of(path)
        return self._tried(place, lambda: _validators(self._ask("head_object", place)))

    def resolve(self, base: str, reference: str) -> str:
        origin, target = StoredObject.of(base).origin, StoredObject.of(base).named(reference)
        if target.origin not in self._allowed | {origin}:
            raise ForbiddenPathError(
                f"{base} names {target}, which is of another bucket",
                remedy="Publish it beside the document, or list s3://BUCKET in `allowed_origins` of this ingestor.",
            )
        return str(target)

    def _tried(self, place: StoredObject, ask: Callable[[], T]) -> T:
        def attempt(until: float) -> T:
            with _as_source_errors(str(place)), self._wire.opened(until):
                return ask()

        return self._tries.run(str(place), place.origin, attempt)

    def _get_if_changed(self, place: StoredObject, etag: str) -> Document | None:
        try:
            return self._get(place, IfNoneMatch=etag)
        except ClientError as error:
            if _status(error) == 304:
                return None
            raise

    def _get(self, place: StoredObject, **conditions: str) -> Document:
        told = str(place)
        found = self._ask("get_object", place, **conditions)
        encoding = str(found.get("ContentEncoding", ""))
        if encoding not in _READ_AS_IT_IS:
            raise SourceError(f"{told} has the Content-Encoding {encoding[:50]!r}", remedy="Use gzip or zstd.")
        self._limits.check(told, packed=int(found.get("ContentLength", 0)), unpacked=0)
        try:
            stored, sha256 = spool(self._limits.received(told, found["Body"].iter_chunks(CHUNK)))
        except OSError as error:
            raise cannot_spool(told, error) from error
        document = Document(told, stored, sha256, _validators(found), self._limits)
        refuse_page(document)
        return document

    def _ask(self, operation: str, place: StoredObject, **conditions: str) -> Mapping[str, Any]:
        """What the store says of an object. Errors are boto3's own, but for those of an answer it cannot read."""
        try:
            found: Mapping[str, Any] = getattr(self._client, operation)(
                Bucket=place.bucket, Key=place.key, **conditions
            )
        except BotoCoreError:  # some of these are a ValueError too
            raise
        except (ValueError, OverflowError, RecursionError) as error:
            raise PassingError(
                f"{place}: the answer is not S3's", remedy="See to the store, or try again later."
            ) from error
        status = found["ResponseMetadata"]["HTTPStatusCode"]
        if status != 200:
            raise SourceError(f"{place}: HTTP {status}, which is no object", remedy="See to the store.")
        return found


class _Wire:
    """Sends what boto3 signed through the door: so the address of an endpoint is checked where it is connected to, time
    is bounded, and no redirect is followed that boto3 does not sign anew."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._current = threading.local()

    @contextmanager
    def opened(self, until: float) -> Iterator[None]:
        """What this thread asks within has to be over at `until`."""
        with ExitStack() as answers:
            self._current.answers, self._current.until, self._current.sent = answers, until, 0
            yield

    def send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self._current.answers.close()  # the one before this, if boto3 was sent elsewhere
        self._current.sent += 1
        if self._current.sent > _MAX_SENT:
            raise NetworkError("The store leads from one place to another", remedy="Check `region` and `endpoint_url`.")
        headers = {name: _text(value) for name, value in request.headers.items() if name.lower() != "user-agent"}
        answer = self._current.answers.enter_context(
            self._door.request(
                request.method, request.url, headers=headers, credentials=Credentials(), until=self._current.until,
                follow=False,
            )
        )  # fmt: skip
        return AWSResponse(request.url, answer.status, dict(answer.headers), _Body(request.url, answer))


class _Body:
    """A body as boto3 reads it: content piece by piece, and of what is no content not more than fits a message."""

    def __init__(self, url: str, answer: Answer) -> None:
        self._chunks = answer.chunks() if answer.status < 300 else _few(answer.chunks())
        self._rest = b""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield from self._chunks

    def read(self, amount: int | None = None) -> bytes:
        if amount is None:
            return b"".join((self._rest, *self._chunks))
        data = self._rest or next(self._chunks, b"")
        self._rest = data[amount:]
        return data[:amount]

    def close(self) -> None:
        """The answer is closed where it was opened."""


def _few(chunks: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > _MAX_ERROR_BYTES:
            raise NetworkError("The store answers with an error without end", transient=True)
        yield chunk


@lru_cache(maxsize=16)
def _session(access_key: str, secret_key: str, region: str | None) -> Any:
    """What makes clients: the first one reads a megabyte of descriptions."""
    return boto3.Session(access_key, secret_key, region_name=region)


def _client(store: Store) -> Any:
    """boto3's client. Raises `ConfigurationError` for what it does not like."""
    style = "auto" if store.endpoint_url is None else "path"
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"}, s3={"addressing_style": style},
        request_checksum_calculation="when_required", response_checksum_validation="when_required",
    )  # fmt: skip
    try:
        with _making:
            if store.access_key and store.secret_key:
                session = _session(store.access_key, store.secret_key, store.region)
            else:
                session = boto3.Session(region_name=store.region)  # what it finds may be another the next time
            return session.client("s3", endpoint_url=store.endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"boto3 makes no client for S3: {error}",
            remedy="Check `endpoint_url` and `region` of this ingestor, and boto3's own configuration.",
        ) from error


@contextmanager
def _as_source_errors(told: str) -> Iterator[None]:
    try:
        yield
    except NetworkError as error:
        raise as_source_error(error) from error
    except ClientError as error:
        raise _refused(told, _status(error)) from error
    except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
        raise SourceError(
            f"{told}: there are no credentials for the store, or no region",
            remedy="Set `username` (the access key's id), `password` and `region` of this ingestor, or boto3's own.",
        ) from error
    except (IncompleteReadError, ResponseStreamingError, ResponseParserError) as error:
        raise PassingError(
            f"{told}: the answer is not whole, or not S3's", remedy="See to the store, or try again later."
        ) from error
    except BotoCoreError as error:
        raise SourceError(
            f"{told}: boto3 cannot ask for it ({type(error).__name__})",
            remedy="Check `endpoint_url` and `region` of this ingestor, and boto3's own configuration.",
        ) from error


def _refused(told: str, status: int) -> SourceError:
    message = f"{told}: HTTP {status}"
    if status == 404:
        return UnreachableError(f"{message}, there is no such object", remedy="Publish it, or correct the path.")
    if status in _PASSING:
        return PassingError(f"{message}, the store is not able to answer", remedy="Try again later.")
    if status in {301, 307, 308, 400}:
        return SourceError(f"{message}, the store expects another request", remedy="Check `region` and `endpoint_url`.")
    return SourceError(
        f"{message}, the store refuses",
        remedy="Check `username` and `password` of this ingestor, and that they may read and list the bucket.",
    )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _validators(found: Mapping[str, Any]) -> Validators:
    """What tells this version from others: the ETag; time and size go along to be seen."""
    etag, modified = str(found.get("ETag", "")), found.get("LastModified")
    if not etag or not etag.isascii() or not etag.isprintable() or len(etag) > 512:
        return {}
    told: Validators = {"etag": etag}
    if "ContentLength" in found:
        told["size"] = int(found["ContentLength"])
    if isinstance(modified, datetime):
        told["last_modified"] = modified.isoformat()
    return told


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
