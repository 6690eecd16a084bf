"""Whether a new generation may take the place of the live one: not when its model refuses much of the catalogue."""

from sqlalchemy import Connection

from app.core.errors import DiscoveryNodeError
from app.services import refusals
from app.services.generations import Generation, live_generation

MAX_REFUSED = 0.1
"""Of all products, the share whose texts a model may refuse besides those that the live one's refuses."""

FEW_REFUSED = 10
"""Products of which that is no matter, whatever their share."""


class TextsRefusedError(DiscoveryNodeError):
    """An index is complete, but for the many texts that its model refuses: search would no longer find them."""

    def __init__(self, refused: int, products: int) -> None:
        super().__init__(
            f"The new index does not go live: its model refuses the texts of {refused:,} of {products:,} products",
            remedy=f"See `discovery-node issues --code {refusals.CODE}`; when it was the service's fault, try them "
            "again with `discovery-node ingest --only vector --full`. If they are to be left out, run "
            "`discovery-node vectors rebuild --accept-refused`.",
        )


def require_texts(connection: Connection, generation: Generation, refused: int, products: int) -> None:
    """Raises `TextsRefusedError` when so many are refused of so many products that search would be missing them."""
    live = live_generation(connection)
    before = sum(refusals.counts(connection, live).values()) if live is not None else 0
    if refused - before > max(FEW_REFUSED, MAX_REFUSED * products):
        raise TextsRefusedError(refused, products)
