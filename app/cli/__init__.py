"""The command line: `discovery-node`. Here are the commands and their options; what they do is imported when it is
done, so that `--help` and `validate` wait for no database driver and no model.

Results go to stdout, everything else to stderr. Exit 0: done. 1: failed or held. 2: wrong usage or configuration.
"""

import io
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.arguments import parse_code, parse_currency, parse_expiry, parse_organization, parse_price
from app.core.errors import ConfigurationError, DiscoveryNodeError

FAILED = 1
MISUSED = 2

application = typer.Typer(
    name="discovery-node",
    help="Reads brand registries and product feeds, keeps an exact copy, and answers product searches.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
key_commands = typer.Typer(help="Keys of the API.", no_args_is_help=True, rich_markup_mode=None)
application.add_typer(key_commands, name="keys")
link_commands = typer.Typer(
    help="Links by which brands read their diagnostics.", no_args_is_help=True, rich_markup_mode=None
)
application.add_typer(link_commands, name="links")
database_commands = typer.Typer(help="Look after the database.", no_args_is_help=True, rich_markup_mode=None)
application.add_typer(database_commands, name="db")
vector_commands = typer.Typer(help="Look after the search index.", no_args_is_help=True, rich_markup_mode=None)
application.add_typer(vector_commands, name="vectors")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Config = Annotated[Path | None, typer.Option(help="The file to read instead of INGESTION_CONFIG_PATH.")]


def main() -> None:
    """The entry point. An error of the node's own becomes one clear line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        application()
    except DiscoveryNodeError as error:
        from app.cli.output import print_error

        print_error(error)
        sys.exit(MISUSED if isinstance(error, ConfigurationError) else FAILED)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"discovery-node {version('discovery-node')}")
        raise typer.Exit


Organization = Annotated[
    str | None, typer.Option(parser=parse_organization, metavar="URN", help="Only this organization's.")
]


@application.callback()
def _node(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@application.command()
def ingest(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Ingestors; without one, all.")] = None,
    config: Config = None,
    only: Annotated[Literal["registry", "feed", "vector"] | None, typer.Option(help="Do this step alone.")] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Take nothing over from last time: read what is unchanged, too, and embed what was refused."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything, keep nothing.")] = False,
    accept_deletions: Annotated[
        bool, typer.Option("--accept-deletions", help="Apply a publication that deletes many products.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring registries, feeds and search index up to date."""
    from app.cli.ingest import Choice, ingest

    choice = Choice(names or [], config, only, full=full, dry_run=dry_run, accept_deletions=accept_deletions)
    raise typer.Exit(0 if ingest(choice, as_json=json) else FAILED)


@application.command()
def search(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="What is wanted, in plain words; or an SKU, GTIN or MPN.")
    ],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many results at most.")] = 10,
    brand: Annotated[str | None, typer.Option(help="A brand's name or URN.")] = None,
    category: Annotated[str | None, typer.Option(help="A category, with all below it.")] = None,
    min_price: Annotated[
        Decimal | None, typer.Option(parser=parse_price, metavar="PRICE", help="At least this.")
    ] = None,
    max_price: Annotated[
        Decimal | None, typer.Option(parser=parse_price, metavar="PRICE", help="At most this.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(parser=parse_currency, metavar="CODE", help="Offers in this currency, such as EUR.")
    ] = None,
    in_stock: Annotated[bool, typer.Option("--in-stock", help="Only what can be had now.")] = False,
    organization: Organization = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell of each result why it stands where it does.")
    ] = False,
    json: Json = False,
) -> None:
    """Find products by meaning and by words."""
    if min_price is not None and max_price is not None and min_price > max_price:
        raise typer.BadParameter("--min-price is greater than --max-price")
    from app.cli.catalogue import search
    from app.services.search import SearchFilters

    filters = SearchFilters(brand, category, min_price, max_price, currency, in_stock, organization)
    search(query, filters, limit, explain=explain, as_json=json)


@application.command()
def product(urn: Annotated[str, typer.Argument(metavar="URN", help="The product's URN.")], json: Json = False) -> None:
    """Show a product as JSON-LD, with its offers."""
    from app.cli.catalogue import product

    product(urn, as_json=json)


@application.command()
def validate(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A registry, a feed index or a shard: a file or a URL.")],
    json: Json = False,
) -> None:
    """Check a registry or a feed; nothing is stored."""
    from app.cli.validate import validate

    raise typer.Exit(0 if validate(path, as_json=json) else FAILED)


