"""The catalogue of issue codes. Codes are stable: consumers store and filter by them; titles may improve."""

# ruff: noqa: E501 (a table is read by its rows)

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error lost something (a document, an item, an offer); a warning did not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class IssueCode:
    """What can be wrong, and what the publisher can do about it."""

    code: str
    severity: Severity
    group: str
    title: str
    remedy: str


_DOCUMENT = "Documents"
_REGISTRY = "Registry"
_FEED = "Feed index and shards"
_ITEM = "Items"
_OFFER = "Offers"
_SEARCH = "Search"
_E = Severity.ERROR
_W = Severity.WARNING

_TABLE = (
    # --- documents
    ("registry-unreadable", _E, _DOCUMENT, "The registry is not readable JSON.", "Publish one complete UTF-8 JSON document: an Organization or an array of them."),
    ("index-unreadable", _E, _DOCUMENT, "The feed index is not readable, or a shard entry in it is not.", "Publish a complete UTF-8 JSON document with `shards: [{\"url\": …}]`; check the byte the message names."),
    ("shard-unreadable", _E, _DOCUMENT, "A shard is not readable JSON; nothing of it was used.", "Publish a complete UTF-8 JSON document; check the byte the message names."),
    ("shard-missing", _E, _DOCUMENT, "A shard the index lists could not be fetched.", "Upload the shard before the index that lists it, or take it off the index."),
    ("shard-repaired", _W, _DOCUMENT, "A shard was almost JSON and was repaired before reading.", "Write strict JSON: no bare NaN or Infinity, no raw control characters, no half surrogate pairs."),
    ("path-outside", _E, _DOCUMENT, "A path leads outside the folder, or the origin, the feed was read from.", "Use shard paths beside or below the index."),
    ("address-forbidden", _E, _DOCUMENT, "A URL leads where the node does not go: a private address, another scheme.", "Publish on public servers, over https."),
    # --- registry
    ("entry-unusable", _E, _REGISTRY, "An entry of the registry is not a JSON object, or no organization.", "Make every entry an object of `@type` Organization."),
    ("organization-without-name", _E, _REGISTRY, "An organization has no name.", "Give it a non-empty `name`."),
    ("organization-without-identity", _E, _REGISTRY, "An organization has neither an identifier nor a URL to derive one from.", "Add `identifier` with `propertyID: \"cmp:orgId\"` and the organization's URN."),
    ("foreign-organization", _E, _REGISTRY, "The organization is registered by another ingestor, which owns it.", "Remove it from one of the two registries."),
    ("organization-unlisted", _W, _REGISTRY, "An organization is no longer in the registry that registered it; it stays as it is for a while, then its products are deleted.", "List it again, if it is to stay."),
    ("organization-retired", _W, _REGISTRY, "An organization left the registry that registered it, and its products were deleted.", "List it again, if it is to return: its feed is then ingested whole."),
    ("duplicate-organization", _W, _REGISTRY, "The same organization is listed more than once; the last entry is used.", "List each organization once."),
    ("organization-type-unknown", _W, _REGISTRY, "The entry's `@type` is not Organization; it was read as one.", "Set `@type` to `Organization`."),
    ("organization-urn-derived", _W, _REGISTRY, "The organization has no identifier; one was derived from its domain.", "Add `identifier` with `propertyID: \"cmp:orgId\"` and the organization's URN."),
    ("organization-urn-invalid", _W, _REGISTRY, "The organization's URN names neither a UUID nor a domain.", "Use `urn:cmp:org:` and the UUID (version 5) of the domain."),
    ("organization-urn-spelling", _W, _REGISTRY, "The organization's URN is not written `urn:cmp:org:…`.", "Write `urn:cmp:org:` in lower case and without spaces."),
    ("organization-field-missing", _W, _REGISTRY, "A required field of the organization is missing or empty.", "Add the field the message names."),
    ("organization-field-invalid", _W, _REGISTRY, "A field of the organization cannot be used and was dropped.", "Correct the field the message names."),
    ("identifier-as-text", _W, _REGISTRY, "An identifier is a plain string.", "Write a PropertyValue with `propertyID` and `value`."),
    ("identifier-spelling", _W, _REGISTRY, "The `propertyID` of an identifier is missing or not spelled as specified.", "Write `cmp:orgId` or `cmp:brandId` without spaces."),
    ("brand-unusable", _W, _REGISTRY, "A brand without a name was dropped.", "Give every brand a `name`."),
    ("brand-urn-derived", _W, _REGISTRY, "A brand has no usable identifier; its URN was derived from its name.", "Add `identifier` with `propertyID: \"cmp:brandId\"` and the brand's URN."),
    # --- feed
    ("foreign-feed", _E, _FEED, "The feed names another organization than the registry entry that led to it; nothing was changed.", "Correct `orgid` in the index, or the feed URL in the registry."),
    ("orgid-missing", _W, _FEED, "The index does not say whose feed it is.", "Add `orgid` with the organization's URN."),
    ("orgid-unusable", _W, _FEED, "The index's `orgid` is not an organization's URN.", "Write `urn:cmp:org:` and the organization's UUID."),
    ("orgid-spelling", _W, _FEED, "The index names its organization in an unusual place or spelling.", "Write `orgid: \"urn:cmp:org:…\"`."),
    ("index-type-missing", _W, _FEED, "The index's `@type` is not ProductFeedIndex.", "Set `@type` to `ProductFeedIndex`."),
    ("feed-is-shard", _W, _FEED, "The feed is a single list of products without an index.", "Publish an index with `orgid` and `shards`."),
    ("shard-as-text", _W, _FEED, "Shards are listed as plain strings.", "List each as `{\"url\": …, \"lastUpdated\": …}`."),
    ("shard-url-relative", _W, _FEED, "Shard URLs are relative; they were resolved against the index.", "List absolute URLs."),
    ("duplicate-shard", _W, _FEED, "The same shard is listed more than once; it is read once.", "List each shard once."),
    ("total-shards-mismatch", _W, _FEED, "`totalShards` differs from the number of shards listed; what is listed was read.", "Make `totalShards` the length of `shards`."),
    ("position-disorder", _W, _FEED, "The positions in a shard repeat or do not rise; the order found was used.", "Number the list items from 1."),
    # --- items
    ("item-not-object", _E, _ITEM, "A list item is not a JSON object.", "List Product and ProductGroup objects only."),
    ("item-unreadable", _E, _ITEM, "The item's JSON cannot be read.", "Check the item at this position."),
    ("item-too-large", _E, _ITEM, "The item is too large or holds too many values.", "Shorten the item: details belong on the product page."),
    ("item-too-deep", _E, _ITEM, "The item is nested too deep.", "Flatten the item."),
    ("type-unknown", _E, _ITEM, "The item's `@type` is neither Product nor ProductGroup.", "Set `@type` to `Product` or `ProductGroup`."),
    ("identity-missing", _E, _ITEM, "The item has neither a usable `@id` nor an SKU (for groups: `productGroupID`).", "Give it an `@id` (a URN) or at least a `sku`."),
    ("identity-wrong-type", _E, _ITEM, "The field that would identify the item has the wrong type.", "Write `@id` and `sku` as strings."),
    ("urn-too-long", _E, _ITEM, "The item's `@id` is too long to be a key.", "Use a URN of at most 1,024 bytes."),
    ("name-missing", _E, _ITEM, "The item has no name.", "Give it a non-empty `name`."),
    ("name-wrong-type", _E, _ITEM, "The item's name is not text.", "Write `name` as a string."),
    ("duplicate-urn", _W, _ITEM, "The same `@id` occurs more than once in the feed; the last one wins.", "Publish each product once."),
    ("duplicate-sku", _W, _ITEM, "The same SKU occurs under different `@id`s; all are kept.", "Use one `@id` per SKU."),
    ("foreign-urn", _W, _ITEM, "The item's URN names another organization; the item is kept under the publisher.", "Use URNs of your own organization."),
    ("group-missing", _W, _ITEM, "The group a variant refers to is not in the feed; a stub was created.", "Publish the ProductGroup."),
    ("group-urn-derived", _W, _ITEM, "The variant's group has no `@id`; its URN was derived.", "Write `isVariantOf: {\"@type\": \"ProductGroup\", \"@id\": …}`."),
    ("urn-derived", _W, _ITEM, "The item has no usable `@id`; one was derived from organization, brand and SKU.", "Give it an `@id` (a URN) that never changes."),
    ("id-not-urn", _W, _ITEM, "The item's `@id` is not a URN; it is used as it is.", "Use a URN: `urn:cmp:org:…:brand:…:sku:…`."),
    ("sku-missing", _W, _ITEM, "The product has no SKU.", "Add `sku`."),
    ("sku-number", _W, _ITEM, "The SKU or group ID is a number; its digits are used.", "Write it as a string, or leading zeros are lost."),
    ("description-missing", _W, _ITEM, "The product has no description, so it is harder to find.", "Add `description`: it is what search reads."),
    ("category-missing", _W, _ITEM, "The product has no category.", "Add `category`, such as `Electronics > Audio > Headphones`."),
    ("category-as-list", _W, _ITEM, "The category is a list.", "Write one path: `Electronics > Audio > Headphones`."),
    ("brand-missing", _W, _ITEM, "The product has no brand.", "Add `brand` with a `name`."),
    ("brand-as-text", _W, _ITEM, "The brand is a plain string.", "Write `brand: {\"@type\": \"Brand\", \"name\": …}`."),
    ("brand-without-identifier", _W, _ITEM, "The brand has only a name; its URN was looked up or derived.", "Add `brand.identifier` with the brand's URN."),
    ("offers-missing", _W, _ITEM, "The product has no offers, so it has no price.", "Add `offers` with `price` and `priceCurrency`."),
    ("reference-unusable", _W, _ITEM, "A reference to a brand or group cannot be used and was dropped.", "Refer by a URN of at most 1,024 bytes."),
    ("wrong-type", _W, _ITEM, "An optional field has the wrong type and was dropped.", "Correct the field the message names."),
    ("suspicious-text", _W, _ITEM, "A text reads like an instruction to a language model, not like words about a product; it is kept and shown as it is.", "Describe the product. If the words are about it, nothing has to be done."),
    ("text-cut", _W, _ITEM, "A text is too long and was cut.", "Shorten the field the message names."),
    ("text-cleaned", _W, _ITEM, "Control characters, bidi controls or lone surrogates were removed from a text, or unseen ones from an identifier.", "Export plain UTF-8 text."),
    ("invalid-utf8", _W, _ITEM, "The item holds bytes that are not UTF-8; they were replaced.", "Export UTF-8."),
    ("item-repaired", _W, _ITEM, "The item was almost JSON and was repaired before reading.", "Write strict JSON: no bare NaN or Infinity, no raw control characters, no half surrogate pairs."),
    ("url-not-absolute", _W, _ITEM, "A URL is relative; it is kept as it is.", "Write absolute URLs."),
    ("url-unusable", _W, _ITEM, "A URL is too long or does not begin with http(s); it was dropped.", "Use an https URL of at most 2,048 characters."),
    ("gtin-invalid", _W, _ITEM, "A GTIN does not have 8, 12, 13 or 14 digits; it was dropped.", "Write the digits as a string, leading zeros included."),
    ("too-many-values", _W, _ITEM, "A list is too long; what exceeds the limit was dropped.", "Shorten the list the message names."),
    # --- offers
    ("offer-not-object", _E, _OFFER, "An offer is not an object and was dropped.", "Write an Offer with `price` and `priceCurrency`."),
    ("price-missing", _E, _OFFER, "An offer has no price and was dropped.", "Add `price`, a number."),
    ("price-unusable", _E, _OFFER, "A price cannot be read exactly; the offer was dropped.", "Write `price` as a plain number such as 1299.00, zero or more, with at most six decimals."),
    ("currency-missing", _E, _OFFER, "An offer has no currency and was dropped.", "Add `priceCurrency`, such as `USD`."),
    ("currency-unknown", _E, _OFFER, "A currency is not an ISO 4217 code; the offer was dropped.", "Write three letters, such as `USD`."),
    ("too-many-offers", _E, _OFFER, "The product has too many offers; what exceeds the limit was dropped.", "Publish at most 100 offers per product."),
    ("price-as-text", _W, _OFFER, "A price is text; it was read exactly.", "Write `price` as a number."),
    ("price-in-specification", _W, _OFFER, "The price stands only in `priceSpecification`.", "Repeat it as `price` and `priceCurrency` of the offer."),
    ("availability-missing", _W, _OFFER, "An offer does not say whether it is available.", "Add `availability`, such as `https://schema.org/InStock`."),
    ("availability-unknown", _W, _OFFER, "An availability is not one of schema.org's; it was dropped.", "Use a schema.org ItemAvailability, such as `https://schema.org/InStock`."),
    ("availability-not-url", _W, _OFFER, "An availability is not written as a schema.org URL.", "Write `https://schema.org/InStock`."),
    ("inventory-unusable", _W, _OFFER, "A stock level is not a whole number from zero up; it was dropped.", "Write `inventoryLevel: {\"value\": 10}`."),
    ("valid-until-unusable", _W, _OFFER, "`priceValidUntil` is not a date within reach; it was dropped.", "Write an ISO 8601 date, such as `2026-12-31`."),
    # --- search
    ("text-refused", _E, _SEARCH, "The embedding service makes no vector of the product's text, which is its name, brand and description; search does not find the product, or finds it by its former text.", "Shorten and clean the description. The node's operator can choose a model that takes it, or try again with `discovery-node ingest --only vector --full`."),
)  # fmt: skip

CODES: dict[str, IssueCode] = {row[0]: IssueCode(*row) for row in _TABLE}


def render_markdown() -> str:
    """docs/issues.md: every code with its meaning and remedy, in groups."""
    lines = [
        "# Issues",
        "",
        "What a publisher can be told about a registry or a feed. An *error* lost something: a document, an item, an",
        "offer, or a product's place in search. A *warning* did not. This page is generated from `app/cmp/codes.py`.",
    ]
    for group in dict.fromkeys(code.group for code in CODES.values()):
        lines += ["", f"## {group}", "", "| code | severity | meaning | remedy |", "|---|---|---|---|"]
        lines += [
            f"| `{code.code}` | {code.severity} | {code.title} | {code.remedy} |"
            for code in CODES.values()
            if code.group == group
        ]
    return "\n".join(lines) + "\n"
