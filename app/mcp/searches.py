"""Names of searches: what was asked for, packed, so that any process of the node reads it again."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.services.filters import Filter

MAX_QUERY = 1000
MAX_LIMIT = 100
_LONGEST = 16_000


class Search(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(max_length=MAX_QUERY)] = ""
    filters: Filter = Filter()
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 20

    @property
    def name(self) -> str:
        return urlsafe_b64encode(self.model_dump_json(exclude_defaults=True).encode()).decode().rstrip("=")


def named(name: str) -> Search | None:
    """The search of that name; None when it is none."""
    try:
        return Search.model_validate_json(urlsafe_b64decode(name[:_LONGEST] + "=" * (-len(name) % 4)))
    except (binascii.Error, ValueError, ValidationError):
        return None
