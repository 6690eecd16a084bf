"""Vectors of any service that speaks OpenAI's `/v1/embeddings`: OpenAI, Azure, Ollama, vLLM, TEI, …"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import structlog
from numpy.typing import NDArray

from app.core.config import Settings
from app.core.errors import ConfigurationError
from app.core.logging import in_this_context
from app.net.door import Policy
from app.vectors.embedders.base import PATIENCE, Embedded, EmbedderIdentity, EmbeddingUnavailableError
from app.vectors.embedders.batches import cut
from app.vectors.embedders.probe import PROBE, fingerprint
from app.vectors.embedders.service import (
    OPTIONAL_FIELDS,
    EmbeddingService,
    Endpoint,
    InputRefusedError,
    Patience,
    ServiceFailedError,
)

log = structlog.get_logger()

_BACKOFF = 0.5  # seconds, doubled with each failure
_KNOWN_SECONDS = 3600.0  # after which the probe is sent again: a service may have changed its model
_NO_DIRECTION = "the service answered with numbers that are no direction (zero, infinite or none)"


class OpenAIEmbedder:
    """Asks a service in several requests at once. The first use sends a text of its own, and so does the first of
    every hour after: so a wrong key, model or
    dimension is an error of the settings and not of a product, what the service cannot be asked for is left out from
    then on, and its model is known again (see `probe`).

    A batch that is refused is halved until it passes, or the one text that is refused is found. One on which the
    service fails time and again, while it answers the probe, counts as refused.
    """

    def __init__(self, settings: Settings, *, patience: float = PATIENCE, backoff: float = _BACKOFF) -> None:
        self._endpoint = Endpoint.of(settings)
        self._service = EmbeddingService(
            Policy.of(settings), self._endpoint, retries=settings.fetch_retries, backoff=backoff
        )  # fmt: skip
        self._requests_at_once = settings.connections_per_host
        self._size = settings.embedding_batch_size
        self._patience = patience
        self._probing = threading.Lock()
        self._probed: _Known | None = None

    @property
    def identity(self) -> EmbedderIdentity:
        return self._identity(self._known(self._given_time()))

    @property
    def known_identity(self) -> EmbedderIdentity | None:
        """The same where the service need not be asked for it."""
        probed = self._probed
        return None if probed is None or time.monotonic() >= probed.until else self._identity(probed)

    def _identity(self, known: "_Known") -> EmbedderIdentity:
        return EmbedderIdentity(
            provider="openai",
            model=self._endpoint.model,
            weights=fingerprint(known.vector),
            variant="fp32",
            dimensions=self._endpoint.dimensions,
            max_tokens=None,
        )

    def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder`."""
        work = _Work(texts, self._endpoint.dimensions, self._given_time())
        if texts:
            work.fields = self._known(work.patience).fields
            self._embed_all(work)
        if len(work.refused) > work.confirmed:
            self._confirm(work)
        return Embedded(work.vectors, work.refused)

    def _given_time(self) -> Patience:
        return Patience(time.monotonic() + self._patience)

    def _known(self, patience: Patience) -> "_Known":
        """What is known of the service. While another thread asks, it is waited for, no longer than the service is.
        Raises like `embed`."""
        if not self._probing.acquire(timeout=max(0.0, patience.until - time.monotonic())):
            raise EmbeddingUnavailableError(
                f"{self._endpoint.shown} has not yet answered another who asks", remedy="See to the service."
            )
        try:
            if self._probed is None or time.monotonic() >= self._probed.until:
                self._probed = self._probe(patience)
            return self._probed
        finally:
            self._probing.release()

    def _probe(self, patience: Patience) -> "_Known":
        """What the node's own text tells of the service."""
        refusal = InputRefusedError()
        for fields in _choices():
            try:
                vector = self._service.vectors([PROBE], fields, patience)[0]
            except InputRefusedError as error:
                refusal = error
                continue
            if not np.isfinite(vector).all():
                raise ConfigurationError(
                    f"{self._endpoint.shown}: {_NO_DIRECTION}",
                    remedy="Check EMBEDDING_MODEL: it has to be one for embeddings.",
                )
            log.debug("the embedding service answers", fields=sorted(fields))
            return _Known(vector, fields, time.monotonic() + _KNOWN_SECONDS)
        raise ConfigurationError(
            str(refusal), remedy="Check EMBEDDING_MODEL, EMBEDDING_DIMENSIONS, EMBEDDING_BASE_URL and the account."
        ) from refusal

    def _embed_all(self, work: "_Work") -> None:
        """All batches, some at once. The first that fails ends the others."""
        batches = list(cut(work.texts, self._size))
        with ThreadPoolExecutor(min(len(batches), self._requests_at_once), thread_name_prefix="embed") as pool:
            asked = [pool.submit(in_this_context(self._embed), work, batch) for batch in batches]
            try:
                for each in wait(asked, return_when=FIRST_EXCEPTION).done:
                    each.result()
            except BaseException:
                work.patience.given_up.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _embed(self, work: "_Work", batch: range, retries: int | None = None) -> None:
        try:
            work.keep(batch, self._service.vectors(work.of(batch), work.fields, work.patience, retries))
            return
        except InputRefusedError as error:
            refusal = str(error)
        except ServiceFailedError as error:
            if not self._answers(work):
                raise
            refusal, retries = f"the service fails on this text: {error}", 1
        if len(batch) == 1:
            work.refused[batch[0]] = refusal
            if not work.confirmed:  # one look at once, so that not each text is asked for in vain
                self._confirm(work)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            self._embed(work, half, retries)
        if not work.refused.keys() & set(batch):  # it was too large, and so would the next ones be
            self._size = min(self._size, len(batch) - middle)

    def _answers(self, work: "_Work") -> bool:
        """Whether the service answers the probe."""
        try:
            self._service.vectors([PROBE], work.fields, work.patience, retries=0)
        except (ServiceFailedError, InputRefusedError):
            return False
        return True

    def _confirm(self, work: "_Work") -> None:
        """Makes sure that what was refused so far was so for its own sake: the service takes the probe. Raises
        `EmbeddingUnavailableError`."""
        refused = len(work.refused)
        try:
            vector = self._service.vectors([PROBE], work.fields, work.patience)
            reason = None if np.isfinite(vector).all() else f"{self._endpoint.shown}: {_NO_DIRECTION}"
        except InputRefusedError as error:
            reason = str(error)
        if reason is not None:
            raise EmbeddingUnavailableError(
                f"{reason}; it refuses the node's own text too",
                remedy="See to the service, and to the account of EMBEDDING_API_KEY; the next run asks again.",
            )
        work.confirmed = refused


@dataclass(frozen=True)
class _Known:
    """What a service made of the probe, which optional fields it takes, and until when that is believed."""

    vector: NDArray[np.float32]
    fields: frozenset[str]
    until: float


class _Work:
    """The texts of a call, and what has become of them. Each batch writes to places of its own."""

    def __init__(self, texts: Sequence[str], dimensions: int, patience: Patience) -> None:
        self.texts = texts
        self.patience = patience
        self.fields: frozenset[str] = OPTIONAL_FIELDS
        self.vectors = np.full((len(texts), dimensions), np.nan, np.float32)
        self.refused: dict[int, str] = {}
        self.confirmed = 0  # so many of them were refused before the service took the probe

    def of(self, batch: range) -> Sequence[str]:
        return self.texts[batch.start : batch.stop]

    def keep(self, batch: range, vectors: NDArray[np.float32]) -> None:
        self.vectors[batch.start : batch.stop] = vectors
        without = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        self.refused.update({batch[int(row)]: _NO_DIRECTION for row in without})


def _choices() -> list[frozenset[str]]:
    """Which optional fields are tried, all of them first."""
    names = sorted(OPTIONAL_FIELDS)
    return [frozenset(chosen) for count in range(len(names), -1, -1) for chosen in combinations(names, count)]
