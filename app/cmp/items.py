"""Items: bytes in, a product or a group out, or the reasons why not. Never an exception, whatever the bytes."""

from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec

from app.cmp.attributes import attribute_words
from app.cmp.brands import ItemContext, read_brand
from app.cmp.categories import cut_path, normalize_path, own_name, path_of_list
from app.cmp.documents import nesting_of
from app.cmp.fields import Fields, describe, image_field, key_text_field, listed, text_field, url_field
from app.cmp.identity import (
    UnusableItemError,
    cut_group_id,
    cut_sku,
    no_identity,
    read_group_reference,
    read_gtins,
    read_id,
    read_key,
    read_name,
)
from app.cmp.issues import Issue
from app.cmp.kinds import kind_of, type_names
from app.cmp.limits import (
    MAX_CACHED,
    MAX_DESCRIPTION,
    MAX_ITEM_BYTES,
    MAX_ITEM_VALUES,
    MAX_MPN,
    MAX_VARIES_BY,
    MAX_VARIES_BY_COUNT,
)
from app.cmp.models import GroupItem, ParsedItem, ProductItem, RejectedItem
from app.cmp.offers import Offer, read_offers
from app.cmp.recipe import RECIPE
from app.cmp.repair import repair
from app.cmp.suspicion import instruction_in
from app.cmp.text import text_hash
from app.cmp.urns import group_urn, product_urn

__all__ = ["GroupItem", "ItemContext", "Offer", "ParsedItem", "ProductItem", "RejectedItem", "parse_item"]

_DECODER = msgspec.json.Decoder(float_hook=msgspec.Raw)
_EXACT = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_CANONICAL = msgspec.json.Encoder(order="sorted")
_SEED = sha256(b"recipe %d\n" % RECIPE)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
_LARGE = 1024 * 1024


def parse_item(raw: msgspec.Raw | bytes, context: ItemContext) -> ParsedItem | RejectedItem:
    """The product or group in an item's bytes, or why there is none. Issues carry no position yet."""
    issues: list[Issue] = []
    try:
        _refuse_deep(raw, context.max_nesting)
        fields = _decode(raw, issues)
        kind = kind_of(fields.get("@type"))
        if kind == "product":
            return ParsedItem(kind, _product(fields, context, issues), issues)
        if kind == "group":
            return ParsedItem(kind, _group(fields, context, issues), issues)
        found = describe(fields.get("@type"))
        raise UnusableItemError("type-unknown", f"The `@type` is {found}.", "@type", found)
    except UnusableItemError as error:
        return RejectedItem([*issues, error.issue])
    except RecursionError:
        return RejectedItem([*issues, Issue("item-too-deep", "The item is nested too deep to be read.")])


def decode_item(raw: bytes) -> Fields:
    """The whole item as it was published, mended where `parse_item` mends it; fractions are Decimals. For items that
    `parse_item` accepted."""
    try:
        value: Fields = _EXACT.decode(raw)
    except _UNREADABLE:
        value = _EXACT.decode(repair(raw.decode("utf-8", "replace").encode()).text)
    return value


def facets_of(raw: bytes) -> str:
    """What is searched of an item besides its texts: the name of its category, without what lies above it, and its
    attributes. For items that `parse_item` accepted."""
    fields = decode_item(raw)
    return _facets(_category(fields.get("category"), []), fields)


def _facets(category: str | None, fields: Fields) -> str:
    words = attribute_words(fields.get("additionalProperty"))
    return f"{own_name(category)}\n{words}" if category else words


def _decode(raw: msgspec.Raw | bytes, issues: list[Issue]) -> Fields:
    size = memoryview(raw).nbytes
    if size > _LARGE:
        _refuse_large(bytes(raw))
    try:
        value = _DECODER.decode(raw)
    except _UNREADABLE:
        value = _decode_mended(bytes(raw), issues)
    if not isinstance(value, dict):
        found = describe(value)
        raise UnusableItemError("item-not-object", f"The item is {found}.", "", found)
    return value


def _refuse_deep(raw: msgspec.Raw | bytes, limit: int) -> None:
    if memoryview(raw).nbytes <= 2 * limit:
        return
    data = bytes(raw)
    if data.count(b"{") + data.count(b"[") > limit and nesting_of(data) > limit:
        raise UnusableItemError("item-too-deep", f"The item is nested more than {limit} deep (MAX_NESTING).")


def _refuse_large(data: bytes) -> None:
    if len(data) > MAX_ITEM_BYTES:
        raise UnusableItemError("item-too-large", f"The item takes {len(data)} bytes.")
    values = data.count(b",")
    if values > MAX_ITEM_VALUES:
        raise UnusableItemError("item-too-large", f"The item holds some {values} values.")


def _decode_mended(data: bytes, issues: list[Issue]) -> object:
    """The item after replacing what is not UTF-8 and mending what is almost JSON."""
    text = data.decode("utf-8", "replace").encode()
    if text != data:
        issues.append(Issue("invalid-utf8", "The item holds bytes that are not UTF-8."))
    mended = repair(text)
    if mended.kinds:
        issues.append(Issue("item-repaired", f"The item held {', '.join(mended.kinds)}."))
    try:
        return _DECODER.decode(mended.text)
    except _UNREADABLE as error:
        raise UnusableItemError("item-unreadable", f"The item cannot be read: {error}.") from error


