"""The vector step: the search index in step with the catalogue."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db.session import Database
from app.services import pieces, refusals, traffic
from app.services.generations import (
    Generation,
    OpenGeneration,
    Recipe,
    find_generation,
    hold,
    live_generation,
    make_live,
    open_generation,
)
from app.services.pieces import Piece, PieceLostError
from app.services.takeover import require_texts
from app.vectors.embedders import Embedder, EmbeddingError, EmbeddingUnavailableError
from app.vectors.indexes.base import Block, Entry, Outdated, PendingProduct

log = structlog.get_logger()

BATCH = 256
"""Texts embedded and acknowledged in one transaction: what a killed process loses at most."""

DELETIONS = 1000
"""Products taken out of the index in one transaction."""

ROUNDS = 10
"""How often a rebuild looks for what came to be pending meanwhile."""

SHARED_FROM = 4
"""Batches from which on others are asked to help."""
_POLL = 0.05  # seconds between looks at what helpers are at
_LAST = 2**63 - 1  # beyond every id


@dataclass
class VectorReport:
    """Texts that were pending, those indexed and those that were found to be refused; products taken out of the index.
    `refused` were so before, and count as none of these."""

    pending: int = 0
    indexed: int = 0
    deleted: int = 0
    failed: int = 0
    refused: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Sharing:
    """Whose work it is, and how others are asked to take pieces of it."""

    owner: UUID
    invite: Callable[[UUID, int], None]


def update(
    database: Database,
    recipe: Recipe,
    organization_ids: Sequence[int] | None,
    on_batch: Callable[[int, int], None],
    sharing: Sharing | None = None,
) -> VectorReport:
    """Puts what is pending of the organizations (None: of all) into the index, with others when it is much, and takes
    out what vanished."""
    opened = _opened(database, recipe, organization_ids)
    with database.transaction() as connection:
        refusals.forget_others(connection, opened.generation)
        outdated, refused = _outdated(connection, opened.generation, organization_ids)
    report = VectorReport(pending=sum(each.pending for each in outdated), refused=refused)
    if report.pending:
        on_batch(0, report.pending)
    try:
        if sharing is not None and report.pending >= SHARED_FROM * BATCH:
            _share(database, opened, organization_ids, report, on_batch, sharing)
        for each in outdated:
            if each.pending:
                _index_organization(database, opened, each.organization_id, report, on_batch)
    except (EmbeddingError, ConfigurationError):
        if sharing is not None:
            _end_sharing(database, sharing.owner)
        _tell_facts(database, opened.generation, [each.organization_id for each in outdated])
        raise
    if report.refused or report.failed:
        _tell_facts(database, opened.generation, [each.organization_id for each in outdated])
    if vanished := [each.organization_id for each in outdated if each.vanished]:
        report.deleted = _take_out(database, opened.generation, vanished)
    return report


def help_with(database: Database, recipe: Recipe, owner: UUID) -> int:
    """Embeds pieces of another process's work until there are none left; returns the number of texts indexed."""
    opened = open_generation(database, recipe)
    report = VectorReport()
    with structlog.contextvars.bound_contextvars(start=str(owner)):
        while _index_piece(database, opened, owner, report):
            pass
        log.info("helped with texts", indexed=report.indexed)
    return report.indexed


def complete(database: Database, recipe: Recipe, *, accept_refused: bool = False) -> None:
    """Ends a series of updates: builds the search structures that the index has grown to need, and makes a generation
    that was built beside the live one live itself, once no product of any organization is pending in it. Texts that are
    refused hold up nothing, but where they are many and not accepted: that raises `TextsRefusedError`."""
    generation = open_generation(database, recipe).generation
    with database.transaction() as connection:
        hold(connection, generation)
        if generation.index.ensure_search_structures(connection):
            log.info("search structures built", generation=generation.id)
    if not generation.is_live:
        with database.transaction() as connection:
            outdated, refused = _outdated(connection, generation, None)
            is_whole = not any(each.pending for each in outdated)
            if is_whole and not accept_refused:
                require_texts(connection, generation, refused, _count_live(connection, None))
        if is_whole:
            make_live(database, generation)


def rebuild(
    database: Database, recipe: Recipe, on_batch: Callable[[int, int], None], *, accept_refused: bool = False
) -> Generation:
    """Builds the generation of the recipe beside the live one, from where it was left, until it takes its place; if it
    is live already, what was begun beside it is given up. Returns it, not live when there always was more to do. Raises
    like `complete`."""
    generation = open_generation(database, recipe, revive=True).generation
    for _ in range(ROUNDS):
        update(database, recipe, None, on_batch)
        complete(database, recipe, accept_refused=accept_refused)
        generation = open_generation(database, recipe).generation
        if generation.is_live:
            make_live(database, generation)
            break
    return generation


