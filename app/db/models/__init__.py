"""The shape of the database."""

from app.db.models.access import ApiKey, LinkRevocation, Secret
from app.db.models.base import Base
from app.db.models.catalogue import Offer, Product, ProductGroup
from app.db.models.feeds import Feed, FeedShard, Issue, Occurrence
from app.db.models.organizations import Brand, Category, Organization, OrganizationCategory, Registry
from app.db.models.runs import Counter, Piece, Run, Start, Worker
from app.db.models.schedules import BeatSlot, Schedule
from app.db.models.vectors import DroppedGeneration, IndexGeneration, RefusedText

__all__ = [
    "ApiKey",
    "Base",
    "BeatSlot",
    "Brand",
    "Category",
    "Counter",
    "DroppedGeneration",
    "Feed",
    "FeedShard",
    "IndexGeneration",
    "Issue",
    "LinkRevocation",
    "Occurrence",
    "Offer",
    "Organization",
    "OrganizationCategory",
    "Piece",
    "Product",
    "ProductGroup",
    "RefusedText",
    "Registry",
    "Run",
    "Schedule",
    "Secret",
    "Start",
    "Worker",
]
