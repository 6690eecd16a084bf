"""What is wrong before anything is done: usage and configuration; and what needs no database at all."""

import json
from pathlib import Path

import pytest

from app.core.config import Settings
from tests.acceptance.conftest import ROOT, CommandLine
from tests.support.feeds import FeedFolder, offer, product

SAMPLE = ROOT / "samples" / "acme-solutions"


def test_help_and_version_need_nothing(command: CommandLine) -> None:
    assert "Commands:" in command.done("--help", FEED_CHECK_INTERVAL="wrong")
    assert command.done("--version") == "discovery-node 0.1.0\n"
    assert list(command.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["frobnicate"], "frobnicate"),
        (["search"], "QUERY"),
        (["ingest", "--only", "everything"], "--only"),
        (["search", "tea", "--limit", "0"], "--limit"),
        (["search", "tea", "--max-price", "cheap"], "--max-price"),
        (["search", "tea", "--min-price", "NaN"], "--min-price"),
        (["search", "tea", "--min-price", "9", "--max-price", "8"], "--min-price"),
        (["search", "tea", "--currency", "Euro"], "--currency"),
        (["search", "tea", "--organization", "acme"], "--organization"),
        (["issues", "--severity", "fatal"], "--severity"),
        (["issues", "--code", "duplicate-url"], "duplicate-urn"),
        (["runs", "--limit", "many"], "--limit"),
        (["validate", "nowhere.json"], "nowhere.json"),
        (["validate", "."], "directory"),
        (["validate", "http://127.0.0.1/feed.json"], "the node does not connect there"),
        (["validate", "ftps://127.0.0.1/feed.json"], "the node does not connect there"),
        (["validate", "s3://bucket"], "s3://bucket/key"),
    ],
)
def test_wrong_usage_is_named(command: CommandLine, arguments: list[str], told: str) -> None:
    assert told in command.refused(*arguments)
    assert list(command.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (None, ["ingestion.yaml does not exist", "--config"]),
        ("ingestion: [{name: a, source_type: local, registry: r, colour: red}]", ["entry 'a'", "field colour"]),
        (
            "ingestion: [{name: a, source_type: local, registry: r, schedule: '0 25 * * *'}]",
            ["entry 'a'", "field schedule", "hour"],
        ),
        (
            "ingestion: [{name: a, source_type: local, registry: r}, {name: a, source_type: local, registry: s}]",
            ["more than one entry", "'a'"],
        ),
    ],
)
def test_a_bad_configuration_names_file_entry_and_field(
    command: CommandLine, entries: str | None, told: list[str]
) -> None:
    if entries is not None:
        (command.folder / "ingestion.yaml").write_text(entries)
    error = command.refused("ingest", "--json")
    assert error.startswith("error: ingestion.yaml")
    assert all(each in error for each in told)


def test_another_configuration_can_be_named(command: CommandLine) -> None:
    assert "other.yaml does not exist" in command.refused("ingest", "--config", "other.yaml")


def test_an_unknown_ingestor_is_named_with_those_there_are(command: CommandLine) -> None:
    told = command.refused("ingest", "acme", INGESTION_CONFIG_PATH=str(ROOT / "ingestion.yaml"))
    assert "'acme'" in told
    assert "acme-corp, another-brand" in told
    assert list(command.folder.iterdir()) == []


def test_a_missing_registry_fails_and_is_named(command: CommandLine) -> None:
    (command.folder / "ingestion.yaml").write_text("ingestion: [{name: a, source_type: local, registry: gone.json}]")
    report = command.json("ingest", code=1)
    assert report["status"] == "failed"
    assert all(each in report["runs"][0]["error"] for each in ("'a'", "registry", "gone.json"))


@pytest.mark.parametrize(("variable", "value"), [("FEED_CHECK_INTERVAL", "often"), ("DATABASE_URL", "nonsense")])
def test_a_wrong_setting_is_named(command: CommandLine, variable: str, value: str) -> None:
    assert variable in command.refused("runs", **{variable: value})


def test_settings_are_read_from_a_file(command: CommandLine) -> None:
    (command.folder / ".env").write_text("INGESTION_CONFIG_PATH=brands.yaml\n")
    assert "brands.yaml does not exist" in command.refused("ingestors")


@pytest.mark.parametrize("path", ["feed/feed.json", "feed/feed-001.json", "brand-registory.json"])
def test_the_samples_are_valid_without_a_database(command: CommandLine, path: str) -> None:
    document = command.json("validate", SAMPLE / path, DATABASE_URL="postgresql://localhost:1/none", LOG_LEVEL="loud")
    assert set(document) == {"valid", "counts", "issues"}
    assert document["valid"] is True
    assert {
        "shards", "organizations", "products", "product_groups", "offers", "rejected",
    } <= set(document["counts"])  # fmt: skip
    for issue in document["issues"]:
        assert set(issue) == {"severity", "code", "shard", "position", "path", "message", "value", "hint"}
    assert list(command.folder.iterdir()) == []


def test_what_is_wrong_with_a_feed_is_told(command: CommandLine, tmp_path: Path) -> None:
    folder = FeedFolder(tmp_path / "publisher")
    folder.publish([product(1), product(2, offers=offer(price="abc"))], [product(1), product(3, name="[bold]\x1b[31m")])
    result = command("validate", folder.index)
    assert result.returncode == 1
    assert "error price-unusable" in result.stdout
    assert "a.json, item 2, offers.price" in result.stdout
    assert "→ Write `price` as a plain number" in result.stdout
    assert "\x1b" not in result.stdout
    assert "not valid: 2 shards, 4 products, 3 offers, 1 offer rejected, 1 error, 3 warnings" in result.stdout
    document = command.json("validate", folder.index, code=1)
    assert [issue["code"] for issue in document["issues"]] == [
        "price-unusable", "shard-url-relative", "text-cleaned", "duplicate-urn",
    ]  # fmt: skip


def test_an_unreadable_feed_is_a_finding(command: CommandLine) -> None:
    (command.folder / "feed.json").write_bytes(b'{"shards": [')
    [issue] = command.json("validate", "feed.json", code=1)["issues"]
    assert (issue["code"], issue["severity"]) == ("index-unreadable", "error")
    assert "at byte 12" in issue["message"]


def test_the_example_of_settings_says_what_is_true_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, "vector_provider"):
        monkeypatch.delenv(name.upper(), raising=False)
    example = ROOT / ".env.example"
    assert Settings(_env_file=example) == Settings(_env_file=None)
    lines = [line for line in example.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    named = {line.partition("=")[0] for line in lines}
    assert named == {
        ("vector_provider" if name.startswith("chosen") else name).upper() for name in Settings.model_fields
    }


def test_the_example_of_settings_works_when_copied(command: CommandLine) -> None:
    (command.folder / ".env").write_bytes((ROOT / ".env.example").read_bytes())
    (command.folder / "ingestion.yaml").write_text(json.dumps({"ingestion": []}))
    assert command.json("ingestors") == {"ingestors": []}
