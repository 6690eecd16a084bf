"""Which of the protocol's things a JSON-LD `@type` names."""

from typing import Literal

Kind = Literal["product", "group"]

_KINDS: dict[str, Kind] = {
    "product": "product",
    "individualproduct": "product",
    "productmodel": "product",
    "someproducts": "product",
    "productgroup": "group",
}


def type_names(value: object) -> list[str]:
    """The names in an `@type`, without prefix (`schema:`, `https://schema.org/`), in lower case."""
    values = value if isinstance(value, list) else [value]
    names = (text.strip() for text in values if isinstance(text, str))
    return [name.rpartition("/")[2].rpartition(":")[2].rpartition("#")[2].lower() for name in names]


def kind_of(value: object) -> Kind | None:
    """Product or group; a type that is both, as ["Product", "ProductGroup"], is a group."""
    if value == "Product":
        return "product"
    kinds = {_KINDS.get(name) for name in type_names(value)}
    if "group" in kinds:
        return "group"
    return "product" if "product" in kinds else None