def count_outdated(database: Database, recipe: Recipe, organization_ids: Sequence[int] | None) -> VectorReport:
    """What `update` would find to do. Writes nothing."""
    recipe.prepare()
    with database.transaction() as connection:
        opened = find_generation(connection, recipe)
        if opened is None:
            return VectorReport(pending=_count_live(connection, organization_ids))
        outdated, refused = _outdated(connection, opened.generation, organization_ids)
    return VectorReport(
        pending=sum(each.pending for each in outdated), deleted=sum(each.vanished for each in outdated), refused=refused
    )


def retry_refused(database: Database, recipe: Recipe, organization_ids: Sequence[int] | None) -> None:
    """Lets the refused texts of the organizations (None: of all) be pending again."""
    opened = open_generation(database, recipe)
    with database.transaction() as connection:
        refusals.forget(connection, opened.generation, organization_ids)


def _opened(database: Database, recipe: Recipe, organization_ids: Sequence[int] | None) -> OpenGeneration:
    """Like `open_generation`. When the model cannot be asked which it is, the live index is told what changed besides
    texts, if it was made with these settings."""
    try:
        return open_generation(database, recipe)
    except EmbeddingUnavailableError:
        with database.transaction() as connection:
            live = live_generation(connection)
            if live is None or live.made_with != recipe.made_with:
                raise
            outdated = live.index.outdated(connection, organization_ids)
        _tell_facts(database, live, [each.organization_id for each in outdated])
        raise


def _outdated(
    connection: Connection, generation: Generation, organization_ids: Sequence[int] | None
) -> tuple[list[Outdated], int]:
    """How far the index is behind with what can be put in, and how many products' texts are refused."""
    refused = refusals.counts(connection, generation, organization_ids)
    outdated = generation.index.outdated(connection, organization_ids)
    return refusals.without(outdated, refused), sum(refused.values())


def _share(
    database: Database,
    opened: OpenGeneration,
    organization_ids: Sequence[int] | None,
    report: VectorReport,
    on_batch: Callable[[int, int], None],
    sharing: Sharing,
) -> None:
    """Lays the work out in pieces and takes them one by one, as others may; what comes to be pending meanwhile is left
    to the caller."""
    with database.transaction() as connection:
        blocks = opened.generation.index.blocks(connection, organization_ids, BATCH)
        work = {ordinal: {"block": astuple(block)} for ordinal, block in enumerate(blocks)}
        pieces.offer(connection, sharing.owner, work)
    sharing.invite(sharing.owner, len(blocks))
    own = VectorReport(pending=report.pending)
    while True:
        while _index_piece(database, opened, sharing.owner, own):
            on_batch(min(own.indexed + own.failed, report.pending), report.pending)
        with database.transaction() as connection:
            results = pieces.results(connection, sharing.owner)
            done = [result for result in results.values() if result is not None]
            if len(done) == len(results):
                pieces.withdraw(connection, sharing.owner)
                break
        time.sleep(_POLL)
    report.indexed += sum(result["indexed"] for result in done)
    report.failed += sum(result.get("failed", 0) for result in done)  # older workers tell none


def _end_sharing(database: Database, owner: UUID) -> None:
    """Leaves nothing more to others, and waits for what they are at: it would be lost with their claims."""
    while True:
        with database.transaction() as connection:
            if pieces.end(connection, owner):
                return
        time.sleep(_POLL)


def _index_piece(database: Database, opened: OpenGeneration, owner: UUID, report: VectorReport) -> bool:
    """Indexes the next piece; False when none is free."""
    with pieces.taken(database, owner) as piece:
        if piece is None:
            return False
        products = _pending(database, opened.generation, Block(*piece.work["block"]))
        try:
            indexed, failed = _put_in(database, opened, products, piece)
        except PieceLostError:
            log.info("a batch was taken over by another worker", ordinal=piece.ordinal)
        else:
            report.indexed += indexed
            report.failed += failed
    return True


def _index_organization(
    database: Database,
    opened: OpenGeneration,
    organization_id: int,
    report: VectorReport,
    on_batch: Callable[[int, int], None],
) -> None:
    """Indexes what is pending of an organization, batch by batch."""
    first = 0
    while products := _pending(database, opened.generation, Block(organization_id, first, _LAST)):
        indexed, failed = _put_in(database, opened, products)
        report.indexed += indexed
        report.failed += failed
        first = products[-1].product_id + 1
        on_batch(min(report.indexed + report.failed, report.pending), report.pending)


