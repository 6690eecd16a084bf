"""From the sample registries and feeds to an answered question."""

import json
from typing import Any

from tests.acceptance.conftest import CommandLine, Sampled

ACME = "urn:cmp:org:df48cae8-b776-5c20-8dd4-c0dfbfc31009"
OTHER = "urn:cmp:org:452fc58d-3c44-58f0-b8f8-c87aaaf307a1"
QUESTION = "something to keep coffee hot on a hike"
_VERDICTS = {"read", "inserted", "updated", "unchanged", "deleted", "rejected"}
_RUN = {
    "id", "ingestor", "organization", "status", "steps", "registry", "feed", "vector", "issues", "timings", "error",
}  # fmt: skip


def _assert_is_run(run: dict[str, Any]) -> None:
    assert set(run["feed"]) == {"shards", "product_groups", "products", "offers"}
    assert set(run["feed"]["shards"]) == {"read", "unchanged", "failed"}
    assert all(set(run["feed"][kind]) == _VERDICTS for kind in ("product_groups", "products", "offers"))
    assert set(run["vector"]) == {"pending", "indexed", "deleted", "failed", "refused"}
    assert set(run["issues"]) == {"error", "warning"}
    assert set(run["timings"]) == {"registry", "feed", "staging", "merge", "vector"}


def test_the_first_ingestion_reads_both_brands(sampled: Sampled) -> None:
    assert sampled.first.returncode == 0, sampled.first.stderr
    report = json.loads(sampled.first.stdout)
    assert set(report) == {"status", "runs"}
    assert report["status"] == "success"
    assert [(run["ingestor"], run["organization"]) for run in report["runs"]] == [
        ("acme-corp", ACME),
        ("another-brand", OTHER),
    ]
    for run in report["runs"]:
        assert set(run) == _RUN
        _assert_is_run(run)
        products = run["feed"]["products"]
        assert products["inserted"] == products["read"] == run["vector"]["indexed"] > 100
        assert run["issues"]["error"] == 0
        assert run["error"] is None


def test_logs_go_to_stderr(sampled: Sampled) -> None:
    assert [json.loads(line)["event"] for line in sampled.first.stderr.splitlines()].count("run ended") == 2


def test_the_same_again_changes_nothing(node: CommandLine) -> None:
    for run in node.json("ingest")["runs"]:
        shards, products = run["feed"]["shards"], run["feed"]["products"]
        assert (shards["read"], shards["failed"]) == (0, 0)
        assert products["unchanged"] == products["read"]
        assert (products["inserted"], products["updated"], run["vector"]["indexed"]) == (0, 0, 0)


def test_what_was_done_is_a_table(node: CommandLine) -> None:
    lines = node.done("ingest").splitlines()
    assert lines[0].split() == ["organization", "status", "products", "indexed", "issues", "seconds"]
    assert any("Acme Solutions" in line and "unchanged" in line for line in lines)
    assert any("2 in all" in line for line in lines)


def test_names_and_steps_are_chosen(node: CommandLine) -> None:
    report = node.json("ingest", "another-brand", "--only", "registry", "--full", "--dry-run")
    [run] = report["runs"]
    assert run["ingestor"] == "another-brand"
    assert set(run["timings"]) == {"registry"}


def test_a_question_in_plain_words_is_answered(node: CommandLine) -> None:
    document = node.json("search", QUESTION, "--limit", "5")
    assert set(document) == {"query", "results"}
    assert document["query"] == QUESTION
    assert len(document["results"]) == 5
    best = document["results"][0]
    assert set(best) == {
        "urn", "name", "brand", "category", "price", "currency", "availability", "url", "score", "organization",
        "variants",
    }  # fmt: skip
    assert best["category"].endswith("Drinkware")
    assert isinstance(best["price"], int | float)


def test_the_answer_is_a_table(node: CommandLine) -> None:
    printed = node.done("search", QUESTION, "--limit", "3")
    lines = printed.splitlines()
    assert lines[0].split() == ["#", "name", "brand", "price", "availability", "organization", "score"]
    assert "Acme Solutions" in printed
    assert "discovery-node product urn:cmp:" in lines[-1]


