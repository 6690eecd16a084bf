"""The data plane of an index: records are written, found, listed and deleted."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.support.pinecone import filtering, limits
from tests.support.pinecone.answers import Answer, Refusal, Request, require
from tests.support.pinecone.index import DEFAULT, Index, Namespaces, StoredRecord

_READ = {"usage": {"readUnits": 1}}


class DataPlane:
    """Answers for one index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._routes: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("POST", "vectors/upsert"): self._upsert,
            ("POST", "vectors/update"): self._update,
            ("POST", "vectors/delete"): self._delete,
            ("GET", "vectors/fetch"): self._fetch,
            ("GET", "vectors/list"): self._list,
            ("POST", "query"): self._query,
            ("POST", "describe_index_stats"): self._stats,
            ("GET", "namespaces"): self._list_namespaces,
        }

    def __call__(self, request: Request) -> Answer:
        path = request.path.strip("/")
        if route := self._routes.get((request.method, path)):
            return route(request)
        match request.method, path.split("/"):
            case "POST", ["records", "namespaces", namespace, "upsert"]:
                return self._upsert_records(_name(namespace), request)
            case "POST", ["records", "namespaces", namespace, "search"]:
                return self._search_records(_name(namespace), request.json())
            case "GET", ["namespaces", namespace]:
                return Answer(content=self._described(_name(namespace), self._held(_name(namespace))))
            case "DELETE", ["namespaces", namespace]:
                self._held(_name(namespace))
                self._index.change(lambda held: held.pop(_name(namespace), None) and None)
                return Answer(202)
        raise Refusal(404, f"there is no {request.method} {request.path}", "NOT_FOUND")

    # --- writing -------------------------------------------------------------------------------------------------

    def _upsert(self, request: Request) -> Answer:
        limits.check_size(request.body)
        body = request.json()
        vectors = body.get("vectors")
        require(isinstance(vectors, list) and vectors, "vectors are needed")
        require(len(vectors) <= limits.MAX_VECTORS, f"{len(vectors)} vectors are more than {limits.MAX_VECTORS}")
        records = {limits.check_id(each.get("id")): self._vector(each) for each in vectors}
        self._write(_name(body.get("namespace")), records, len(vectors))
        return Answer(content={"upsertedCount": len(vectors)})

    def _upsert_records(self, namespace: str, request: Request) -> Answer:
        limits.check_size(request.body)
        require(request.headers.get("content-type") == "application/x-ndjson", "records are sent as NDJSON")
        require(self._index.model is not None, "the index has no integrated embedding")
        lines = [line for line in request.body.split(b"\n") if line.strip()]
        require(lines, "records are needed")
        require(len(lines) <= limits.MAX_RECORDS, f"{len(lines)} records are more than {limits.MAX_RECORDS}")
        records = dict(self._text(json.loads(line)) for line in lines)
        self._write(namespace, records, len(lines))
        return Answer(201)

    def _update(self, request: Request) -> Answer:
        body = request.json()
        wanted, added = body.get("id"), limits.check_metadata(body.get("setMetadata", {}))
        require(wanted is not None, "an id is needed")
        values = body.get("values")
        vector = None if values is None else limits.check_values(values, self._index.dimension or 0)

        def change(held: Namespaces) -> None:
            record = held.get(_name(body.get("namespace")), {}).get(wanted)
            if record is not None:
                record.metadata |= added
                if vector is not None:
                    record.values = np.array(vector, np.float32)

        limits.check_id(wanted)
        self._check_whole(_name(body.get("namespace")), wanted, added)
        self._index.change(change)
        return Answer()

    def _delete(self, request: Request) -> Answer:
        body = request.json()
        namespace, ids, condition = _name(body.get("namespace")), body.get("ids"), body.get("filter")
        require(
            (ids is not None) + (condition is not None) + bool(body.get("deleteAll")) == 1,
            "ids, a filter, or deleteAll",
        )
        require(len(ids or []) <= limits.MAX_IDS, f"{len(ids or [])} ids are more than {limits.MAX_IDS}")
        if condition is not None:
            filtering.check(condition)
            require(condition, "Delete with empty metadata filter is not allowed")
        self._held(namespace)

        def change(held: Namespaces) -> None:
            records = held.get(namespace, {})
            doomed = ids or [
                name for name, each in records.items() if not condition or filtering.passes(each.metadata, condition)
            ]
            for each in doomed:
                records.pop(each, None)

        self._index.change(change)
        return Answer()

    # --- reading -------------------------------------------------------------------------------------------------

    def _fetch(self, request: Request) -> Answer:
        ids, namespace = request.query.get("ids", []), _name(request.first("namespace"))
        require(0 < len(ids) <= limits.MAX_IDS, f"1 to {limits.MAX_IDS} ids")
        held = self._index.seen().get(namespace, {})
        found = {each: _vector_of(each, held[each]) for each in ids if each in held}
        return Answer(content={"vectors": found, "namespace": namespace, **_READ})

    def _list(self, request: Request) -> Answer:
        limit = int(request.first("limit", str(limits.MAX_PAGE)))
        require(1 <= limit <= limits.MAX_PAGE, f"a page has 1 to {limits.MAX_PAGE} ids")
        namespace, prefix, token = (
            _name(request.first("namespace")),
            request.first("prefix"),
            request.first("paginationToken"),
        )
        after = base64.urlsafe_b64decode(token).decode() if token else ""
        with self._index.lock:
            held = sorted(self._index.seen().get(namespace, {}))
        ids = [each for each in held if each.startswith(prefix) and each > after]
        content: dict[str, Any] = {"vectors": [{"id": each} for each in ids[:limit]], "namespace": namespace, **_READ}
        if len(ids) > limit:
            content["pagination"] = {"next": base64.urlsafe_b64encode(ids[limit - 1].encode()).decode()}
        return Answer(content=content)

    def _query(self, request: Request) -> Answer:
        body = request.json()
        namespace, condition = _name(body.get("namespace")), _filter(body)
        top_k = limits.check_top_k(body.get("topK"))
        hits = self._index.search(namespace, self._wanted(namespace, body), top_k, condition)
        matches = [
            {"id": each, "score": score}
            | ({"metadata": record.metadata} if body.get("includeMetadata") else {})
            | ({"values": _values(record)} if body.get("includeValues") else {})
            for each, score, record in hits
        ]
        return Answer(content={"matches": matches, "namespace": namespace, **_READ})

    def _search_records(self, namespace: str, body: Mapping[str, Any]) -> Answer:
        query = body.get("query", {})
        condition, top_k = _filter(query), limits.check_top_k(query.get("top_k"))
        text = query.get("inputs", {}).get("text")
        if text is not None:
            require(self._index.model is not None, "the index has no integrated embedding")
            require(isinstance(text, str) and text.strip(), "the text is empty")
            wanted = self._index.embed(text)
            self._index.counted.embedded -= 1
        else:
            wanted = self._wanted(namespace, query.get("vector", {}))
        fields = body.get("fields")
        hits = [
            {"_id": each, "_score": score, "fields": {
                key: value for key, value in record.metadata.items() if fields is None or key in fields
            }}
            for each, score, record in self._index.search(namespace, wanted, top_k, condition)
        ]  # fmt: skip
        return Answer(content={"result": {"hits": hits}, "usage": {"read_units": 1}})

    def _stats(self, request: Request) -> Answer:
        index = self._index
        with index.lock:
            counts = {name: {"vectorCount": len(held)} for name, held in index.seen().items()}
        content = {"namespaces": counts, "totalVectorCount": sum(each["vectorCount"] for each in counts.values()),
                   "indexFullness": 0.0, "metric": index.metric, "vectorType": index.vector_type}  # fmt: skip
        return Answer(content=content | ({"dimension": index.dimension} if index.dimension else {}))

    def _list_namespaces(self, request: Request) -> Answer:
        with self._index.lock:
            listed = [self._described(name, held) for name, held in sorted(self._index.seen().items())]
        return Answer(content={"namespaces": listed, "total_count": len(listed)})

    # --- records -------------------------------------------------------------------------------------------------

    def _vector(self, sent: Mapping[str, Any]) -> StoredRecord:
        index, metadata = self._index, limits.check_metadata(sent.get("metadata", {}))
        values, sparse = sent.get("values"), sent.get("sparseValues")
        if index.vector_type == "sparse":
            require(not values, "a sparse index takes no dense values")
            return StoredRecord(metadata, sparse=limits.check_sparse(sparse))
        require(sparse is None or index.metric == "dotproduct", "sparse values need the metric dotproduct")
        checked = np.array(limits.check_values(values, index.dimension or 0), np.float32)
        return StoredRecord(metadata, checked, limits.check_sparse(sparse) if sparse is not None else {})

    def _text(self, sent: Mapping[str, Any]) -> tuple[str, StoredRecord]:
        fields = dict(sent)
        identifier = limits.check_id(fields.pop("_id", None))
        text = fields.get(self._index.text_field)
        require(isinstance(text, str) and text.strip(), f"the field {self._index.text_field} is no text")
        metadata = limits.check_metadata(fields)
        record = self._index.embed(str(text))
        record.metadata = metadata
        return identifier, record

    def _wanted(self, namespace: str, query: Mapping[str, Any]) -> StoredRecord:
        if (identifier := query.get("id")) is not None:
            held = self._index.seen().get(namespace, {}).get(identifier)
            require(held is not None, f"there is no record {identifier}")
            assert held is not None
            return held
        if self._index.vector_type == "sparse":
            return StoredRecord({}, sparse=limits.check_sparse(query.get("sparseVector")))
        values = query.get("vector", query.get("values"))
        return StoredRecord({}, np.array(limits.check_values(values, self._index.dimension or 0), np.float32))

    def _write(self, namespace: str, records: Mapping[str, StoredRecord], sent: int) -> None:
        require(len(namespace) <= limits.MAX_NAMESPACE, f"a namespace has at most {limits.MAX_NAMESPACE} characters")
        with self._index.lock:
            self._index.counted.records += sent
            self._index.counted.batches.append(sent)
        self._index.change(lambda held: held.setdefault(namespace, {}).update(records))

    def _check_whole(self, namespace: str, identifier: str, added: Mapping[str, Any]) -> None:
        record = self._index.namespaces.get(namespace, {}).get(identifier)
        limits.check_metadata({**(record.metadata if record else {}), **added})

    def _held(self, namespace: str) -> dict[str, StoredRecord]:
        """What a namespace holds, if it is there; what was written to it counts even if it is not seen yet."""
        if namespace not in self._index.namespaces and not self._index.awaits_changes:
            raise Refusal(404, "Namespace not found", "NOT_FOUND")
        return self._index.namespaces.get(namespace, {})

    def _described(self, name: str, held: Mapping[str, StoredRecord]) -> dict[str, Any]:
        return {"name": name, "record_count": str(len(held))}


def _name(namespace: str | None) -> str:
    return namespace or DEFAULT


def _filter(query: Mapping[str, Any]) -> Mapping[str, Any] | None:
    condition: Mapping[str, Any] | None = query.get("filter")
    if condition is not None:
        filtering.check(condition)
    return condition


def _values(record: StoredRecord) -> list[float]:
    return [] if record.values is None else [float(each) for each in record.values]


def _vector_of(identifier: str, record: StoredRecord) -> dict[str, Any]:
    vector: dict[str, Any] = {"id": identifier, "values": _values(record), "metadata": record.metadata}
    if record.sparse:
        vector["sparseValues"] = {"indices": list(record.sparse), "values": list(record.sparse.values())}
    return vector
