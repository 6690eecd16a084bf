"""What is wrong with a publisher's data: one `Issue` per finding, with place, value and remedy."""

import msgspec

from app.cmp.codes import CODES, IssueCode, Severity, render_markdown
from app.cmp.limits import MAX_ISSUE_MESSAGE, MAX_ISSUE_VALUE
from app.cmp.text import shorten

__all__ = ["CODES", "Issue", "IssueCode", "Severity", "render_markdown"]


class Issue(msgspec.Struct, frozen=True):
    """A finding. `path` is the field within the item, `position` the item's ordinal (from 1) in its shard."""

    code: str
    message: str
    path: str = ""
    value: str | None = None
    position: int | None = None
    shard: str | None = None

    def __post_init__(self) -> None:
        """Messages and values quote strangers' data: cleaned and cut, so that they can be stored and shown."""
        force = msgspec.structs.force_setattr
        force(self, "message", shorten(self.message, MAX_ISSUE_MESSAGE))
        if self.value is not None:
            force(self, "value", shorten(self.value, MAX_ISSUE_VALUE))

    @property
    def severity(self) -> Severity:
        return CODES[self.code].severity

    @property
    def hint(self) -> str:
        """The remedy: what the publisher can do."""
        return CODES[self.code].remedy

    def at(self, position: int, shard: str | None = None) -> "Issue":
        """The same finding with its place in the feed."""
        return msgspec.structs.replace(self, position=position, shard=shard or self.shard)
