"""Reads float32 tensors of a safetensors file in place, through a memory map.

The format: eight bytes, the header's length (little-endian); the header, JSON of name to dtype, shape and
data offsets; then the data. Source: https://github.com/huggingface/safetensors#format
"""

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.vectors.embedders.base import EmbeddingError

_LENGTH_BYTES = 8


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    data_offsets: tuple[int, int]


def read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Every float32 tensor by name; a tensor is a read-only view, so only what is used is ever read."""
    try:
        file = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
        start = _LENGTH_BYTES + int(file[:_LENGTH_BYTES].view("<u8")[0])
        header = msgspec.json.decode(bytes(file[_LENGTH_BYTES:start]), type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(raw, type=_Tensor) for name, raw in header.items()}
        return {
            name: file[start + entry.data_offsets[0] : start + entry.data_offsets[1]].view("<f4").reshape(entry.shape)
            for name, entry in entries.items()
            if entry.dtype == "F32"
        }
    except (ValueError, IndexError, OverflowError, msgspec.MsgspecError) as error:
        raise EmbeddingError(
            f"{path} is not a safetensors file.", remedy="Fetch the model again; the file is damaged."
        ) from error
