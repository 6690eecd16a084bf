"""The root of the node's own errors: each says what happened, holds the facts, and what the user can do."""


class DiscoveryNodeError(Exception):
    """An error with a `remedy`: one sentence that says what to do next."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class ConfigurationError(DiscoveryNodeError):
    """A setting, or an entry of `ingestion.yaml`, is missing or wrong."""
