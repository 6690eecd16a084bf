"""What long work tells whoever watches."""

from collections.abc import Sequence
from typing import Protocol

from app.services.run_progress import ShardState


class Progress(Protocol):
    """Told how far the work is, in shards and in products."""

    def staging(self, done: int, total: int) -> None: ...

    def embedding(self, done: int, total: int) -> None: ...


class FeedProgress(Progress, Protocol):
    """Told of each shard of a feed too, by its URL, from several threads."""

    def listed(self, urls: Sequence[str]) -> None: ...

    def reading(self, url: str, done: int = 0, total: int = 0) -> None: ...

    def read(self, url: str, state: ShardState, items: int) -> None: ...


class NoProgress:
    """Nobody watches."""

    def staging(self, done: int, total: int) -> None:
        """Shards read, of those listed."""

    def embedding(self, done: int, total: int) -> None:
        """Products embedded, of those pending."""

    def listed(self, urls: Sequence[str]) -> None:
        """The shards of the feed that is read now."""

    def reading(self, url: str, done: int = 0, total: int = 0) -> None:
        """A shard that is being read, and its items so far."""

    def read(self, url: str, state: ShardState, items: int) -> None:
        """What became of a shard, and what it holds."""
