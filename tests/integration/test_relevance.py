"""The short version of `make relevance`: the project's own questions about the samples."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.core.config import Settings
from app.db.session import LiveDatabase
from app.ingestors.config import IngestionConfig
from app.ingestors.manager import IngestorManager
from app.services.generations import configured, open_generation
from bench.judging import DEPTH, FIGURES, PART_NUMBER, RELEVANT, hit_at_1, measure, read_questions
from bench.relevance import LEGS, RANKING, RECORDED, Answered, answer, compare, part_numbers

ROOT = Path(__file__).parents[2]
QUESTIONS = ROOT / "bench" / "questions"
TITLE = "own questions, samples"
KINDS = {"plain", "paraphrase", "misspelled", PART_NUMBER, "filtered"}


@pytest.fixture(scope="module")
def answered(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Answered]]:
    database = LiveDatabase(module_url)
    settings = Settings(_env_file=None, database_url=module_url, data_dir=tmp_path_factory.mktemp("data"))
    listed = yaml.safe_load((ROOT / "ingestion.yaml").read_text())
    config = IngestionConfig.model_validate(listed, context={"root": ROOT})
    assert IngestorManager(settings, database=database, config=config).ingest()["status"] == "success"
    embedder = open_generation(database, configured(settings)).embedder
    yield answer(database, embedder, read_questions(QUESTIONS / "samples.json"))
    database.engine.dispose()


def test_the_ranking_is_as_good_as_it_was(answered):
    found = {name: figure.mean for name, figure in measure([each.by(RANKING) for each in answered]).items()}

    recorded = json.loads(RECORDED.read_text())[TITLE]
    assert set(recorded) == set(FIGURES)
    assert compare(TITLE, found, recorded) == []


def test_the_ranking_is_better_than_each_of_its_legs(answered):
    for figure in ("nDCG@10", "judged-only nDCG@10"):
        ranking, *legs = (measure([each.by(name) for each in answered])[figure].mean for name in (RANKING, *LEGS))
        assert ranking > max(legs) + 0.02, figure


def test_a_part_number_puts_its_product_first(answered):
    assert hit_at_1([each.by(RANKING) for each in part_numbers(answered)]) == 1


def test_a_worse_figure_is_told():
    recorded = {"nDCG@10": 0.9, "recall@100": 0.9}

    assert compare("ours", {"nDCG@10": 0.895, "recall@100": 0.95}, recorded) == []
    assert compare("ours", {"nDCG@10": 0.88, "recall@100": 0.9}, recorded) == ["ours: nDCG@10 is 0.880, and was 0.900"]


def test_questions_are_enough_and_of_every_kind():
    files = [read_questions(QUESTIONS / f"{name}.json") for name in ("samples", "icecat")]
    questions = [each for file in files for each in file]

    assert len(questions) >= 150
    for file in files:
        assert len({(each.query, each.filters) for each in file}) == len(file)
    assert {each.kind for each in questions} == KINDS
    for each in questions:
        assert set(each.answers.values()) <= {0, 1, 2, 3}
        assert max(each.answers.values()) >= RELEVANT, each.query
        assert len(each.answers) <= DEPTH


def test_what_a_figure_means():
    graded = {"a": 3, "b": 1, "c": 0}

    perfect = measure([(["a", "b"], graded), (["a", "x", "b"], graded)])
    assert perfect["judged-only nDCG@10"].mean == 1
    assert perfect["nDCG@10"].mean == pytest.approx((1 + (7 + 0.5) / (7 + 1 / 1.5849625)) / 2)
    assert perfect["recall@100"].mean == 1
    assert perfect["judged@10"].mean == pytest.approx(0.2)
    assert hit_at_1([(["b", "a"], graded), (["a"], graded), ([], graded)]) == pytest.approx(1 / 3)
