"""What may come of a call to Pinecone, told apart by what can be done about it."""

from app.core.errors import DiscoveryNodeError
from app.vectors.indexes.base import IndexUnavailableError


class PineconeError(DiscoveryNodeError):
    """Pinecone did not do what it was asked for."""


class PineconeUnavailableError(PineconeError, IndexUnavailableError):
    """It does not answer, or not now: the same may go well in a while. `retry_after` is the seconds it asks for."""

    def __init__(self, message: str, *, retry_after: float | None = None, throttled: bool = False) -> None:
        super().__init__(message, remedy="It is tried again by itself; see Pinecone's status page if it lasts.")
        self.retry_after = retry_after
        self.throttled = throttled


class PineconeRefusedError(PineconeError):
    """It says no, and will do so again. `status` is that of its answer, 0 when nothing was sent."""

    def __init__(self, message: str, *, status: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class UnsuitableIndexError(PineconeError):
    """An index is missing, or is not of a kind that this node can use."""
