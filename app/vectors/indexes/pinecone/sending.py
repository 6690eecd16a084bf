"""Sending several parts of some work at once. Pure but for the threads."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from app.core.logging import in_this_context

T = TypeVar("T")
R = TypeVar("R")


def sent_at_once(parts: Iterable[T], send: Callable[[T], R], number: int) -> Iterator[R]:
    """What `send` returns for each part, as it comes, with up to `number` under way. When one fails no other is begun;
    those under way are yielded, then the first error is raised."""
    failed: BaseException | None = None
    under_way: set[Future[R]] = set()
    with ThreadPoolExecutor(number) as threads:
        for part in parts:
            under_way.add(threads.submit(in_this_context(send), part))
            if len(under_way) < number:
                continue
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            failed = yield from _results(done)
            if failed is not None:
                break
        done, _ = wait(under_way)
        also = yield from _results(done)
        failed = failed or also
    if failed is not None:
        raise failed


def _results(done: Iterable[Future[R]]) -> Generator[R, None, BaseException | None]:
    """Yields what went well, returns the first error."""
    failed: BaseException | None = None
    for each in done:
        if (error := each.exception()) is None:
            yield each.result()
        else:
            failed = failed or error
    return failed
