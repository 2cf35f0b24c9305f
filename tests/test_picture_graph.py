"""The picture of a graph: where boxes and arrows stand, what lights up, and that words from outside are only words."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composemagic.picture.graph import Arrow, Box, Light, Net, graph, size_of
from composemagic.picture.layers import Laid, Size, laid
from tests.test_diagram import HOSTILE
from tests.test_trace import SVG, parsed, texts

STATUSES = {
    "waiting": "○", "running": "▶", "asking": "?", "done": "✓", "routed": "→", "skipped": "–", "failed": "✗", "stopped": "■",
}  # fmt: skip


# -- where things stand

GRAPHS: dict[str, tuple[int, list[tuple[int, int]], list[int]]] = {
    # boxes, edges, the layer of each box
    "nothing": (0, [], []),
    "one": (1, [], [0]),
    "unconnected": (3, [], [0, 0, 0]),
    "a row": (3, [(0, 1), (1, 2)], [0, 1, 2]),
    "written the other way round": (3, [(2, 1), (1, 0)], [2, 1, 0]),
    "a diamond": (4, [(0, 1), (0, 2), (1, 3), (2, 3)], [0, 1, 1, 2]),
    "behind the last that leads there": (4, [(0, 3), (0, 1), (1, 2), (2, 3)], [0, 1, 2, 3]),
    "a way back": (3, [(0, 1), (1, 2), (2, 1)], [0, 1, 2]),
    "to itself": (2, [(0, 0), (0, 1)], [0, 1]),
    "nothing but a circle": (3, [(0, 1), (1, 2), (2, 0)], [0, 1, 2]),
}


def lay(count: int, edges: list[tuple[int, int]]) -> Laid:
    return laid([Size(50.0 + 5 * node, 26.0) for node in range(count)], dict.fromkeys(edges, 0.0), 30.0)


@pytest.mark.parametrize("case", GRAPHS)
def test_a_box_stands_one_layer_behind_those_that_lead_to_it(case: str) -> None:
    count, edges, layers = GRAPHS[case]
    found = lay(count, edges)
    starts = sorted({place[0] for place in found.places})
    assert [starts.index(place[0]) for place in found.places] == layers
    assert [way.is_back for way in found.ways] == [layers[one] >= layers[other] for one, other in edges]


@st.composite
def graphs(draw: Any) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 12))
    node = st.integers(0, count - 1)
    return count, draw(st.lists(st.tuples(node, node), max_size=20, unique=True))


@given(graphs())
def test_boxes_never_overlap_and_arrows_join_them(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = drawn
    found = lay(count, edges)
    ends = [(x + 50 + 5 * node, y + 26) for node, (x, y) in enumerate(found.places)]
    for one, other in combinations(range(count), 2):
        (x, y), (x2, y2) = found.places[one], ends[one]
        (left, top), (right, bottom) = found.places[other], ends[other]
        assert x2 <= left or right <= x or y2 <= top or bottom <= y
    assert all(min(x, y) >= 0 and end[0] <= found.size.along for (x, y), end in zip(found.places, ends, strict=True))
    for (one, other), way in zip(edges, found.ways, strict=True):
        assert way.points[0] == (ends[one][0], found.places[one][1] + 13)
        assert way.points[-1] == (found.places[other][0], found.places[other][1] + 13)
        assert all(y <= found.size.across for _, y in way.points)
    assert found == lay(count, edges)


def test_an_arrow_over_layers_passes_no_box() -> None:
    found = lay(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    long = found.ways[3].points
    for node in (1, 2):
        x, y = found.places[node]
        inside = [at for place, at in long if x <= place <= x + 60]
        assert inside and not any(y <= at <= y + 26 for at in inside)


def test_a_labelled_arrow_has_room_for_its_words() -> None:
    sizes = [Size(50, 26)] * 3
    starts = [place[0] for place in laid(sizes, {(0, 1): 0.0, (1, 2): 90.0}, 30).places]
    assert starts == [0, 80, 250]


# -- what is drawn

NET = Net(
    (Box("begin"), Box("choose", "if", True), Box("left"), Box("right")),
    (Arrow("begin", "choose"), Arrow("choose", "left", 'eq "bad"', True), Arrow("choose", "right", "", True)),
)


def test_boxes_arrows_and_what_they_are_called() -> None:
    root = parsed(graph(NET, "Review"))
    assert texts(root) == ['eq "bad"', "begin", "choose", "if", "left", "right"]
    assert [box.get("rx") for box in root.iter(f"{SVG}rect")] == ["3", "12", "3", "3"]
    dashed = [path for path in root.iter(f"{SVG}path") if "stroke-dasharray" in (path.get("style") or "")]
    assert len(dashed) == 2
    assert root.findtext(f"{SVG}title") == "Review"
    assert root.findtext(f"{SVG}desc") == 'begin → choose; choose → left (eq "bad"); choose → right'


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_has_a_sign_a_look_and_words(status: str) -> None:
    picture = graph(NET, "Review", {"begin": Light(status, STATUSES[status], "in words")})
    root = parsed(picture)
    assert f"{STATUSES[status]} begin" in texts(root)
    assert f"{STATUSES[status]} begin: in words" in (root.findtext(f"{SVG}desc") or "")
    assert root.findtext(f"{SVG}g/{SVG}title") == "begin: in words"
    others = {graph(NET, "Review", {"begin": Light(other, "x", "x")}) for other in STATUSES if other != status}
    assert graph(NET, "Review", {"begin": Light(status, "x", "x")}) not in others or status in ("done", "routed")


def test_a_way_that_was_taken_is_thicker() -> None:
    plain, taken = graph(NET, "x"), graph(NET, "x", None, frozenset({("begin", "choose")}))
    assert plain.count("stroke-width:2") == 0
    assert taken.count("stroke-width:2") == 1


def test_jobs_inside_a_job() -> None:
    inner = Net((Box("1", "echo"), Box("2", "echo")), (Arrow("1", "2"),))
    root = parsed(graph(Net((Box("each", "for-each", inside=inner), Box("last")), (Arrow("each", "last"),)), "x"))
    outer, _one, two, last = [
        {key: float(box.get(key) or 0) for key in ("x", "y", "width", "height")} for box in root.iter(f"{SVG}rect")
    ]
    assert outer["x"] < two["x"] and two["x"] + two["width"] < outer["x"] + outer["width"] < last["x"]
    assert outer["y"] < two["y"] and two["y"] + two["height"] < outer["y"] + outer["height"]


def chain(count: int, name: str) -> Net:
    arrows = tuple(Arrow(f"{name} {at}", f"{name} {at + 1}") for at in range(count - 1))
    return Net(tuple(Box(f"{name} {at}") for at in range(count)), arrows)


def test_a_long_row_goes_down_and_a_short_one_to_the_right() -> None:
    width, height = size_of(chain(4, "step"))
    assert width > height
    width, height = size_of(chain(20, "a step with a name"))
    assert width < 250 and height > 800


def test_twenty_jobs_are_a_small_picture() -> None:
    net = chain(20, "a step with a name")
    lights = {box.id: Light("running", "▶", "running") for box in net.boxes}
    assert len(graph(net, "Steps", lights)) < 14_000


def test_long_names_are_cut_and_wide_letters_take_more_room() -> None:
    root = parsed(
        graph(
            Net(
                (Box("x" * 100_000), Box("作业" * 40)),
            ),
            "x",
        )
    )
    assert [len(text) for text in texts(root)] == [21, 14]
    assert all(text.endswith("…") for text in texts(root))
    assert all(float(box.get("width") or 0) < 200 for box in root.iter(f"{SVG}rect"))


@pytest.mark.parametrize("text", HOSTILE)
def test_words_from_outside_are_only_words(text: str) -> None:
    net = Net((Box(text, text, True, Net((Box(text),))), Box("b")), (Arrow(text, "b", text, True),))
    for lights in (None, {text: Light("failed", "✗", text)}):
        root = parsed(graph(net, text, lights))
        tags = {one.tag.removeprefix(SVG) for one in root.iter()}
        assert tags == {"svg", "title", "desc", "g", "rect", "text", "path"}


def test_it_follows_the_theme_and_is_the_same_each_time() -> None:
    picture = graph(
        NET, "x", {box.id: Light(*pair, "x") for box, pair in zip(NET.boxes, STATUSES.items(), strict=False)}
    )
    assert picture == graph(NET, "x", {b.id: Light(*p, "x") for b, p in zip(NET.boxes, STATUSES.items(), strict=False)})
    assert "currentColor" in picture and not re.search(r"black|white", picture)
    assert all("," in found for found in re.findall(r"var\([^)]*\)", picture))  # with fallbacks
    ElementTree.fromstring(picture)