def _product(fields: Fields, context: ItemContext, issues: list[Issue]) -> ProductItem:
    get = fields.get
    name = read_name(get("name"), issues)
    urn = read_id(get("@id"), context, issues)
    sku = read_key(get("sku"), "sku", issues)
    brand_name, brand_urn = read_brand(get("brand"), context, issues)
    if urn is None:
        urn = _derived_urn(fields, "sku", sku and product_urn(context.organization_urn, brand_urn, sku), issues)
    description = text_field(get("description"), "description", MAX_DESCRIPTION, issues)
    category = _category(get("category"), issues)
    _warn_missing(sku, description, category, brand_name or brand_urn, issues)
    _warn_suspicious({"name": name, "description": description}, issues)
    offers = read_offers(get("offers"), issues)
    return ProductItem(
        urn,
        cut_sku(sku, issues),
        name,
        description,
        url_field(get("url"), "url", issues),
        _image(fields, issues),
        brand_name,
        brand_urn,
        category,
        read_group_reference(fields, context, issues),
        read_gtins(fields, issues),
        key_text_field(get("mpn"), "mpn", MAX_MPN, issues),
        _content_hash(fields, brand_urn),
        text_hash(name, brand_name, description, _facets(category, fields)),
        offers.offers,
        offers.read,
        offers.rejected,
    )


def _group(fields: Fields, context: ItemContext, issues: list[Issue]) -> GroupItem:
    get = fields.get
    name = read_name(get("name"), issues)
    urn = read_id(get("@id"), context, issues)
    group_id = read_key(get("productGroupID"), "productGroupID", issues)
    if urn is None:
        derived = group_id and group_urn(context.organization_urn, group_id)
        urn = _derived_urn(fields, "productGroupID", derived, issues)
    brand_name, brand_urn = read_brand(get("brand"), context, issues)
    description = text_field(get("description"), "description", MAX_DESCRIPTION, issues)
    _warn_suspicious({"name": name, "description": description}, issues)
    return GroupItem(
        urn,
        cut_group_id(group_id, issues),
        name,
        description,
        url_field(get("url"), "url", issues),
        _image(fields, issues),
        brand_name,
        brand_urn,
        _category(get("category"), issues),
        _varies_by(get("variesBy"), issues),
        _content_hash(fields, brand_urn),
    )


def _warn_suspicious(texts: dict[str, str | None], issues: list[Issue]) -> None:
    for path, text in texts.items():
        if text and (passage := instruction_in(text)):
            issues.append(Issue("suspicious-text", f"`{path}` reads like an instruction to a model.", path, passage))


def _derived_urn(fields: Fields, key: str, derived: str | None, issues: list[Issue]) -> str:
    if not derived:
        raise no_identity(fields, key)
    issues.append(Issue("urn-derived", f"No usable `@id`: {derived} was derived from `{key}`.", "@id"))
    return derived


_REQUIRED = (
    ("sku", "sku-missing", "The product has no SKU."),
    ("description", "description-missing", "The product has no description."),
    ("category", "category-missing", "The product has no category."),
    ("brand", "brand-missing", "The product has no brand."),
)


def _warn_missing(
    sku: str | None, description: str | None, category: str | None, brand: str | None, issues: list[Issue]
) -> None:
    if sku and description and category and brand:
        return
    for value, (path, code, message) in zip((sku, description, category, brand), _REQUIRED, strict=True):
        if not value:
            issues.append(Issue(code, message, path))


_cached_path = lru_cache(maxsize=4096)(normalize_path)
"""A feed repeats a few hundred categories."""


def _path(text: str) -> str | None:
    return _cached_path(text) if len(text) <= MAX_CACHED else normalize_path(text)


def _category(value: object, issues: list[Issue]) -> str | None:
    """The path. A list of plain names is one path; of lists of paths, the first counts."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        issues.append(Issue("category-as-list", f"The category is a list of {len(value)}.", "category"))
        value = path_of_list(value)
    elif isinstance(value, dict):
        value = value.get("name")
    text = text_field(value, "category", MAX_DESCRIPTION, issues)
    path = _path(text) if text else None
    if path is None:
        return None
    short = cut_path(path)
    if short != path:
        issues.append(Issue("text-cut", "The category path is too long; its end was cut.", "category", path[:400]))
    return short


def _image(fields: Fields, issues: list[Issue]) -> str | None:
    """`image`, else the first ImageObject of the media."""
    image = fields.get("image")
    if image:
        return image_field(image, "image", issues)
    for media in listed(fields.get("@cmp:media")):
        if isinstance(media, dict) and "imageobject" in type_names(media.get("@type")):
            return image_field(media, "@cmp:media", issues)
    return None


def _varies_by(value: object, issues: list[Issue]) -> list[str]:
    values = listed(value)
    if len(values) > MAX_VARIES_BY_COUNT:
        found = f"The first {MAX_VARIES_BY_COUNT} of {len(values)} are used."
        issues.append(Issue("too-many-values", found, "variesBy"))
    texts = (text_field(each, "variesBy", MAX_VARIES_BY, issues) for each in values[:MAX_VARIES_BY_COUNT])
    return list(dict.fromkeys(text for text in texts if text))


def _content_hash(fields: Fields, brand_urn: str | None) -> bytes:
    """16 bytes of everything the item says, whatever the order of its keys, and of the brand it resolved to."""
    digest = _SEED.copy()
    digest.update(_CANONICAL.encode(fields))
    if brand_urn:
        digest.update(brand_urn.encode("utf-8", "replace"))
    return digest.digest()[:16]
