import json
import mmap
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cmp import documents, repair
from app.cmp.documents import MalformedDocumentError, open_document
from app.cmp.limits import MAX_NESTING

GOOD = b'{"a": [1, 2, {"b": "c\\n\\u00e9 \xc3\xa9"}]}'


def test_bytes_are_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD)
    with path.open("rb") as file:
        for data in (path.read_bytes(), bytearray(path.read_bytes()), mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)):
            document = open_document(data)
            assert bytes(document.root) == GOOD
            assert document.shift == 3
            assert not document.repairs


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "empty"),
        (b" \n ", 0, "empty"),
        (GOOD[:-1], len(GOOD) - 1, "truncated"),
        (b"\xef\xbb\xbf" + GOOD[:-1], len(GOOD) + 2, "truncated"),
        (GOOD + b" x", len(GOOD) + 1, "trailing"),
        (GOOD + GOOD, len(GOOD), "trailing"),
        (b'{"a": NaN, "b": NaN, "c": x}', 26, "invalid character"),
        (rb'["\x41"]', 3, "escape"),
        (b'{"a": 1,}', 8, "trailing comma"),
        (b"{'a': 1}", 1, "expected"),
        (b"<html></html>", 0, "HTML"),
        (b"  <?xml?>", 0, "XML"),
        (b"\x1f\x8b\x08\x00", 0, "gzip"),
        (GOOD.decode().encode("utf-16"), 0, "UTF-16"),
        (GOOD.decode().encode("utf-16-le"), 0, "UTF-16"),
        (GOOD.decode().encode("utf-32-be"), 0, "UTF-32"),
        (b"[" * 100_000, MAX_NESTING, "nested"),
        (b"[" * 100_000 + b"]" * 100_000, MAX_NESTING, "nested"),
        (b'{"a":' * 100_000, MAX_NESTING * 5, "nested"),
        (b'[NaN, "]]]", ' + b"[" * 100_000, 13 + MAX_NESTING - 1, "nested"),
        (b'["' + b"x" * 1000, 1002, "truncated"),
    ],
)
def test_malformed_documents_name_the_byte(data: bytes, offset: int, reason: str) -> None:
    with pytest.raises(MalformedDocumentError, match=reason) as caught:
        open_document(data)
    assert caught.value.offset == offset
    assert str(offset) in str(caught.value)
    assert caught.value.reason in str(caught.value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": NaN, "b": [-Infinity,Infinity]}', {"a": "NaN", "b": ["-Infinity", "Infinity"]}),
        (b'{"NaN": "a \\" NaN, -Infinity", "b":NaN}', {"NaN": 'a " NaN, -Infinity', "b": "NaN"}),
        (b'{"a": "tab\there\nand\x00\x01"}', {"a": "tab here and  "}),
        (b'{"a": "\\ud83d\\ude00 \\ud83d x \\ude00 \\\\ud83d"}', {"a": "😀 � x � \\ud83d"}),
        (b'["\\ud800"]', ["�"]),
        (b'["NaN", -1, NaN]', ["NaN", -1, "NaN"]),
    ],
)
def test_what_is_almost_json_is_mended(data: bytes, value: object) -> None:
    document = open_document(data)
    assert json.loads(bytes(document.root)) == value
    assert document.repairs


def test_nothing_large_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_LENIENT_REPAIR_BYTES", 10)
    with pytest.raises(MalformedDocumentError):
        open_document(b'["12345678", NaN]')


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
)


@given(json_values)
def test_python_s_own_json_is_read(value: object) -> None:
    """It writes NaN and Infinity bare."""
    assert open_document(json.dumps(value).encode())
    text = json.dumps(value, ensure_ascii=False).encode()
    repaired = json.loads(bytes(open_document(text).root))
    assert repaired == json.loads(text, parse_constant=str)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        offset = open_document(data).shift
    except MalformedDocumentError as error:
        offset = error.offset
    assert 0 <= offset <= len(data)


@given(st.text(alphabet='"\\NaIfinty-u[]{}:,0d8\n', max_size=40))
def test_mending_keeps_valid_json_and_offsets(text: str) -> None:
    data = text.encode()
    mended = repair.repair(data)
    assert mended.original(len(mended.text)) == len(data)
    try:
        value = json.loads(text)
    except ValueError:
        return
    if not re.search(r"NaN|Infinity", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)) and "\\ud8" not in text:
        assert json.loads(mended.text) == value


@pytest.mark.parametrize("data", [b'["' + b"\\n" * 5_000_000, b"N" * 5_000_000, b'"N-I' * 2_000_000, b"-" * 5_000_000])
def test_hostile_documents_take_linear_time(data: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(MalformedDocumentError):
        open_document(data)
    assert time.perf_counter() - start < 20
