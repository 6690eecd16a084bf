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
