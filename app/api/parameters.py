"""What searches are asked with: parameters, and the protocol's filter object, into one typed value."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.api.problems import Problem, WrongParameter
from app.services.filters import Filter

MAX_QUERY = 1000
MAX_FILTER = 4000
MAX_PAGE_TOKEN = 8000
MAX_LIMIT = 100


class Part(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=1000, description="How many at most.")
    page_token: str | None = Field(
        None, alias="pageToken", max_length=4000, description="The `nextPageToken` of the page before."
    )


class SearchParameters(Filter):
    """What is looked for, within which filters, and which part of it."""

    q: str = Field("", max_length=MAX_QUERY, description="What is wanted, in plain words; or an SKU, GTIN or MPN. "
                   "Empty: the newest products.", examples=["organic coffee under $25"])  # fmt: skip
    filter: str | None = Field(None, max_length=MAX_FILTER, description="The filters as a JSON object; each may be a "
                               "parameter instead.")  # fmt: skip
    limit: int = Field(20, ge=1, le=MAX_LIMIT, description="How many products at most.")
    page_token: str | None = Field(None, alias="pageToken", max_length=MAX_PAGE_TOKEN, description="The "
                                   "`nextPageToken` of the page before; other parameters are as they were, or left "
                                   "out.")  # fmt: skip
    explain: bool = Field(False, description="Whether each product tells why it was found.")

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: dict[str, str]) -> dict[str, str]:
        """A form without a script sends its empty fields too."""
        return {name: value for name, value in given.items() if value != ""}

    def filters(self) -> dict[str, Any]:
        """Every filter that is set, by the object or by a parameter. Raises `Problem`, which names what is wrong."""
        listed = {} if self.filter is None else _read(self.filter).given()
        for name, value in self.given().items():
            if listed.setdefault(name, value) != value:
                raise WrongParameter(name, "is another in `filter`")
        low, high = listed.get("min_price"), listed.get("max_price")
        if low is not None and high is not None and low > high:
            raise WrongParameter("min_price", "is greater than max_price")
        return listed


def _read(text: str) -> Filter:
    try:
        return Filter.model_validate_json(text)
    except ValidationError as error:
        errors = [_wrong(each) for each in error.errors(include_url=False, include_input=False)]
    detail = "; ".join(f"{each['parameter']}: {each['message']}" for each in errors)
    raise Problem(422, "wrong-parameter", detail[:1000], errors=errors[:20])


def _wrong(error: Any) -> dict[str, Any]:
    where = ".".join(str(part) for part in error["loc"])[:100]
    if error["type"] == "extra_forbidden":
        message = f"there is no filter {where!r}; there are {', '.join(Filter.model_fields)}"
        return {"parameter": "filter", "message": message, "known": list(Filter.model_fields)}
    name = f"filter.{where}" if where else "filter"
    return {"parameter": name, "message": "is not a JSON object" if not where else error["msg"][:300]}
