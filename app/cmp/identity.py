"""What makes an item that item: name, URN, SKU, group and GTINs. Here, and only here, an item is refused."""

import msgspec

from app.cmp.brands import ItemContext
from app.cmp.fields import Fields, cut_key_text, describe, listed, plain_text, text_field
from app.cmp.issues import Issue
from app.cmp.limits import MAX_GROUP_ID_BYTES, MAX_GTINS, MAX_NAME, MAX_SKU_BYTES
from app.cmp.text import clean, without_unseen
from app.cmp.urns import fits, group_urn, is_url, is_urn

_GTINS = ("gtin", "gtin8", "gtin12", "gtin13", "gtin14")
_GTIN_LENGTHS = (8, 12, 13, 14)
_GTIN_PUNCTUATION = str.maketrans("", "", " -")


class UnusableItemError(Exception):
    """The item cannot be used; `issue` says why. Never leaves this package."""

    def __init__(self, code: str, message: str, path: str = "", value: str | None = None) -> None:
        super().__init__(message)
        self.issue = Issue(code, message, path, value)


def read_name(value: object, issues: list[Issue]) -> str:
    """The name, without which nothing can be shown or found."""
    if not isinstance(value, str | None) and not (isinstance(value, dict) and "@value" in value):
        found = describe(value)
        raise UnusableItemError("name-wrong-type", f"`name` should be text, not {found}.", "name", found)
    name = text_field(value, "name", MAX_NAME, issues)
    if name is None:
        raise UnusableItemError("name-missing", "The item has no name.", "name")
    return name


def read_id(value: object, context: ItemContext, issues: list[Issue]) -> str | None:
    """A usable `@id`: a URN, or some other absolute identifier. `#product` is the same for every item: None."""
    if value is None:
        return None
    if not isinstance(value, str):
        found = describe(value)
        issues.append(Issue("wrong-type", f"`@id` should be text, not {found}.", "@id", found))
        return None
    urn = _identifier(value, "@id", issues)
    if not fits(urn):
        raise UnusableItemError("urn-too-long", f"`@id` has {len(urn)} characters.", "@id", urn[:400])
    if not is_urn(urn):
        return _other_id(urn, issues)
    if context.is_foreign(urn):
        found = f"{urn} names another organization than {context.organization_urn}."
        issues.append(Issue("foreign-urn", found, "@id", urn))
    return urn


def _other_id(text: str, issues: list[Issue]) -> str | None:
    if not is_url(text):
        return None
    issues.append(Issue("id-not-urn", "`@id` is not a URN.", "@id", text))
    return text


def _identifier(value: str, path: str, issues: list[Issue]) -> str:
    """The text, without what nobody sees in it."""
    text = plain_text(value, path, issues)
    seen = without_unseen(text)
    if seen != text:
        found = f"`{path}` held characters that nobody sees, which were removed."
        issues.append(Issue("text-cleaned", found, path, value[:400]))
    return seen


def read_key(value: object, path: str, issues: list[Issue]) -> str | None:
    """An SKU or group ID in full, which may identify the item; a number becomes its digits."""
    if isinstance(value, str):
        return _identifier(value, path, issues) or None
    number = _number(value)
    if number is None:
        if value is not None:
            found = describe(value)
            issues.append(Issue("wrong-type", f"`{path}` should be text, not {found}.", path, found))
        return None
    issues.append(Issue("sku-number", f"`{path}` is the number {number}.", path, number))
    return number


def cut_sku(key: str | None, issues: list[Issue]) -> str | None:
    return key and cut_key_text(key, "sku", MAX_SKU_BYTES, issues)


def cut_group_id(key: str | None, issues: list[Issue]) -> str | None:
    return key and cut_key_text(key, "productGroupID", MAX_GROUP_ID_BYTES, issues)


def no_identity(fields: Fields, key: str) -> UnusableItemError:
    """The refusal of an item with neither `@id` nor SKU (or group ID)."""
    for path in (key, "@id"):
        value = fields.get(path)
        if value is not None and not isinstance(value, str):
            found = describe(value)
            return UnusableItemError("identity-wrong-type", f"`{path}` should be text, not {found}.", path, found)
    value = fields.get("@id")
    shown = describe(value) if value else None
    return UnusableItemError("identity-missing", f"The item has neither a usable `@id` nor `{key}`.", "@id", shown)


def read_group_reference(fields: Fields, context: ItemContext, issues: list[Issue]) -> str | None:
    """The URN of the group a variant belongs to."""
    value = fields.get("isVariantOf")
    if isinstance(value, list):
        value = value[0] if value else None
    key = fields.get("inProductGroupWithID")
    path = "inProductGroupWithID"
    if isinstance(value, dict):
        key = value.get("productGroupID") or key
        value = value.get("@id")
    if value and (not key or _is_usable(value)):
        path, key = "isVariantOf", value
    if not key:
        return None
    return _group(key, path, context, issues)


def _is_usable(value: object) -> bool:
    """Whether the `@id` of a group is one. If not, the group itself is known by its `productGroupID`."""
    text = without_unseen(clean(value)).strip() if isinstance(value, str) else ""
    return (is_urn(text) or is_url(text)) and fits(text)


def _group(key: object, path: str, context: ItemContext, issues: list[Issue]) -> str | None:
    group = _identifier(key, path, issues) if isinstance(key, str) else _number(key)
    if not group:
        found = f"`{path}` names no group: {describe(key)}."
        issues.append(Issue("reference-unusable", found, path, describe(key)))
        return None
    if not is_urn(group) and not is_url(group):
        issues.append(Issue("group-urn-derived", f"The group {group!r} has no URN.", path, group[:400]))
        return group_urn(context.organization_urn, group)
    if fits(group):
        return group
    issues.append(Issue("reference-unusable", "The group's URN is too long.", path, group[:400]))
    return None


def read_gtins(fields: Fields, issues: list[Issue]) -> list[str]:
    """The digits of every GTIN, without repetition."""
    found: dict[str, None] = {}
    for key in _GTINS:
        value = fields.get(key)
        if value is None or value == "":
            continue
        for each in listed(value)[: MAX_GTINS + 1]:
            gtin = _gtin(each, key)
            if gtin is not None:
                found[gtin] = None
            else:
                issues.append(Issue("gtin-invalid", f"{describe(each)!r} is no GTIN.", key, describe(each)))
    if len(found) > MAX_GTINS:
        issues.append(Issue("too-many-values", f"The first {MAX_GTINS} GTINs are used.", "gtin"))
    return list(found)[:MAX_GTINS]


def _gtin(value: object, key: str) -> str | None:
    """Numbers have lost their leading zeros: the field's name says how many digits there were."""
    text = value.translate(_GTIN_PUNCTUATION).strip() if isinstance(value, str) else _number(value)
    if text is None:
        return None
    if not isinstance(value, str):
        text = text.zfill(int(key[4:] or 0))
    return text if len(text) in _GTIN_LENGTHS and text.isascii() and text.isdecimal() else None


def _number(value: object) -> str | None:
    if isinstance(value, msgspec.Raw):
        text = bytes(value).decode("ascii")
        return text if len(text) <= MAX_SKU_BYTES else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**100:
        return str(value)
    return None
