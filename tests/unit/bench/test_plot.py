import re
from xml.etree import ElementTree

import pytest

from bench.plot import Line, Panel, draw

SIZES = [1_000, 100_000, 1_000_000]
PANELS = [
    Panel("First load, products/s", [Line("all & everything", {1_000: 400.0, 100_000: 200.0})]),
    Panel("Search, ms", [Line("p50", dict.fromkeys(SIZES, 5.0)), Line("p95", {size: size / 1e5 for size in SIZES})]),
]
NAMES = {"svg": "http://www.w3.org/2000/svg"}


@pytest.fixture
def drawn():
    return ElementTree.fromstring(draw(SIZES, PANELS, "2 cores"))  # noqa: S314 - the project's own


def test_every_value_has_its_place(drawn):
    first, p50, p95 = (line.get("points").split() for line in drawn.findall("svg:polyline", NAMES))
    assert (len(first), len(p50), len(p95)) == (2, 3, 3)
    assert len({point.split(",")[1] for point in p50}) == 1
    heights = [float(point.split(",")[1]) for point in p95]
    assert heights == sorted(heights, reverse=True)  # SVG counts from the top
    places = [float(point.split(",")[0]) for point in p95]
    assert places[1] - places[0] == pytest.approx(2 * (places[2] - places[1]), abs=0.5)


def test_it_is_read_without_the_colours_of_the_page(drawn):
    assert drawn.find("svg:rect", NAMES).get("fill") == "#ffffff"
    told = [text.text for text in drawn.findall("svg:text", NAMES)]
    assert {"1k", "100k", "1M", "all & everything", "p50", "p95", "2 cores"} <= set(told)
    assert len({line.get("stroke-dasharray") for line in drawn.findall("svg:polyline", NAMES)}) == 2


def test_all_of_it_is_inside():
    document = draw(SIZES, PANELS, "2 cores")

    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', document).groups())
    for points in re.findall(r'points="([^"]+)"', document):
        for x, y in (point.split(",") for point in points.split()):
            assert 0 < float(x) < width
            assert 0 < float(y) < height
