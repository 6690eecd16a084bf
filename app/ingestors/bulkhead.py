"""What keeps a broken part, as one brand, from stopping the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.cmp.text import shorten
from app.core import unforeseen
from app.core.errors import DiscoveryNodeError
from app.db.session import is_foreseen

_LONGEST = 500  # characters of what is told of an error that nobody put in words


@contextmanager
def bulkhead(broken: Callable[[Exception], None]) -> Iterator[None]:
    """Whatever the block raises is given to `broken`, and then reported as unforeseen if it is that. What `broken`
    raises itself goes on its way: so an interruption passes."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a part's data sets off must end that part alone
        broken(error)
        if not is_foreseen(error):
            unforeseen.report(error)


def words_of(error: Exception) -> tuple[str, str]:
    """What is told of an error, and what can be done: nothing of a statement and its values, and nothing that
    PostgreSQL could not store."""
    if isinstance(error, DiscoveryNodeError):
        return str(error), error.remedy
    cause = getattr(error, "orig", None) or error
    told = shorten(str(cause).strip().partition("\n")[0], _LONGEST)
    if isinstance(error, SQLAlchemyError):
        return f"The database failed: {told}", "The next run takes up from here."
    return f"{type(error).__name__}: {told}", "Nobody foresaw this error; the log has all of it."
