"""The vector step: what was merged becomes what is found."""

from collections.abc import Sequence

from app.core.config import Settings
from app.db.session import Database
from app.ingestors.helpers import Helpers, NoHelpers
from app.ingestors.progress import NoProgress, Progress
from app.services import generations, vectors
from app.services.generations import Recipe
from app.services.starts import Start
from app.services.vectors import Sharing, VectorReport


class VectorHandler:
    """Brings the search index in step with the catalogue. One for a whole ingestion: it keeps the embedder, whose model
    is loaded by the first text that is pending."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        progress: Progress | None = None,
        helpers: Helpers | None = None,
        *,
        dry_run: bool = False,
        retry_refused: bool = False,
        create: Recipe | None = None,
    ) -> None:
        self._database = database
        self._progress = progress or NoProgress()
        self._helpers = helpers or NoHelpers()
        self._dry_run = dry_run
        self._retry_refused = retry_refused
        self._create = create or generations.configured(settings)
        self._has_run = False

    def run(
        self, organization_ids: Sequence[int] | None = None, start: Start | None = None,
        progress: Progress | None = None,
    ) -> VectorReport:  # fmt: skip
        """Indexes what is pending of the organizations (None: of all), with help where a task's start has much to do; a
        dry run only counts it. Texts that were refused are left out, unless they are to be tried again."""
        if self._dry_run:
            return vectors.count_outdated(self._database, self._create, organization_ids)
        if self._retry_refused:
            vectors.retry_refused(self._database, self._create, organization_ids)
        share = Sharing(start.id, self._helpers.invite_to_embed) if start is not None and start.is_task else None
        note = (progress or self._progress).embedding
        report = vectors.update(self._database, self._create, organization_ids, note, share)
        self._has_run = True
        return report

    def finish(self) -> None:
        """To be called after the last organization: a first load builds the index's search structures once. Does
        nothing when no run succeeded."""
        if self._has_run:
            vectors.complete(self._database, self._create)
