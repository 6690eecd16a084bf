"""The OpenAPI document: every answer to requests made from it is one that it tells of."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.support.api import Api, api
from tests.support.console import PAGE
from tests.support.feeds import ORGANIZATION, FeedFolder, group, product, product_urn, variant
from tests.support.nodes import node_of

load_all_checks()
_QUICK = settings(
    max_examples=8, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
_CHECKS = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
        "response_headers_conformance",
    )
]  # fmt: skip
_LISTED = {
    "/products", "/products/{urn}", "/compare", "/categories", "/brands", "/organizations", "/organizations/{urn}",
    "/runs", "/runs/{run}", "/runs/{run}/release", "/ingestors", "/ingestors/{name}/runs", "/issues", "/validate",
    "/livez", "/readyz", "/metrics", "/organizations/{urn}/issues", "/organizations/{urn}/issues/links", "/diagnostics",
    "/organizations/{urn}/issues/links/revoke", "/diagnostics/{token}", "/system", "/issues.{form}",
    "/diagnostics/{token}/issues.{form}",
}  # fmt: skip
_ASKED_FOR_MORE = {
    "/products", "/compare", "/categories", "/brands", "/organizations", "/runs", "/issues", "/issues.{form}",
}  # fmt: skip
_ONLY_POSTED = {
    "/runs/{run}/release", "/ingestors/{name}/runs", "/validate", "/organizations/{urn}/issues/links", "/diagnostics",
    "/organizations/{urn}/issues/links/revoke",
}  # fmt: skip
_ITEMS = [
    product(1), product(2, name=...), group(1), variant(3, 1),
    product(4, id=...), product(5, id=5), product(6, id=f"  {product_urn(6)} "), product(7, name={"@value": "Lamp"}),
    product(8, isVariantOf=None), product(9, isVariantOf={"@type": "ProductGroup"}),
    product(10, isVariantOf={"@id": ""}), product(11, isVariantOf=[1, 2]),
    product(12, offers=[], description=None, image=None, additionalProperty="x"),
]  # fmt: skip
"""What is published: some as it should be, the others as publishers write it too."""


@pytest.fixture(scope="module")
def served(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    root = tmp_path_factory.mktemp("document")
    node = node_of(module_url, root)
    FeedFolder(root / "publisher").publish(_ITEMS)
    node.run()
    (root / "ingestion.yaml").write_text("ingestion: []")
    config = node.settings.model_copy(update={"ingestion_config_path": root / "ingestion.yaml"})
    with api(node.database, config) as client:
        yield client
    node.database.engine.dispose()


@pytest.fixture(scope="module")
def there(served: Api) -> dict[str, list[dict[str, Any]]]:
    """By reading routes, what there is to ask them for."""
    (run,) = served.get("/runs").json()["runs"]
    urns = [each["@id"] for each in served.get("/products", params={"limit": 100}).json()["products"]]
    link = served.post(f"/organizations/{ORGANIZATION}/issues/links", headers=served.key()).json()["url"]
    token, forms = link.rpartition("/")[2], ("csv", "ndjson")
    of_organization = [{"path_parameters": {"urn": ORGANIZATION}}]
    return {
        "/products": [{"query": {"q": "lamp", "explain": "true"}}, {"query": {"limit": 100}}],
        "/products/{urn}": [{"path_parameters": {"urn": urn}, "query": {"received": "true"}} for urn in urns],
        "/compare": [{"query": {"urn": urns[start : start + 5]}} for start in range(0, len(urns) - 1, 5)],
        "/organizations/{urn}": of_organization,
        "/organizations/{urn}/issues": of_organization,
        "/runs/{run}": [{"path_parameters": {"run": run["id"]}}],
        "/diagnostics/{token}": [{"path_parameters": {"token": token}}],
        "/diagnostics/{token}/issues.{form}": [{"path_parameters": {"token": token, "form": form}} for form in forms],
        "/issues.{form}": [{"path_parameters": {"form": form}} for form in forms],
    }


def test_the_document_tells_of_every_route(served: Api) -> None:
    document = served.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == _LISTED
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["4XX"]["content"], path


@pytest.mark.parametrize("path", sorted(_LISTED - {"/metrics"}))
def test_answers_are_as_the_document_says(served: Api, path: str) -> None:
    _try(served, path, GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", sorted(_ASKED_FOR_MORE))
def test_answers_to_what_is_wrong_are_too(served: Api, path: str) -> None:
    _try(served, path, GenerationMode.NEGATIVE)


@pytest.mark.parametrize("path", sorted(_LISTED - _ONLY_POSTED))
def test_what_there_is_is_answered_as_the_document_says(
    served: Api, there: dict[str, list[dict[str, Any]]], path: str
) -> None:
    operation = schemathesis.openapi.from_dict(served.openapi)[path]["get"]
    key = served.key()
    for asked in there.get(path, [{}]):
        for accepted in ({"Accept": "application/ld+json, */*"}, {"Accept": "application/json, */*;q=0.1"}, PAGE):
            case = operation.Case(**asked, headers=key | accepted)
            response = case.call(base_url=str(served.base_url), timeout=20)
            assert response.status_code == 200, (asked, response.text)
            case.validate_response(response, checks=_CHECKS)


def _try(served: Api, path: str, mode: GenerationMode) -> None:
    with requests.Session() as session:
        for operation in schemathesis.openapi.from_dict(served.openapi)[path].values():

            @settings(parent=_QUICK)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                response = case.call(base_url=str(served.base_url), session=session, timeout=20)
                case.validate_response(response, checks=_CHECKS)

            ask()
