"""`ingestion.yaml`: what is wrong is named by file, entry and field."""

from pathlib import Path

import pytest

from app.core.errors import ConfigurationError
from app.ingestors.config import load_config


def _write(folder: Path, text: str) -> Path:
    path = folder / "ingestion.yaml"
    path.write_text(text)
    return path


def test_a_good_file_is_typed_and_knows_its_folder(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "ingestion:\n"
        "  - {name: a, source_type: local, registry: r.json, feed_path: f.json, schedule: '0 */4 * * *'}\n"
        "  - {name: b, source_type: local, feed_path: g.json, allow_outside: true}\n",
    )
    first, second = load_config(path).ingestion
    assert (first.name, first.registry, first.feed_path, first.schedule) == ("a", "r.json", "f.json", "0 */4 * * *")
    assert first.source_config().root == tmp_path
    assert second.source_config().allow_outside
    assert first.options_hash() != second.options_hash()


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ("[{name: a, source_type: local}]", "entry 'a': one of registry and feed_path is needed"),
        ("[{name: a, source_type: gopher, registry: r}]", "entry 'a', field source_type: there is no such source"),
        ("[{name: a, source_type: local, regstry: r, registry: r}]", "entry 'a', field regstry: Extra inputs"),
        ("[{name: a, source_type: local, registry: r, schedule: '0 25 * * *'}]", "field schedule: the hour field '25'"),
        ("[{source_type: local, registry: r}]", "entry 1, field name: Field required"),
        ("[{name: '', source_type: local, registry: r}]", "field name"),
        ("[{name: a, source_type: local, registry: 5}]", "entry 'a', field registry"),
        ("[5]", "entry 1"),
        ("5", "ingestion: Input should be a valid list"),
        ("[{name: a, source_type: local, registry: r}, {name: a, source_type: local, registry: s}]", "the name 'a'"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entries: str, told: str) -> None:
    path = _write(tmp_path, f"ingestion: {entries}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["ingestion: [", "- 1\n", "", "other: []\n", "\x00"])
def test_what_is_no_ingestion_file_is_named(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=str(path)):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml does not exist"):
        load_config(tmp_path / "nowhere.yaml")


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, "ingestion: [{name: a, source_type: local, registry: r}]\n"))
    with pytest.raises(ConfigurationError, match="no ingestor 'b'") as caught:
        config.entry("b")
    assert "a" in caught.value.remedy
