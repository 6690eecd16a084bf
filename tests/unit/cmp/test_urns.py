import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cmp.limits import MAX_URN_BYTES
from app.cmp.urns import (
    brand_urn,
    domain_of,
    fits,
    group_urn,
    normalize_organization_urn,
    organization_of,
    organization_urn,
    product_urn,
)

UUID = "11cdde9b-6a0c-5c18-8d01-11f701089cc2"
ORGANIZATION = f"urn:cmp:org:{UUID}"


def test_derived_urns_are_those_of_the_protocol() -> None:
    """The live registry's organization, and a brand and an SKU known from a real catalogue."""
    assert organization_urn("insighteditions.com") == ORGANIZATION
    brand = brand_urn(ORGANIZATION, "3M")
    assert brand == f"{ORGANIZATION}:brand:1bbbabfd-6c28-5b1a-885e-aedfd83659be"
    assert product_urn(ORGANIZATION, brand, "554656") == f"{brand}:sku:3047d8a1-82c4-57c4-9de6-f0074c9b46a6"
    assert product_urn(ORGANIZATION, None, "554656") == f"{ORGANIZATION}:sku:3047d8a1-82c4-57c4-9de6-f0074c9b46a6"
    assert product_urn(ORGANIZATION, "urn:cmp:brandid:1BBBABFD-6c28-5b1a-885e-aedfd83659be", "1").startswith(brand)
    assert group_urn(ORGANIZATION, "G").startswith(f"{ORGANIZATION}:productgroup:")


@pytest.mark.parametrize(
    ("text", "urn"),
    [
        (ORGANIZATION, ORGANIZATION),
        (f"urn:cmp:orgid:{UUID}", ORGANIZATION),
        (f"  URN:CMP:ORGID:{UUID.upper()} ", ORGANIZATION),
        ("urn:cmp:orgid:22eefabc-7b1d-6d29-9e12-22g812190dd3", "urn:cmp:org:22eefabc-7b1d-6d29-9e12-22g812190dd3"),
        ("urn:cmp:org:Example.COM", "urn:cmp:org:example.com"),
        (f"{ORGANIZATION}:brand:{UUID}", None),
        ("urn:cmp:org:", None),
        ("urn:cmp:org:a b", None),
        ("urn:cmp:org:a\x00b", None),
        (f"urn:cmp:brand:{UUID}", None),
        (UUID, None),
        ("", None),
        ("urn:cmp:org:" + "x" * 3000, None),
    ],
)
def test_organizations_have_one_spelling(text: str, urn: str | None) -> None:
    assert normalize_organization_urn(text) == urn


@given(st.one_of(st.text(), st.text(alphabet="urncmp:og id.-aZ09", max_size=40), st.from_regex("urn:cmp:org(id)?:.+")))
def test_normalisation_is_idempotent(text: str) -> None:
    urn = normalize_organization_urn(text)
    if urn is not None:
        assert normalize_organization_urn(urn) == urn
        assert organization_of(urn) == urn.removeprefix("urn:cmp:org:")


@pytest.mark.parametrize(
    ("urn", "owner"),
    [
        (ORGANIZATION, UUID),
        (f"urn:cmp:orgid:{UUID.upper()}", UUID),
        (f"{ORGANIZATION}:brand:{UUID}", UUID),
        (f"{ORGANIZATION}:brand:{UUID}:sku:{UUID}", UUID),
        (f"urn:cmp:org:Example.com:brand:{UUID}:sku:{UUID}", "example.com"),
        (f"{ORGANIZATION}:productgroup:{UUID}", UUID),
        ("urn:cmp:sku:example.com:SKU-1", "example.com"),
        ("urn:cmp:sku:example.com", None),
        ("urn:cmp:sku:example.com:", None),
        ("urn:cmp:sku:ACME:RED", None),
        ("urn:cmp:sku:1.5:RED", None),
        ("urn:cmp:sku:WH-1000XM5", None),
        (f"urn:cmp:brand:{UUID}", None),
        (f"urn:cmp:brandid:{UUID}", None),
        ("urn:cmp:product:IPHONE", None),
        ("urn:isbn:123", None),
        ("", None),
    ],
)
def test_the_organization_a_urn_names(urn: str, owner: str | None) -> None:
    assert organization_of(urn) == owner


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://www.Example.com/shop", "example.com"),
        ("https://shop.example.co.uk:8443/", "shop.example.co.uk"),
        ("https://[::1", None),
        ("https://127.0.0.1/", None),
        ("https://localhost/", None),
        ("example.com", None),
        ("", None),
    ],
)
def test_domains(url: str, domain: str | None) -> None:
    assert domain_of(url) == domain


def test_the_limit_counts_bytes() -> None:
    assert fits("u" * MAX_URN_BYTES)
    assert not fits("u" * (MAX_URN_BYTES + 1))
    assert not fits("ü" * (MAX_URN_BYTES // 2 + 1))