@application.command()
def runs(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many runs at most.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """List what is under way, and the latest ingestions, newest first."""
    if watch and json:
        raise typer.BadParameter("--watch and --json do not go together")
    if watch:
        from app.cli.watch import watch as watch_runs

        watch_runs(limit)
    else:
        from app.cli.records import runs

        runs(limit, as_json=json)


@application.command()
def issues(
    organization: Organization = None,
    severity: Annotated[Literal["error", "warning"] | None, typer.Option(help="Only these.")] = None,
    code: Annotated[
        str | None, typer.Option(parser=parse_code, metavar="CODE", help="Only this one; docs/issues.md lists them.")
    ] = None,
    json: Json = False,
) -> None:
    """Tell what is wrong with registries and feeds."""
    from app.cli.records import issues

    issues(organization, severity, code, as_json=json)


@application.command()
def ingestors(config: Config = None, json: Json = False) -> None:
    """List the entries of ingestion.yaml."""
    from app.cli.ingest import ingestors

    ingestors(config, as_json=json)


@application.command()
def doctor(config: Config = None) -> None:
    """Say what is fine on this machine and what is missing."""
    from app.cli.doctor import doctor

    raise typer.Exit(0 if doctor(config) else FAILED)


@application.command()
def up(
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="How many tasks may run at once.")] = 2,
    config: Config = None,
) -> None:
    """Run the whole node: database, Redis, worker, beat and API. Ctrl-C ends all."""
    from app.cli.up import up

    up(config, concurrency)


@application.command()
def mcp() -> None:
    """Answer a desktop assistant over standard input and output (MCP)."""
    from app.cli.mcp import serve

    serve()


@application.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Who may ask; without it API_HOST, else this machine.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Where; without it API_PORT, else 8000.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many processes; without it API_WORKERS, else one a core.")
    ] = None,
) -> None:
    """Serve the discovery API over HTTP. Ctrl-C ends it."""
    from app.cli.serve import serve

    serve(host, port, workers)


@application.command()
def metrics(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Where; without it METRICS_PORT, else 9808.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Who may ask; without it METRICS_HOST, else this machine.")] = None,
) -> None:
    """Serve the node's metrics for Prometheus, at /metrics. Ctrl-C ends it."""
    from app.cli.metrics import metrics

    metrics(host, port)


@database_commands.command()
def upgrade() -> None:
    """Bring the database to the schema this version needs."""
    from app.cli.database import upgrade

    upgrade()


@vector_commands.command()
def status(json: Json = False) -> None:
    """List the generations of the search index, and how far each is behind."""
    from app.cli.vectors import show_status

    show_status(as_json=json)


@vector_commands.command()
def setup() -> None:
    """Create the indexes at Pinecone that the settings name and that are missing."""
    from app.cli.vectors import set_up

    set_up()


@vector_commands.command()
def rebuild(
    accept_refused: Annotated[
        bool, typer.Option("--accept-refused", help="Put it there even if the model refuses many texts.")
    ] = False,
) -> None:
    """Build the index of the configured model beside the live one, and put it in its place. It can be resumed."""
    from app.cli.vectors import rebuild

    raise typer.Exit(0 if rebuild(accept_refused=accept_refused) else FAILED)


@vector_commands.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs.")] = False, json: Json = False
) -> None:
    """Compare all that is in the index with the catalogue."""
    from app.cli.vectors import verify

    raise typer.Exit(0 if verify(repair=repair, as_json=json) else FAILED)


@key_commands.command()
def create(
    scope: Annotated[Literal["read", "admin"], typer.Option(help="What it is for; admin may start and release runs.")],
    name: Annotated[str, typer.Option(help="Whose it is, in your words.")] = "",
    expires: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_expiry, metavar="TIME", help="Until when, as 2026-12-31 or 90d; without it for ever."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a key, and show it this once."""
    from app.cli.keys import create

    create(scope, name, expires, as_json=json)


@key_commands.command(name="list")
def list_keys(json: Json = False) -> None:
    """List the keys there are, without the keys themselves."""
    from app.cli.keys import list_keys

    list_keys(as_json=json)


@key_commands.command()
def revoke(key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` tells it.")]) -> None:
    """Make a key useless, at once."""
    from app.cli.keys import revoke

    revoke(key)


@link_commands.callback()
def _links() -> None:
    pass  # so that the only command has its name


@link_commands.command(name="revoke")
def revoke_links(
    organization: Annotated[
        str | None, typer.Argument(parser=parse_organization, metavar="[URN]", help="Whose.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Those of all organizations.")] = False,
) -> None:
    """Make the links that were made so far useless, at once: an organization's, or all."""
    from app.cli.links import revoke

    if (organization is None) != all:
        raise typer.BadParameter("Name an organization's URN, or say --all.")
    revoke(organization)