def test_answers_are_explained(node: CommandLine) -> None:
    asked = ("search", "stove krck401", "--limit", "2", "--in-stock", "--explain")
    first, second = node.json(*asked)["results"]
    assert node.json(*asked)["filters"] == {"in_stock": True}
    assert first["explanation"]["identifier"] == "KR-CK-401"
    assert second["explanation"]["identifier"] is None
    assert second["explanation"]["partial"]["rank"] >= 1
    printed = node.done(*asked)
    assert f"{first['explanation']['dense']['rank']}. ({first['explanation']['dense']['score']:.3f})" in printed
    assert "Filters: in stock" in printed
    assert "Read as: headlamp" in node.done("search", "head lamp", "--explain")


def test_filters_hold(node: CommandLine) -> None:
    found = node.json(
        "search", "a gift", "--min-price", "10", "--max-price", "40", "--currency", "usd", "--in-stock",
        "--organization", ACME.replace("urn:cmp:org:", "urn:cmp:orgid:"), "--category", "outdoor", "--limit", "50",
    )["results"]  # fmt: skip
    assert found
    for hit in found:
        assert 10 <= hit["price"] <= 40
        assert (hit["currency"], hit["availability"], hit["organization"]) == ("USD", "InStock", ACME)
        assert hit["category"].startswith("Outdoor")
    brand = found[0]["brand"]
    assert {hit["brand"] for hit in node.json("search", "a gift", "--brand", brand)["results"]} == {brand}


def test_no_answer_says_so(node: CommandLine) -> None:
    assert "Nothing passes these filters" in node.done("search", QUESTION, "--brand", "Nobody's")


def test_a_product_is_shown_whole(node: CommandLine) -> None:
    [hit] = node.json("search", QUESTION, "--limit", "1")["results"]
    product = node.json("product", hit["urn"])
    assert (product["@type"], product["@id"], product["name"]) == ("Product", hit["urn"], hit["name"])
    assert product["offers"][0]["price"] == hit["price"]
    assert json.loads(node.done("product", hit["urn"])) == product


def test_an_unknown_product_is_an_error(node: CommandLine) -> None:
    assert "error: There is no product urn:cmp:sku:nothing" in node.refused("product", "urn:cmp:sku:nothing", code=1)


def test_runs_are_listed_newest_first(node: CommandLine) -> None:
    listed = node.json("runs", "--limit", "500")["runs"]
    assert all(_RUN | {"start", "name", "started_at", "finished_at"} == set(run) for run in listed)
    assert [run["started_at"] for run in listed] == sorted((run["started_at"] for run in listed), reverse=True)
    first = next(run for run in reversed(listed) if run["organization"] == ACME)
    _assert_is_run(first)
    assert "Acme Solutions" in node.done("runs")


def test_issues_are_told_with_their_remedy(node: CommandLine) -> None:
    listed = node.json("issues", "--organization", ACME)["issues"]
    assert {issue["organization"] for issue in listed} == {ACME}
    assert {"severity", "code", "shard", "position", "path", "message", "value", "hint"} <= set(listed[0])
    assert all(issue["hint"] for issue in listed)
    printed = node.done("issues", "--code", "shard-url-relative", "--severity", "warning")
    assert "Acme Solutions" in printed
    assert "→ List absolute URLs." in printed
    assert "url-not-absolute" not in printed


def test_the_index_is_told_of_and_verified(node: CommandLine) -> None:
    (live,) = json.loads(node.done("vectors", "status", "--json"))["generations"]
    assert (live["status"], live["pending"], live["vanished"]) == ("live", 0, 0)
    assert live["products"] > 0
    assert "all-MiniLM-L6-v2" in node.done("vectors", "status")
    assert f"Generation {live['id']} is live." in node.done("vectors", "rebuild")
    assert node.done("vectors", "verify") == "The index is as the catalogue.\n"


def test_ingestors_are_listed(node: CommandLine) -> None:
    listed = node.json("ingestors")["ingestors"]
    assert [entry["name"] for entry in listed] == ["acme-corp", "another-brand"]
    assert "0 */4 * * *" in node.done("ingestors")


def test_the_doctor_finds_nothing(node: CommandLine) -> None:
    printed = node.done("doctor")
    assert printed.splitlines()[-1] == "All is well."
    for subject in (
        "settings",
        "ingestor acme-corp",
        "database",
        "schema",
        "pgvector",
        "search index",
        "model",
        "disk",
    ):
        assert subject in printed


def test_json_is_utf8_in_any_locale(node: CommandLine) -> None:
    document = node.json("search", "Kaffee für unterwegs", "--limit", "1", PYTHONIOENCODING="latin-1")
    assert document["query"] == "Kaffee für unterwegs"
