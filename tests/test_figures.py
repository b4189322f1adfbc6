"""Figures: their SVGs are parsed, and their numbers compared with hand counts."""

from itertools import permutations
from xml.etree import ElementTree

import pytest
from made_trials import made_trial

from munchray.report import figures
from munchray.report.prefix_tree import PrefixTree

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


def test_the_heat_map_has_every_mean_and_count(trials):
    found = texts(figures.to_svg(figures.heat_map(trials)))
    assert {*NAMES, "1", "2", "3"} <= set(found)
    cell = [trial.dev_f1 for trial in trials if trial.order[2] == "corpus-d"]
    assert f"{sum(cell) / len(cell):.2f}" in found
    assert found.count("6") == 4 * 3  # each of 24 orders has one of four auxiliaries at each of three positions


def test_every_prefix_is_a_node_and_the_best_path_is_marked(trials):
    svg = figures.to_svg(figures.path_view(trials))
    prefixes = {trial.order[:length] for trial in trials for length in (1, 2, 3)}
    assert len(prefixes) == 4 + 12 + 24
    assert {name for name in ids(svg) if name.startswith("path:")} == set(map(figures.node_id, prefixes))
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


def test_prefixes_without_a_score_are_nodes_without_a_number():
    svg = figures.to_svg(figures.path_view([made_trial(0, "ab", 60.0), made_trial(1, "ba", 59.0)]))
    assert {"a", "b 60.00", "b", "a 59.00"} <= set(texts(svg))


def test_leaves_are_spaced_evenly_best_on_top_and_parents_centred(trials):
    tree = PrefixTree.from_trials(trials)
    positions = tree.positions()
    leaves = [positions[trial.order][1] for trial in trials]
    assert sorted(leaves) == list(range(24))
    assert positions[tree.best] == (3.0, 0.0)
    below = [positions[order][1] for order in positions if len(order) == 3 and order[:1] == ("corpus-a",)]
    assert positions[("corpus-a",)] == (1.0, sum(below) / len(below))


def test_an_order_that_is_a_prefix_of_another_is_one_node():
    tree = PrefixTree.from_trials([made_trial(0, "ab", 60.0, (50.0, 60.0)), made_trial(1, "a", 50.0, (50.0,))])
    assert tree.positions() == {(): (0.0, 0.0), ("a",): (1.0, 0.0), ("a", "b"): (2.0, 0.0)}


def test_progress_counts_only_what_was_trained():
    trials = [made_trial(0, "ab", 50.0, (40.0, 50.0)), made_trial(1, "ac", 55.0, (40.0, 55.0), reused=1)]
    axes = figures.progress(trials[::-1]).axes[0]
    each, best = axes.get_lines()
    assert each.get_xdata().tolist() == best.get_xdata().tolist() == [200, 300]
    assert best.get_ydata().tolist() == [50.0, 55.0]


def test_figures_without_data_are_not_drawn(trials):
    assert list(figures.draw_all(trials)) == ["positions", "paths", "progress"]
    assert list(figures.draw_all([made_trial(0, (), 50.0), made_trial(1, (), 51.0)])) == ["progress"]
    assert figures.draw_all([]) == {}


def test_saved_files_are_images_and_svgs_are_reproducible(trials, tmp_path):
    drawn = figures.draw_all(trials[:4])
    written = figures.save(drawn, tmp_path / "plots")
    assert [path.name for path in written] == [f"{name}.{kind}" for name in drawn for kind in ("png", "svg")]
    before = [path.read_bytes() for path in written]
    assert all(data.startswith(b"\x89PNG\r\n") for data in before[::2])
    figures.save(figures.draw_all(trials[:4]), tmp_path / "plots")
    assert [path.read_bytes() for path in written][1::2] == before[1::2]
