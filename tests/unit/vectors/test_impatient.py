"""A service that failed is left alone for a while."""

import threading
from collections.abc import Sequence

import pytest

from app.vectors.breaker import Breaker
from app.vectors.embedders import Embedded, EmbedderIdentity, EmbeddingUnavailableError
from app.vectors.embedders.impatient import ImpatientEmbedder
from tests.support.embedders import HashEmbedder
from tests.support.services import until


class Failing(HashEmbedder):
    """Fails while it is told to, and counts."""

    fails = True
    tries = 0
    known_identity: EmbedderIdentity | None = None

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.tries += 1
        if self.fails:
            raise EmbeddingUnavailableError("away")
        return super().embed(texts)


def breaker(pause: float) -> Breaker:
    return Breaker("The service", EmbeddingUnavailableError, pause)


def test_nobody_waits_for_what_failed_a_moment_ago() -> None:
    service = Failing()
    impatient = ImpatientEmbedder(service, breaker(3600))
    with pytest.raises(EmbeddingUnavailableError, match="away"):
        impatient.embed(["one"])
    for ask in (lambda: impatient.embed(["two"]), lambda: impatient.identity):
        with pytest.raises(EmbeddingUnavailableError, match="a moment ago"):
            ask()
    assert service.tries == 1


def test_it_is_asked_again_and_believed_when_it_answers() -> None:
    service = Failing()
    impatient = ImpatientEmbedder(service, breaker(0.01))
    with pytest.raises(EmbeddingUnavailableError):
        impatient.embed(["one"])
    service.fails = False

    def answers() -> bool:
        try:
            return len(impatient.embed(["one"]).vectors) == 1
        except EmbeddingUnavailableError:
            return False

    until(answers)
    assert impatient.identity == service.identity


def test_what_is_known_of_it_is_told_and_says_nothing_of_it() -> None:
    service = Failing()
    impatient = ImpatientEmbedder(service, breaker(3600))
    with pytest.raises(EmbeddingUnavailableError, match="away"):
        impatient.embed(["one"])
    service.known_identity = service.identity
    assert impatient.identity == service.identity
    with pytest.raises(EmbeddingUnavailableError, match="a moment ago"):
        impatient.embed(["two"])


def test_one_asks_again_and_the_others_go_on_without() -> None:
    asking, go_on = threading.Event(), threading.Event()

    class Hanging(Failing):
        def embed(self, texts: Sequence[str]) -> Embedded:
            if self.tries:
                asking.set()
                go_on.wait(30)
            return super().embed(texts)

    impatient = ImpatientEmbedder(Hanging(), breaker(0.2))
    with pytest.raises(EmbeddingUnavailableError):
        impatient.embed(["one"])
    refused: list[str] = []

    def ask() -> None:
        while not asking.is_set():
            try:
                impatient.embed(["one"])
            except EmbeddingUnavailableError as error:
                refused.append(str(error))

    first = threading.Thread(target=ask)
    first.start()
    assert asking.wait(30)
    with pytest.raises(EmbeddingUnavailableError, match="a moment ago"):
        impatient.embed(["two"])
    go_on.set()
    first.join(30)
    assert refused[-1] == "away"
