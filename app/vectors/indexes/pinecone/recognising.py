"""What kind of index is behind a name, by how Pinecone describes it."""

from dataclasses import dataclass
from typing import Literal

from pinecone import IndexModel
from pinecone.models.indexes.deployment import PodDeployment
from pinecone.models.indexes.schema import DenseVectorField, SemanticTextField, SparseVectorField

from app.vectors.indexes.pinecone.errors import UnsuitableIndexError
from app.vectors.indexes.pinecone.metadata import RESERVED

Kind = Literal["dense", "sparse"]
Takes = Literal["vectors", "texts"]

_METRICS = ("cosine", "dotproduct")  # the same for vectors of length 1
_OWN_DENSE, _OWN_SPARSE = "_values", "_sparse_values"  # the fields of an index that is written by vectors
_SETUP = "Name another index, or delete this one and run `discovery-node vectors setup`."


@dataclass(frozen=True)
class Shape:
    """How an index is written and asked: by vectors, or by texts that it has in `text_field` and embeds."""

    kind: Kind
    takes: Takes
    text_field: str = ""


def recognise(described: IndexModel, vector_type: str | None, wanted: Kind, dimensions: int) -> Shape:
    """The shape of an index that is wanted as a dense or as the sparse one. `vector_type` is what its statistics say.
    Raises `UnsuitableIndexError`, which says what to do."""
    name, fields = described.name, described.schema.fields
    if isinstance(described.deployment, PodDeployment):
        raise UnsuitableIndexError(f"The index {name} runs on pods, which cannot list what they hold", remedy=_SETUP)
    embedded = [field for field, config in fields.items() if isinstance(config, SemanticTextField)]
    if len(embedded) == 1 and len(fields) == 1:
        return _integrated(name, embedded[0], vector_type, wanted)
    if not fields.keys() <= {_OWN_DENSE, _OWN_SPARSE}:
        raise UnsuitableIndexError(
            f"The index {name} holds documents with a schema ({', '.join(sorted(fields))}), not vectors", remedy=_SETUP
        )
    dense = fields.get(_OWN_DENSE)
    if wanted == "sparse":
        raise UnsuitableIndexError(_no_sparse(name, fields.get(_OWN_SPARSE)), remedy=_SETUP)
    if not isinstance(dense, DenseVectorField):
        raise UnsuitableIndexError(f"The index {name} takes no dense vectors", remedy=_SETUP)
    return _own(name, dense, dimensions)


def _integrated(name: str, field: str, vector_type: str | None, wanted: Kind) -> Shape:
    if vector_type != wanted:
        raise UnsuitableIndexError(
            f"The index {name} embeds texts as {vector_type or 'unknown'} vectors, {wanted} ones are needed",
            remedy="See whether PINECONE_DENSE_INDEX and PINECONE_SPARSE_INDEX are mixed up. " + _SETUP,
        )
    if field in RESERVED:
        raise UnsuitableIndexError(
            f"The index {name} reads texts from the field {field!r}, which the node needs for itself",
            remedy="Map the text to a field called `text`. " + _SETUP,
        )
    return Shape(wanted, "texts", field)


def _own(name: str, dense: DenseVectorField, dimensions: int) -> Shape:
    if dense.dimension != dimensions:
        raise UnsuitableIndexError(
            f"The index {name} has {dense.dimension} dimensions, vectors of the configured model have {dimensions}",
            remedy="Configure the model that the index was made for. " + _SETUP,
        )
    if dense.metric not in _METRICS:
        raise UnsuitableIndexError(
            f"The index {name} compares by {dense.metric}, not by {' or '.join(_METRICS)}", remedy=_SETUP
        )
    return Shape("dense", "vectors")


def _no_sparse(name: str, field: object) -> str:
    if isinstance(field, SparseVectorField):
        return f"The index {name} takes sparse vectors, and this node has none: it needs one that embeds texts"
    return f"The index {name} holds dense vectors, sparse ones are needed"
