"""Shapes of answers, for the OpenAPI document. Answers are written from plain documents; nothing is validated again."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A document that may have further members."""

    model_config = ConfigDict(extra="allow")


class WrongParameterShape(Shape):
    parameter: str
    message: str
    known: list[str] | None = None


class ProblemShape(Shape):
    """RFC 9457: what went wrong, and what to do. `type` names the kind of problem, once and for all."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str | None = None
    errors: list[WrongParameterShape] | None = None


class ProductShape(Shape):
    """A schema.org Product. In lists its text is short, and its offer is the one that answers best."""

    id: str = Field(alias="@id")
    type: Any = Field(alias="@type")
    name: str


class ProductPage(Shape):
    products: list[ProductShape]
    next_page_token: str | None = Field(None, alias="nextPageToken")
    degraded: bool | None = None


class CategoryShape(Shape):
    path: str
    name: str
    parent: str | None = None
    products: int


class CategoryPage(Shape):
    categories: list[CategoryShape]
    next_page_token: str | None = Field(None, alias="nextPageToken")


class BrandShape(Shape):
    id: str = Field(alias="@id")
    name: str
    organization: str
    products: int


class BrandPage(Shape):
    brands: list[BrandShape]
    next_page_token: str | None = Field(None, alias="nextPageToken")


class OrganizationShape(Shape):
    """A schema.org Organization. One that is known from its feed alone has no name yet."""

    id: str = Field(alias="@id")
    name: str | None = None
    products: int
    offers: int


class OrganizationPage(Shape):
    organizations: list[OrganizationShape]
    next_page_token: str | None = Field(None, alias="nextPageToken")


class ComparisonRowShape(Shape):
    name: str
    values: list[str | None]
    differs: bool


class ComparisonShape(Shape):
    products: list[ProductShape]
    rows: list[ComparisonRowShape]
    summary: str


class RunShape(Shape):
    id: str
    start: str
    ingestor: str
    organization: str | None
    status: str
    error: str | None
    started_at: str
    finished_at: str | None


class RunProgressShape(Shape):
    """How far a run is; of what was not begun nothing is told."""

    counts: dict[str, int] | None = None
    shards: list[Shape] | None = None
    embedding: Shape | None = None


class WholeRunShape(RunShape):
    """A run with how far it is, and whether it holds what could be released."""

    releasable: bool
    progress: RunProgressShape


class RunPage(Shape):
    starts: list[Shape]
    runs: list[RunShape]
    next_page_token: str | None = Field(None, alias="nextPageToken")


class StartShape(Shape):
    """What was started, and where its runs are found."""

    start: str
    runs: str


class IngestorShape(Shape):
    name: str
    source_type: str


class IngestorList(Shape):
    ingestors: list[IngestorShape]


class IssueShape(Shape):
    severity: str
    code: str
    message: str
    hint: str


class IssueCodeShape(Shape):
    """A code of the whole node's issues, and the first of the organizations that have it."""

    code: str
    severity: str
    title: str
    hint: str
    count: int
    organizations: list[Shape]


class IssueList(Shape):
    issues: list[IssueShape]
    codes: list[IssueCodeShape] | None = None


class ValidationShape(Shape):
    """What was found; `kind` is registry, feed, shard or unknown."""

    kind: str
    valid: bool
    counts: dict[str, int]
    issues: list[IssueShape]


class SystemShape(Shape):
    workers: list[Shape]
    schedules: list[Shape]
    queue: dict[str, float | int | None]
    feeds: list[Shape]
    index: list[Shape]


class DiagnosticPlaceShape(Shape):
    """Where something is wrong; `item` is the item as it was received, when it is in the catalogue."""

    shard: str | None
    position: int | None
    path: str
    message: str
    value: str | None
    attempted: bool


class DiagnosticShape(Shape):
    """A code of an organization's issues: how many places it has, in how many items, if each place is stored by
    itself, and the first of them."""

    code: str
    severity: str
    title: str
    hint: str
    count: int
    items: int | None = None
    places: list[DiagnosticPlaceShape]


class DiagnosticsShape(Shape):
    """What is wrong with an organization's data, by code, errors first."""

    organization: str
    codes: list[DiagnosticShape]


class LinkShape(Shape):
    """A link for a brand, relative to the node's address."""

    url: str
    organization: str
    expires_at: str = Field(alias="expiresAt")


class RevocationShape(Shape):
    revoked: bool
    organization: str | None = None
