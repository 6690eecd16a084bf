"""The four errors of ingestion, told apart by what recovers from them."""

from app.core.errors import DiscoveryNodeError


class IngestorError(DiscoveryNodeError):
    """An ingestion did not do what it was asked to. `transient` when trying again later may help."""

    transient = False


class SourceError(IngestorError):
    """A document could not be had."""


class UnreachableError(SourceError):
    """The document is not there now. `retry_after`: in so many seconds it may be, as its server said."""

    transient = True

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class GoneError(UnreachableError):
    """The document is not there any more, as its publisher says."""

    transient = False


class ForbiddenPathError(SourceError):
    """A document names another that it may not."""


class ForbiddenAddressError(SourceError):
    """The node does not go where the document would be."""


class ValidationError(IngestorError):
    """A document was had and is not what the protocol asks for; only its publisher can mend it."""


class IngestionFailedError(IngestorError):
    """A start failed for good; the message names ingestor, step and organization."""


class ProcessingError(IngestorError):
    """A good document could not be brought into the catalogue."""


class UnstableError(ProcessingError):
    """What was read or written kept changing meanwhile."""

    transient = True
