"""Issues as files: CSV for spreadsheets, NDJSON for programs; a part of them, or all."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from starlette.responses import StreamingResponse

from app.api.negotiation import CSV, NDJSON, encoded
from app.api.node import ApiNode
from app.api.openapi import Responses
from app.services import issues
from app.services.issues import IssueFilter

Form = Literal["csv", "ndjson"]
Issues = Sequence[Mapping[str, Any]]

WHOLE: Responses = {
    200: {
        "content": {CSV: {"schema": {"type": "string"}}, NDJSON: {"schema": {"type": "string"}}},
        "description": "They are written while they are read",
    }
}
"""The `responses` of a route that answers all issues as a file."""

_COLUMNS = (
    "organization", "ingestor", "severity", "code", "shard", "position", "path", "message", "value", "count",
    "attempted", "hint",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def ndjson(found: Issues) -> bytes:
    return b"".join(encoded(issue) + b"\n" for issue in found)


def csv_table(found: Issues) -> bytes:
    """With a header. What a spreadsheet would take for a formula is marked as text."""
    return _HEADER + _csv_rows(found)


def whole(node: ApiNode, wanted: IssueFilter, form: Form) -> StreamingResponse:
    """All issues that are wanted, as a file. The first are read before the answer begins: what keeps the node from
    reading them is told as a problem."""
    media_type, header, write = _FORMS[form]
    pages = issues.in_pages(node.reading, wanted)
    found = chain([next(pages)], pages)
    headers = {"Content-Disposition": f'attachment; filename="issues.{form}"', "Cache-Control": "no-store"}
    return StreamingResponse(chain([header], map(write, found)), headers=headers, media_type=media_type)


def _csv_rows(found: Issues) -> bytes:
    written = io.StringIO()
    rows = ([_cell(issue[name]) for name in _COLUMNS] for issue in found)
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


_HEADER = ",".join(_COLUMNS).encode() + b"\r\n"
_FORMS: Mapping[Form, tuple[str, bytes, Callable[[Issues], bytes]]] = {
    "csv": (CSV, _HEADER, _csv_rows),
    "ndjson": (NDJSON, b"", ndjson),
}
