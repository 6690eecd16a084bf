"""The OpenAPI document: every answer to requests made from it is one that it tells of."""

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.support.api import Api, api
from tests.support.feeds import FeedFolder, product
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
    "/organizations/{urn}/issues/links/revoke", "/diagnostics/{token}", "/system",
}  # fmt: skip
_ASKED_FOR_MORE = {"/products", "/compare", "/categories", "/brands", "/organizations", "/runs", "/issues"}


@pytest.fixture(scope="module")
def served(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    root = tmp_path_factory.mktemp("document")
    node = node_of(module_url, root)
    FeedFolder(root / "publisher").publish([product(1), product(2, name=...)])
    node.run()
    (root / "ingestion.yaml").write_text("ingestion: []")
    config = node.settings.model_copy(update={"ingestion_config_path": root / "ingestion.yaml"})
    with api(node.database, config) as client:
        yield client
    node.database.engine.dispose()


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


def _try(served: Api, path: str, mode: GenerationMode) -> None:
    with requests.Session() as session:
        for operation in schemathesis.openapi.from_dict(served.openapi)[path].values():

            @settings(parent=_QUICK)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                response = case.call(base_url=str(served.base_url), session=session, timeout=20)
                case.validate_response(response, checks=_CHECKS)

            ask()
