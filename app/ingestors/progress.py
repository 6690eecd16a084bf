"""What long work tells whoever watches."""

from typing import Protocol


class Progress(Protocol):
    """Told how far the work is, in shards and in products."""

    def staging(self, done: int, total: int) -> None: ...

    def embedding(self, done: int, total: int) -> None: ...


class NoProgress:
    """Nobody watches."""

    def staging(self, done: int, total: int) -> None:
        """Shards read, of those listed."""

    def embedding(self, done: int, total: int) -> None:
        """Products embedded, of those pending."""
