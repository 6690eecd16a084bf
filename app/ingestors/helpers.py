"""Idle workers that may be asked to help."""

from typing import Protocol
from uuid import UUID

from app.ingestors.handlers.reading import FeedRequest


class Helpers(Protocol):
    """Invited when there is work in pieces; whether anybody comes is not known, and nobody waits for them."""

    def invite_to_stage(self, run_id: UUID, request: FeedRequest, revision: int, pieces: int) -> None:
        """Asks for help with `pieces` shards of a run."""

    def invite_to_embed(self, owner: UUID, pieces: int) -> None:
        """Asks for help with `pieces` batches of texts."""


class NoHelpers:
    """Nobody is there."""

    def invite_to_stage(self, run_id: UUID, request: FeedRequest, revision: int, pieces: int) -> None:
        """Does nothing."""

    def invite_to_embed(self, owner: UUID, pieces: int) -> None:
        """Does nothing."""
