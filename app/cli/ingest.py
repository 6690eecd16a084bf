"""`ingest` and `ingestors`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from app.cli.database import database_errors, reading, settings
from app.cli.output import changes, console, counted, one_line, print_json, status, table
from app.cli.progress import shown_progress
from app.core.config import Settings
from app.core.errors import DiscoveryNodeError
from app.core.logging import configure_logging
from app.ingestors.ingestion import STEPS, Options, Step
from app.ingestors.manager import IngestorManager
from app.ingestors.reports import IngestReport, RunReport
from app.net.urls import shown
from app.services import organizations

DONE = frozenset({"success", "degraded"})
_VERDICTS = ("inserted", "updated", "unchanged", "deleted", "rejected")
_COLUMNS = ("organization", "status", "products", "indexed", "issues", "seconds")


@dataclass(frozen=True)
class Choice:
    """What was asked for; without names all ingestors."""

    names: Sequence[str]
    config: Path | None
    only: Step | None
    full: bool
    dry_run: bool
    accept_deletions: bool

    def options(self) -> Options:
        return Options(
            steps=(self.only,) if self.only else STEPS,
            full=self.full,
            dry_run=self.dry_run,
            accept_deletions=self.accept_deletions,
        )


def ingest(choice: Choice, *, as_json: bool) -> bool:
    """Ingests and prints what became of it; False when something failed or was held."""
    found = _configured(choice.config)
    with shown_progress() as progress, database_errors():
        configure_logging(found.log_level, form=found.log_format)  # again: bars take stderr over
        report = IngestorManager(found, progress=progress).ingest(choice.names, options=choice.options())
    if as_json:
        print_json(report)
    else:
        _print(console(), report, _names(found, report), dry_run=choice.dry_run)
    return report["status"] in DONE


def ingestors(config: Path | None, *, as_json: bool) -> None:
    """Prints the entries of `ingestion.yaml`."""
    found = _configured(config)
    entries = IngestorManager(found).get_ingestors()
    for entry in entries:
        entry["registry"], entry["feed_path"] = _shown(entry["registry"]), _shown(entry["feed_path"])
    if as_json:
        print_json({"ingestors": entries})
        return
    out = console()
    listed = table("name", "source", "registry", "feed", "schedule")
    for entry in entries:
        listed.add_row(
            entry["name"], entry["source_type"], entry["registry"] or "-", entry["feed_path"] or "-",
            entry["schedule"] or "-",
        )  # fmt: skip
    out.print(listed if entries else f"{found.ingestion_config_path} lists no ingestors.")


def _shown(path: str | None) -> str | None:
    """A path without what may be secret in it."""
    return None if path is None else shown(path)


def _configured(config: Path | None) -> Settings:
    found = settings()
    return found.model_copy(update={"ingestion_config_path": config}) if config else found


def _names(settings: Settings, report: IngestReport) -> dict[str, str]:
    """Organizations by name. Without a database there are none."""
    try:
        with reading(settings) as connection:
            return organizations.names(
                connection, {run["organization"] for run in report["runs"] if run["organization"]}
            )
    except DiscoveryNodeError:
        return {}


def _print(out: Console, report: IngestReport, names: Mapping[str, str], *, dry_run: bool) -> None:
    if not report["runs"]:
        out.print("There is nothing to ingest: the file lists no ingestors.")
        return
    listed = table(*_COLUMNS, numbers=["indexed", "seconds"])
    for run in report["runs"]:
        listed.add_row(_organization(run, names), status(run["status"]), *_figures([run]))
    if len(report["runs"]) > 1:
        listed.add_section()
        figures = _figures(report["runs"], registries=_registry_seconds(report["runs"]))
        listed.add_row(f"{len(report['runs'])} in all", status(report["status"]), *figures)
    out.print(listed)
    _print_problems(out, report, names)
    if dry_run:
        out.print("This was a dry run: nothing was stored.")


def _organization(run: RunReport, names: Mapping[str, str]) -> str:
    """Its name, else its URN; without either the ingestor's."""
    urn = run["organization"]
    return f"({run['ingestor']})" if urn is None else names.get(urn, urn)


def _figures(listed: Sequence[RunReport], *, registries: float = 0.0) -> list[str]:
    """What the runs did, summed up. A registry's seconds are not those of one of its organizations."""
    products: Counter[str] = Counter()
    for run in listed:
        products.update(run["feed"].get("products", {}))
    indexed = sum(run["vector"].get("indexed", 0) for run in listed)
    found = ", ".join(
        counted(number, severity)
        for severity in ("error", "warning")
        if (number := sum(run["issues"].get(severity, 0) for run in listed))
    )
    seconds = registries + sum(run["timings"].get(step, 0.0) for run in listed for step in ("feed", "vector"))
    return [changes(products, *_VERDICTS), f"{indexed:,}", found or "none", f"{seconds:.1f}"]


def _registry_seconds(listed: Sequence[RunReport]) -> float:
    """Of all registries, each of which every one of its organizations names."""
    return sum({run["ingestor"]: run["timings"].get("registry", 0.0) for run in listed}.values())


def _print_problems(out: Console, report: IngestReport, names: Mapping[str, str]) -> None:
    """Every error in full, and where to read on."""
    for run in report["runs"]:
        if run["error"]:
            told = Text.assemble(status(run["status"]), f" {_organization(run, names)}: {one_line(run['error'])}")
            out.print(told, soft_wrap=True)
    if any(run["issues"].get("error") for run in report["runs"]):
        out.print("What the publishers have to mend: discovery-node issues --severity error")
    elif any(run["issues"].get("warning") for run in report["runs"]):
        out.print("What the publishers could do better: discovery-node issues")
