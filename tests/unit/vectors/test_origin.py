"""By which settings an embedder is made again."""

from pathlib import Path

from app.core.config import Settings
from app.vectors.embedders import attempts, made_with


def test_what_an_embedder_was_made_with_is_tried_after_the_settings_of_now() -> None:
    then = Settings(_env_file=None, embedding_model_path=Path("/models/old"))
    now = Settings(_env_file=None, embedding_model_path=Path("/models/new"))

    tried = [each.embedding_model_path for each in attempts(now, made_with(then))]

    assert tried == [Path("/models/new"), Path("/models/old"), None]


def test_settings_of_a_version_that_knew_others_are_left_out() -> None:
    now = Settings(_env_file=None)
    assert list(attempts(now, {"embedding_provider": "forgotten", "embedding_magic": 3}))[1] == now
