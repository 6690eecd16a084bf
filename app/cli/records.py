"""`runs` and `issues`: what happened, and what is wrong."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from app.cli.database import reading, settings
from app.cli.output import (
    STATUS_STYLES,
    Findings,
    changes,
    console,
    counted,
    one_line,
    placed,
    print_findings,
    print_json,
    status,
    table,
)
from app.services import issues as issue_service
from app.services import organizations
from app.services import runs as run_service
from app.services.issues import IssueFilter

_SHOWN = 10
_SEVERITIES = ("error", "warning")


@dataclass(frozen=True)
class Ledger:
    """What `runs` shows: what is under way, and the latest runs."""

    starts: list[dict[str, Any]]
    runs: list[dict[str, Any]]


def runs(limit: int, *, as_json: bool) -> None:
    """Prints what is under way, and the latest runs."""
    with reading(settings()) as connection:
        ledger = read_ledger(connection, limit)
    if as_json:
        print_json({"starts": ledger.starts, "runs": [run_service.as_report(row) for row in ledger.runs]})
    else:
        console().print(shown_ledger(ledger))


def read_ledger(connection: Connection, limit: int) -> Ledger:
    return Ledger(run_service.open_starts(connection), run_service.recent(connection, limit))


def shown_ledger(ledger: Ledger) -> RenderableType:
    """Starts in words, above a table of runs."""
    shown: list[RenderableType] = [_start_line(start) for start in ledger.starts]
    if shown:
        shown.append("")
    if ledger.runs:
        shown.append(_run_table(ledger.runs))
    elif not ledger.starts:
        shown.append("Nothing was ingested yet. Run `discovery-node ingest`.")
    return Group(*shown)


def issues(organization: str | None, severity: str | None, code: str | None, *, as_json: bool) -> None:
    """Prints the issues that pass the filters."""
    with reading(settings()) as connection:
        rows = issue_service.listed(connection, IssueFilter(organization, severity, code))
        names = organizations.names(connection, {row["organization"] for row in rows if row["organization"]})
    if as_json:
        print_json({"issues": rows})
    elif rows:
        _print_issues(console(), rows, names)
    else:
        asked = organization or severity or code
        console().print("There are no such issues." if asked else "There are no issues.")


def _start_line(start: Mapping[str, Any]) -> Text:
    """`queued   ingest:all acme: waits for Acme Solutions, at which other is at work`"""
    what = f"{start['task'] or 'command line'} {start['ingestor']}: "
    told = _how_it_runs(start) if start["status"] == "running" else _what_it_waits_for(start)
    line = Text.assemble(
        (f"{start['status']:<8} ", STATUS_STYLES.get(start["status"], "")), (what, "bold"), told, *_history(start)
    )  # fmt: skip
    return line if not start["error"] else line.append(f"\n         {one_line(start['error'])}", "dim")


def _how_it_runs(start: Mapping[str, Any]) -> str:
    return f"since {_clock(start['started_at'])}, worker {start['worker']}"


def _what_it_waits_for(start: Mapping[str, Any]) -> str:
    if start["waits_for"]:
        holder = f", at which {start['held_by_ingestor']} is at work" if start["held_by"] else ""
        return f"waits for {start['waits_for']}{holder}"
    if start["held_by"]:
        return "waits for another that does the same"
    if start["due_at"] > datetime.now(UTC):
        return f"due at {_clock(start['due_at'])}"
    return f"waits for a worker since {_clock(start['due_at'])}"


def _history(start: Mapping[str, Any]) -> Iterator[str]:
    """What happened to it so far, where that is worth a word."""
    if start["attempt"] > 1:
        yield f", attempt {start['attempt']}"
    if start["failures"]:
        yield f", failed {counted(start['failures'], 'time')}"
    if start["lost"]:
        yield f", lost {counted(start['lost'], 'worker')}"


def _clock(time: datetime) -> str:
    """The time of day; the day too when it is another."""
    local = time.astimezone()
    is_today = local.date() == datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%Y-%m-%d %H:%M:%S}"


def _run_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    listed = table("started", "ingestor", "organization", "status", "products", "seconds", numbers=["seconds"])
    for row in rows:
        lasted = (row["finished_at"] - row["created_at"]).total_seconds() if row["finished_at"] else None
        listed.add_row(
            f"{row['created_at'].astimezone():%Y-%m-%d %H:%M:%S}",
            row["ingestor"],
            row["name"] or row["organization"] or "-",
            status(row["status"]),
            changes(row["report"].get("feed", {}).get("products", {}), "inserted", "updated", "deleted", "rejected"),
            "-" if lasted is None else f"{lasted:.1f}",
        )
        if row["error"]:
            listed.add_row("", "", Text(one_line(row["error"]), "dim"))
    return listed


def _print_issues(out: Console, rows: list[dict[str, Any]], names: Mapping[str, str]) -> None:
    """By publisher and code, with the remedy of each."""
    ordered = sorted(rows, key=lambda row: (row["organization"] or "", row["ingestor"], row["attempted"]))
    for (organization, ingestor, attempted), group in groupby(
        ordered, key=lambda row: (row["organization"], row["ingestor"], row["attempted"])
    ):
        title = " ".join(part for part in (names.get(organization), organization or f"ingestor {ingestor}") if part)
        note = ", in the publication that was not applied" if attempted else ""
        out.print(Text(title + note, "bold underline"), soft_wrap=True)
        print_findings(out, _by_code(group), _SHOWN)
        out.print()
    counts = {severity: sum(row["count"] for row in rows if row["severity"] == severity) for severity in _SEVERITIES}
    out.print(" and ".join(counted(number, severity) for severity, number in counts.items() if number) + ".")


def _by_code(rows: Iterable[Mapping[str, Any]]) -> list[Findings]:
    groups: dict[str, Findings] = {}
    for row in rows:
        group = groups.setdefault(row["code"], Findings(row["severity"], row["code"], row["hint"]))
        group.count += row["count"]
        group.places.append(placed(row["shard"], row["position"], row["path"], row["message"]))
        group.places += [_further_place(row, place) for place in row["places"][1:]]
    return list(groups.values())


def _further_place(row: Mapping[str, Any], place: Mapping[str, Any]) -> str:
    """A place beyond the first of a summed-up warning: one in the shard, or as the feed's own findings name it."""
    told = place.get("value") or place.get("urn") or place.get("sku") or ""
    return placed(place.get("shard", row["shard"]), place.get("position"), place.get("path"), told)
