"""The four errors of ingestion, told apart by what recovers from them."""

from app.core.errors import DiscoveryNodeError


class IngestorError(DiscoveryNodeError):
    """An ingestion did not do what it was asked to. `transient` when trying again later may help."""

    transient = False


class SourceError(IngestorError):
    """A document could not be had."""


class UnreachableError(SourceError):
    """The document is not there now."""

    transient = True


class ForbiddenPathError(SourceError):
    """A document names another that it may not."""


class ValidationError(IngestorError):
    """A document was had and is not what the protocol asks for; only its publisher can mend it."""


class IngestionFailedError(IngestorError):
    """A start failed for good; the message names ingestor, step and organization."""


class ProcessingError(IngestorError):
    """A good document could not be brought into the catalogue."""


class UnstableError(ProcessingError):
    """What was read or written kept changing meanwhile."""

    transient = True
