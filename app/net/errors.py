"""What may come of a request, told apart by what can be done about it."""

from app.core.errors import DiscoveryNodeError


class NetworkError(DiscoveryNodeError):
    """A request was not answered as it should be. `transient` when the same may go well in a while."""

    def __init__(self, message: str, *, remedy: str = "", transient: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.transient = transient


class ForbiddenError(NetworkError):
    """The node does not go there: the address, the scheme, or the way to it."""


class InvalidUrlError(NetworkError):
    """What should be a URL is none."""
