"""Checking a registry or a feed before it is published, or where it is."""

import threading
import time
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.authentication import Caller, Reader
from app.api.negotiation import answer, negotiated
from app.api.node import node_of
from app.api.openapi import answers
from app.api.problems import Problem, WrongParameter
from app.api.schemas import ValidationShape
from app.core.config import Settings
from app.core.errors import DiscoveryNodeError
from app.ingestors.base import SourceError
from app.ingestors.validation import ValidationReport, validate, validate_content
from app.net import urls
from app.net.door import WEB
from app.net.errors import NetworkError

router = APIRouter(tags=["issues"])

MAX_SHARDS = 100
MAX_SECONDS = 60.0
_MAX_BYTES = 64 * 1024**2  # of a document of the web, packed
_MAX_UNPACKED = 256 * 1024**2
_AT_ONCE = threading.BoundedSemaphore(2)

_BODY = {
    "requestBody": {
        "description": "A registry, a feed index or a shard. The shards of an index are looked at only with `url`.",
        "content": {"application/json": {"schema": {}}, "application/octet-stream": {"schema": {"type": "string"}}},
    }
}


class ValidationParameters(BaseModel):
    """Where the document is, when it is not sent."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, max_length=2048, description="Where it is published; then nothing is sent.")


class TooMuchToValidateError(DiscoveryNodeError):
    """A feed is larger than strangers' feeds may be here."""

    def __init__(self) -> None:
        super().__init__(
            f"More than {MAX_SHARDS} shards, or more than {MAX_SECONDS:g} seconds, are not spent on a feed here",
            remedy="Validate its shards one by one, or run `discovery-node validate`.",
        )


async def sent(request: Request) -> bytes:
    """The body of a request, whatever it says that it is."""
    return await request.body()


@router.post("/validate", responses=answers(ValidationShape), openapi_extra=_BODY)
def validation(
    request: Request, wanted: Annotated[ValidationParameters, Query()], caller: Reader,
    content: Annotated[bytes, Depends(sent)],
) -> Response:  # fmt: skip
    """Tell what is wrong with a registry, a feed or a shard: the one that is sent, or the one at a URL. Nothing is
    stored."""
    return answer_validated(request, caller, wanted.url, content)


@router.post("/validate/form", include_in_schema=False)
def validation_of_form(
    request: Request, caller: Reader, url: Annotated[str, Form(max_length=2048)] = "",
    file: Annotated[bytes, File()] = b"",
) -> Response:  # fmt: skip
    """The same for the console's form."""
    return answer_validated(request, caller, url.strip() or None, file)


def answer_validated(request: Request, caller: Caller, url: str | None, content: bytes) -> Response:
    """What is wrong with a document that was sent, or is at a URL."""
    negotiated(request, "validation")
    if (url is None) == (not content):
        raise WrongParameter("url", "name a URL, or send a document: the one or the other")
    if not _AT_ONCE.acquire(blocking=False):
        raise Problem(503, "busy", "Other documents are being validated", headers={"Retry-After": "10"})
    settings = _modest(node_of(request).settings, caller)
    try:
        report = validate_content(content, settings) if url is None else _of_web(url, settings)
    finally:
        _AT_ONCE.release()
    document = {"kind": report.kind, **report.as_dict()}
    return answer(request, document, page="validation", headers={"Cache-Control": "no-store"})


class _Bounded:
    """Watches a validation, and ends one that takes too much."""

    def __init__(self) -> None:
        self._until = time.monotonic() + MAX_SECONDS

    def staging(self, done: int, total: int) -> None:
        if done < total and (total > MAX_SHARDS or time.monotonic() > self._until):
            raise TooMuchToValidateError

    def embedding(self, done: int, total: int) -> None:
        """Nothing is embedded."""


def _of_web(url: str, settings: Settings) -> ValidationReport:
    """What is wrong with what is published."""
    try:
        urls.parse(url, WEB)
        return validate(url, _Bounded(), settings)
    except (SourceError, NetworkError) as error:
        raise WrongParameter("url", str(error)) from error
    except TooMuchToValidateError as error:
        raise Problem(422, "too-much", str(error), remedy=error.remedy) from error


def _modest(settings: Settings, caller: Caller) -> Settings:
    """Settings for a stranger's document. Only an admin's leads to the private hosts that the node may read, and only
    with the key itself: a cookie comes with the form of any page, too."""
    is_trusted = caller.is_admin and not caller.is_session
    return settings.model_copy(
        update={
            "allowed_private_hosts": settings.allowed_private_hosts if is_trusted else "",
            "max_document_bytes": min(settings.max_document_bytes, _MAX_BYTES),
            "max_unpacked_bytes": min(settings.max_unpacked_bytes, _MAX_UNPACKED),
            "max_transfer_seconds": min(settings.max_transfer_seconds, MAX_SECONDS / 2),
            "fetch_retries": 0,
        }
    )
