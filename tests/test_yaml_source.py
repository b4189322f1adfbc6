"""Parsing of YAML files: values, locations, and every kind of malformed input."""

import math
import os

import pytest

from munchray.errors import InputError
from munchray.settings.yaml_source import load_yaml, read_value


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes job.yaml into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(content):
        path = tmp_path / "job.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def complaint(path):
    with pytest.raises(InputError) as caught:
        load_yaml(path, "job file")
    return str(caught.value)


def test_every_key_and_element_has_its_line(written):
    path = written("# a job\nmain: a\nauxiliaries:\n  - b\n  - c\nresources:\n  gpu: 1\ninline: {x: 1,\n  y: 2}\n")
    document = load_yaml(path, "job file")
    lines = {("main",): 2, ("auxiliaries",): 3, ("auxiliaries", 1): 5, ("resources", "gpu"): 7, ("inline", "y"): 9}
    assert {keys: document.location_of(keys) for keys in lines} == {k: f"job.yaml:{line}" for k, line in lines.items()}
    assert document.values["auxiliaries"] == ["b", "c"]
    assert document.location_of(("resources", "cpu")) == "job.yaml:6", "a missing key is located at its parent"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("3e5", 3e5),
        ("16", 16),
        ("-1", -1),
        ("010", 10),
        (".inf", math.inf),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-4'", "1e-4"),
        ("null", None),
        ("", None),
        ("9" * 5000, "9" * 5000),
        ("[0.1, 2]", [0.1, 2]),
        ("{low: 1}", {"low": 1}),
    ],
)
def test_values_follow_yaml_1_2(text, value):
    read = read_value(text, "--set x")
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_read_as_such():
    assert math.isnan(read_value(".nan", "--set x"))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["job.yaml: the job file is empty"]),
        ("# only a remark\n", ["job.yaml: the job file is empty"]),
        ("- main\n", ["job.yaml:1: the job file is not a mapping; expected key: value lines"]),
        ("main: a\nregime: [stack\nseed: 1\n", ["job.yaml:3: YAML syntax error", "flow sequence"]),
        ("main: a\n  regime: stack\n", ["job.yaml:2: YAML syntax error", "mapping values are not allowed"]),
        ("main: a\nname: 'x\n", ["job.yaml:3: YAML syntax error", "quoted scalar"]),
        ("main: a\nresources:\n\tgpu: 1\n", ["job.yaml:3: a tab; expected spaces before keys"]),
        ("main: a\nmain: b\n", ["job.yaml:2: main is given twice, first in line 1; expected each key once"]),
        ("main: a\n1:\n  [x]: 2\n", ["job.yaml:3: a key that is not a word"]),
        ("main: !!python/name:os.system x\n", ["job.yaml:1: the tag", "is not supported"]),
        ("a: &x 1\nb: *x\n", ["job.yaml:1: anchors (&) and aliases (*) are not supported; write the value out"]),
        ("b: *x\n", ["job.yaml:1: anchors (&) and aliases (*)"]),
        ("---\na: 1\n---\nb: 1\n", ["job.yaml:3: YAML syntax error", "another document"]),
        (b"main: a\nname: caf\xe9\n", ["job.yaml:2: byte 0xe9 is not UTF-8; expected text in UTF-8"]),
        (b"main: a\nname: \x00\n", ["job.yaml:2: character 0x00 is not allowed"]),
        ('main: "\\ud83d"\n', ["job.yaml:1: half a character"]),
        ("- " * 5000, ["job.yaml:1: nested too deeply"]),
        ("# " + "x" * 1_000_000, ["job.yaml: has 1,000,002 bytes; expected a job file of at most 1 MB"]),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(written, content, parts):
    text = complaint(written(content))
    assert all(part in text for part in parts), text


def test_an_anchor_bomb_is_refused_before_it_grows(written):
    levels = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    assert "job.yaml:1: anchors" in complaint(written("\n".join(levels)))


def test_all_double_keys_are_reported_at_once(written):
    text = complaint(written("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n"))
    assert "job.yaml:2: a is given twice" in text
    assert "job.yaml:5: c is given twice, first in line 4" in text


def test_a_byte_order_mark_and_carriage_returns_are_tolerated(written):
    path = written(b"\xef\xbb\xbfmain: a\r\nseed: 1\r\n")
    assert load_yaml(path, "job file").values == {"main": "a", "seed": 1}


def test_a_missing_file_names_the_nearest_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text("main: a")
    text = complaint(tmp_path / "quikstart.yaml")
    assert text == "quikstart.yaml: no such file; expected a job file. Did you mean 'quickstart.yaml'?"


def test_a_folder_and_an_unreadable_file_are_no_job_files(tmp_path, monkeypatch, written):
    assert "is a folder; expected a job file" in complaint(tmp_path)
    assert "There is no YAML file in" in complaint(tmp_path / "none" / "job.yaml")
    path = written("main: a")
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root may read everything
        assert "cannot be read: Permission denied" in complaint(path)