def _pending(database: Database, generation: Generation, block: Block) -> list[PendingProduct]:
    """A batch of what is pending in a block."""
    with database.transaction() as connection:
        hold(connection, generation)
        return generation.index.pending(connection, block, BATCH)


def _put_in(
    database: Database,
    opened: OpenGeneration,
    products: Sequence[PendingProduct],
    piece: Piece | None = None,
) -> tuple[int, int]:
    """Puts a batch into the index, but for what is known to be refused; returns how many of its products are in, and
    how many were found to be refused. A `piece` is finished in the same transaction."""
    generation = opened.generation
    with database.transaction() as connection:
        known = refusals.among(connection, generation, products)
    try:
        wanted = generation.index.resolve([each for each in products if each.product_id not in known])
        entries, refused = _entries(opened.embedder, wanted)
    except DiscoveryNodeError:
        _release(database, generation, products)
        raise
    _release(database, generation, [each for each in products if each.product_id in known | refused.keys()])
    generation.index.send(entries)

    def finish(connection: Connection, indexed: int) -> None:
        refusals.record(connection, generation, refused)
        if piece is not None:
            piece.finish(connection, {"indexed": indexed, "failed": len(refused)})

    try:
        indexed = _acknowledge(database, generation, entries, finish)
    except PieceLostError:
        if not generation.index.is_in_database:  # what was sent was sent, and may have come late
            _acknowledge(database, generation, entries)
        raise
    return indexed, len(refused)


def _acknowledge(
    database: Database,
    generation: Generation,
    entries: Sequence[Entry],
    finish: Callable[[Connection, int], None] | None = None,
) -> int:
    with traffic.counting(database) as connection:
        hold(connection, generation)
        indexed = generation.index.acknowledge(connection, entries)
        if finish is not None:
            finish(connection, indexed)
    return indexed


def _release(database: Database, generation: Generation, products: Sequence[PendingProduct]) -> None:
    """Of a batch, what is not sent after all."""
    if products:
        with database.transaction() as connection:
            hold(connection, generation)
            generation.index.release(connection, products)


def _tell_facts(database: Database, generation: Generation, organization_ids: Sequence[int]) -> None:
    """Tells the index what products are filtered by now whose text cannot be put in: they are found by their last."""
    for organization_id in organization_ids:
        first = 0
        while True:
            with database.transaction() as connection:
                hold(connection, generation)
                found = generation.index.outdated_facts(connection, Block(organization_id, first, _LAST), BATCH)
            if not found:
                break
            entries = [Entry(each, None) for each in found]
            generation.index.send(entries)
            _acknowledge(database, generation, entries)
            first = found[-1].product_id + 1


def _entries(
    embedder: Embedder, products: Sequence[PendingProduct]
) -> tuple[list[Entry], dict[int, tuple[PendingProduct, str]]]:
    """Products with their vectors; and those whose text was refused, by id, with the reason. Equal texts are embedded
    once."""
    new = {each.embedded_hash: each.text for each in products if each.twin is None}
    vectors: dict[bytes, NDArray[np.float32]] = {}
    reasons: dict[bytes, str] = {}
    if new:
        embedded = embedder.embed(list(new.values()))
        vectors = dict(zip(new, embedded.vectors, strict=True))
        reasons = {text: embedded.refused[row] for row, text in enumerate(new) if row in embedded.refused}
    entries, refused = [], {}
    for each in products:
        if each.twin is not None:
            entries.append(Entry(each, None))
        elif each.embedded_hash in reasons:
            refused[each.product_id] = (each, reasons[each.embedded_hash])
        else:
            entries.append(Entry(each, vectors[each.embedded_hash]))
    return entries, refused


def _take_out(database: Database, generation: Generation, organization_ids: Sequence[int]) -> int:
    """Takes what vanished of the organizations out of the index; returns the number of products."""
    index, taken = generation.index, 0
    while True:
        with database.transaction() as connection:
            hold(connection, generation)
            vanished = index.vanished(connection, organization_ids, DELETIONS)
        if not vanished:
            return taken
        index.erase(vanished)
        with traffic.counting(database) as connection:
            hold(connection, generation)
            taken += index.forget(connection, vanished)


def _count_live(connection: Connection, organization_ids: Sequence[int] | None) -> int:
    count: int = connection.execute(
        text("""
            SELECT count(*) FROM products WHERE deleted_at IS NULL AND
                (CAST(:organizations AS bigint[]) IS NULL OR organization_id = ANY(:organizations))
            """),
        {"organizations": organization_ids},
    ).scalar_one()
    return count
