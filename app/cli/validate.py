"""`validate`: what is wrong with a file before it is published, or with what is published."""

from rich.console import Console
from rich.text import Text

from app.cli.database import settings
from app.cli.output import Findings, console, counted, placed, print_findings, print_json
from app.cli.progress import shown_progress
from app.core.errors import ConfigurationError
from app.ingestors.base import SourceError
from app.ingestors.validation import ValidationReport
from app.ingestors.validation import validate as lint
from app.net.urls import shown

_SHOWN = {"error": 100, "warning": 3}
_KINDS = {"registry": "a registry", "feed": "a feed", "shard": "a single shard", "unknown": "unreadable"}


def validate(path: str, *, as_json: bool) -> bool:
    """Prints what is wrong; False when something is an error."""
    try:
        with shown_progress() as progress:
            report = lint(path, progress, settings() if "://" in path else None)
    except SourceError as error:
        raise ConfigurationError(str(error), remedy=error.remedy) from error
    if as_json:
        print_json(report.as_dict())
    else:
        _print(console(), shown(path), report)
    return report.valid


def _print(out: Console, path: str, report: ValidationReport) -> None:
    for severity in ("error", "warning"):
        print_findings(out, _groups(report, severity), _SHOWN[severity])
    if report.issues:
        out.print()
    counts = report.counts
    verdict = Text("valid", "bold green") if report.valid else Text("not valid", "bold red")
    out.print(Text.assemble(f"{path} is {_KINDS[report.kind]}, ", verdict, f": {_summary(report)}."), soft_wrap=True)
    if counts.unlisted:
        out.print(f"{counts.unlisted:,} findings were counted and not listed.")


def _groups(report: ValidationReport, severity: str) -> list[Findings]:
    groups: dict[str, Findings] = {}
    for issue in report.issues:
        if issue.severity == severity:
            group = groups.setdefault(
                issue.code, Findings(severity, issue.code, issue.hint, count=report.totals[issue.code])
            )
            group.places.append(placed(issue.shard, issue.position, issue.path, issue.message))
    return list(groups.values())


def _summary(report: ValidationReport) -> str:
    counts = report.counts
    held = [
        (counts.organizations, "organization"),
        (counts.shards, "shard"),
        (counts.product_groups, "product group"),
        (counts.products, "product"),
        (counts.offers, "offer"),
    ]
    told = [counted(number, noun) for number, noun in held if number]
    if counts.rejected:
        told.append(f"{counts.rejected:,} rejected")
    if counts.offers_rejected:
        told.append(f"{counted(counts.offers_rejected, 'offer')} rejected")
    return ", ".join([*told, counted(counts.errors, "error"), counted(counts.warnings, "warning")])
