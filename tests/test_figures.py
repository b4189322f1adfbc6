"""Figures are really drawn: their SVGs are parsed, their numbers are counted by hand."""

from itertools import permutations
from xml.etree import ElementTree

import pytest
from made_trials import made_trial

from munchray.report import figures
from munchray.report.paths import Paths

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("corpus-a", "corpus-b", "corpus-c", "corpus-d")


@pytest.fixture(scope="module")
def trials():
    """All orders of three out of four under Stack, best first; the last auxiliary decides, the others but little."""
    made = []
    for number, order in enumerate(permutations(NAMES, 3)):
        stages = [40.0 + 10 * length + NAMES.index(order[length - 1]) for length in (1, 2, 3)]
        made.append(made_trial(number, order, stages[-1] + 0.01 * NAMES.index(order[0]), stages))
    return sorted(made, key=lambda trial: -trial.dev_f1)


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def ids(svg):
    return {element.get("id") for element in ElementTree.fromstring(svg).iter() if element.get("id")}


def test_every_auxiliary_place_mean_and_count_is_in_the_heat_map(trials):
    found = texts(figures.as_svg(figures.heat_map(trials)))
    assert {*NAMES, "1", "2", "3"} <= set(found)
    cell = [trial.dev_f1 for trial in trials if trial.order[2] == "corpus-d"]
    assert f"{sum(cell) / len(cell):.2f}" in found
    assert found.count("6") == 4 * 3  # each of 24 orders has one of four auxiliaries at each of three places


def test_every_beginning_is_a_node_and_the_best_path_is_marked(trials):
    svg = figures.as_svg(figures.path_view(trials))
    beginnings = {trial.order[:length] for trial in trials for length in (1, 2, 3)}
    assert len(beginnings) == 4 + 12 + 24
    assert {name for name in ids(svg) if name.startswith("path:")} == set(map(figures.node_id, beginnings))
    assert "path:corpus-c&gt;corpus-b&gt;corpus-d" in svg
    best = trials[0].order
    marked = {
        element.get("id")
        for element in ElementTree.fromstring(svg).iter()
        if figures.BEST in "".join(inner.get("style", "") for inner in element)
    }
    assert {name for name in marked if name and name.startswith("path:")} == {
        figures.node_id(best[:length]) for length in (1, 2, 3)
    }


def test_beginnings_that_nobody_scored_are_nodes_without_a_number():
    svg = figures.as_svg(figures.path_view([made_trial(0, "ab", 60.0), made_trial(1, "ba", 59.0)]))
    assert {"a", "b 60.00", "b", "a 59.00"} <= set(texts(svg))


def test_leaves_of_the_tree_stand_apart_best_on_top_and_beginnings_amid_theirs(trials):
    paths = Paths.of(trials)
    places = paths.places()
    leaves = [places[trial.order][1] for trial in trials]
    assert sorted(leaves) == list(range(24))
    assert places[paths.best] == (3.0, 0.0)
    below = [places[order][1] for order in places if len(order) == 3 and order[:1] == ("corpus-a",)]
    assert places[("corpus-a",)] == (1.0, sum(below) / len(below))


def test_an_order_that_is_the_beginning_of_another_is_one_node():
    paths = Paths.of([made_trial(0, "ab", 60.0, (50.0, 60.0)), made_trial(1, "a", 50.0, (50.0,))])
    assert paths.places() == {(): (0.0, 0.0), ("a",): (1.0, 0.0), ("a", "b"): (2.0, 0.0)}


def test_progress_counts_only_what_was_trained():
    trials = [made_trial(0, "ab", 50.0, (40.0, 50.0)), made_trial(1, "ac", 55.0, (40.0, 55.0), reused=1)]
    axes = figures.progress(trials[::-1]).axes[0]
    each, best = axes.get_lines()
    assert each.get_xdata().tolist() == best.get_xdata().tolist() == [200, 300]
    assert best.get_ydata().tolist() == [50.0, 55.0]


def test_what_cannot_be_compared_is_not_drawn(trials):
    assert list(figures.drawn(trials)) == ["places", "paths", "progress"]
    assert list(figures.drawn([made_trial(0, (), 50.0), made_trial(1, (), 51.0)])) == ["progress"]
    assert figures.drawn([]) == {}


def test_files_are_whole_images_and_the_same_again(trials, tmp_path):
    drawn = figures.drawn(trials[:4])
    written = figures.save(drawn, tmp_path / "plots")
    assert [path.name for path in written] == [f"{name}.{kind}" for name in drawn for kind in ("png", "svg")]
    before = [path.read_bytes() for path in written]
    assert all(data.startswith(b"\x89PNG\r\n") for data in before[::2])
    figures.save(figures.drawn(trials[:4]), tmp_path / "plots")
    assert [path.read_bytes() for path in written][1::2] == before[1::2]
