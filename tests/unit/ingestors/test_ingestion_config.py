"""`ingestion.yaml`: what is wrong is named by file, entry and field."""

from pathlib import Path

import pytest

from app.core.config import Settings
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


REMOTE = "name: acme, source_type: remote, feed_path: 'https://acme.example/feed.json'"


def test_variables_are_filled_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "s3cret: {x}")
    monkeypatch.setenv("EMPTY", "")
    headers = "{Authorization: 'Bearer ${ACME_TOKEN}', X-Price: '$$5 and $5${EMPTY}', X-Odd: '$${ACME_TOKEN}'}"
    (entry,) = load_config(_write(tmp_path, f"ingestion: [{{{REMOTE}, headers: {headers}}}]")).ingestion
    sent = {name: value.get_secret_value() for name, value in entry.headers.items()}
    assert sent == {"Authorization": "Bearer s3cret: {x}", "X-Price": "$5 and $5", "X-Odd": "${ACME_TOKEN}"}


@pytest.mark.parametrize(
    ("value", "told"),
    [("${NO_SUCH}", "the environment variable NO_SUCH is not set"), ("${", "not followed"), ("${}", "not followed")],
)
def test_a_missing_variable_is_named_with_its_place(tmp_path: Path, value: str, told: str) -> None:
    path = _write(tmp_path, f"ingestion: [{{{REMOTE}, headers: {{Authorization: 'Bearer {value}'}}}}]")
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert f"{path}: entry 'acme', field headers.Authorization: " in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("headers: {'X Key': a}", "'X Key' is no header"),
        ("headers: {Host: evil.example}", "'Host' is no header that can be set"),
        ('headers: {X-Key: "s3cret\\r\\nX: y"}', "the value of X-Key holds characters"),
        ("password: s3cret", "a password needs a username"),
        ('username: me, password: "s3cret\\nx"', "such as the end of a line"),
        ('username: "s3cret\\rx", password: a', "such as the end of a line"),
        ("username: me, headers: {authorization: s3cret}", "exclude each other"),
        ("allowed_origins: ['cdn.example']", "write it as https://host"),
        ("allowed_origins: ['ftp://cdn.example']", "the scheme 'ftp'"),
        ("registry: 'acme.example'", "registry: acme.example has no scheme"),
        ("registry: 'https://me:s3cret@acme.example/'", "registry: https://acme.example/ holds a user or password"),
        ("registry: 'https://10.1/'", "odd spelling"),
    ],
)
def test_what_cannot_be_asked_for_is_named_without_its_secret(tmp_path: Path, fields: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(_write(tmp_path, f"ingestion: [{{{REMOTE}, {fields}}}]"))
    assert told in str(caught.value)
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"


def test_options_of_the_web_are_not_for_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="headers is not for a local source"):
        load_config(_write(tmp_path, "ingestion: [{name: a, source_type: local, feed_path: f, headers: {X-Key: a}}]"))


FTP = "source_type: ftp, feed_path: 'ftp://feeds.example/out/feed.json'"
S3 = "source_type: s3, feed_path: 's3://bucket/brand/feed.json'"


@pytest.mark.parametrize(
    "fields",
    [
        f"{FTP}, username: node, password: s3cret, allowed_origins: ['ftps://cdn.example']",
        "source_type: ftp, feed_path: 'ftps://feeds.example//srv/feed.json'",
        f"{S3}, username: AKID, password: s3cret, allowed_origins: ['s3://mirror']",
        f"{S3}, endpoint_url: 'https://store.example:9000', region: eu-west-1",
    ],
)
def test_entries_of_other_servers_are_understood(tmp_path: Path, fields: str) -> None:
    (entry,) = load_config(_write(tmp_path, f"ingestion: [{{name: a, {fields}}}]")).ingestion
    assert entry.source(Settings(_env_file=None))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (f"{FTP}, headers: {{X-Key: s3cret}}", "headers is not for a ftp source"),
        (f"{FTP}, endpoint_url: 'https://store.example'", "endpoint_url is not for a ftp source"),
        (f"{FTP}, allowed_origins: ['https://cdn.example']", "the scheme 'https'"),
        ("source_type: ftp, feed_path: feeds.example", "feed_path: feeds.example has no scheme"),
        ("source_type: ftp, feed_path: 'ftp://me:s3cret@feeds.example/a'", "holds a user or password"),
        ("source_type: ftp, feed_path: 'https://feeds.example/a'", "the scheme 'https'"),
        (f"{REMOTE.partition(', ')[2]}, region: eu", "region is not for a remote source"),
        (f"{S3}, username: AKID", "need each other"),
        (f"{S3}, endpoint_url: 'https://me:s3cret@store.example'", "holds a user or password"),
        (f"{S3}, endpoint_url: 'store.example'", "no scheme"),
        (f"{S3}, allowed_origins: ['s3://Mirror!']", "no bucket"),
        ("source_type: s3, feed_path: 's3://bucket'", "a key that cannot be asked for"),
        ("source_type: s3, feed_path: 'bucket/feed.json'", "no object of a bucket"),
    ],
)
def test_what_does_not_fit_a_source_is_named(tmp_path: Path, fields: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(_write(tmp_path, f"ingestion: [{{name: a, {fields}}}]"))
    assert told in str(caught.value)
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"


def test_secrets_are_neither_shown_nor_hashed(tmp_path: Path) -> None:
    other = REMOTE.replace("acme,", "other,")
    entries = f"ingestion: [{{{other}}}, {{{REMOTE}, username: me, password: s3cret}}]"
    plain, secret = load_config(_write(tmp_path, entries)).ingestion
    assert "s3cret" not in repr(secret) + repr(secret.source_config())
    assert plain.options_hash() == secret.options_hash()


def test_a_bare_domain_is_a_feed(tmp_path: Path) -> None:
    (entry,) = load_config(
        _write(tmp_path, "ingestion: [{name: a, source_type: remote, feed_path: acme.example}]")
    ).ingestion
    assert entry.source().resolve("acme.example", "a.json") == "https://acme.example/.well-known/cmp/a.json"
