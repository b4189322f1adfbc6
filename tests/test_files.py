"""What the files around the code promise: every command, path, key and rule in them is true."""

import ast
import fnmatch
import importlib
import os
import re
import shlex
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import typer

import munchray
from munchray.cli.app import app
from munchray.samplers.search_space import SpaceEncoding
from munchray.settings import Job, SearchSpace, load_job
from munchray.settings.yaml_source import read_value

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "munchray"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
JOBS = sorted(path.name for path in (ROOT / "jobs").glob("*.yaml"))
SPACES = sorted(path.stem for path in (ROOT / "search_spaces").glob("*.yaml"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def page_name(path):
    return path.relative_to(ROOT).as_posix()


def section(heading):
    """A section of docs/architecture.md, without its heading."""
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", ARCHITECTURE, re.DOTALL | re.MULTILINE)[1]


def rows(table):
    """The cells of a Markdown table's rows, without the head."""
    found = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in found[2:]]


def in_backticks(text):
    return re.findall(r"`([^`]+)`", text)


DIAGRAM = [row.split() for row in re.search(r"^```text\n(.*?)^```", section("Packages"), re.S | re.M)[1].splitlines()]
HEIGHT = {package: -number for number, row in enumerate(DIAGRAM) for package in row}
"""Of each package in the diagram of docs/architecture.md; its modules import from lower ones."""
ADAPTERS = {
    library: [re.sub("/$", "/*.py", adapter) for adapter in in_backticks(adapters)]
    for libraries, adapters in rows(section("Adapters"))
    for library in in_backticks(libraries)
}
"""The modules that import each library, as docs/architecture.md lists them."""
IN_NOTEBOOKS = {"IPython"}
COMES_WITH = {"botocore": "boto3", "pydantic_core": "pydantic", "yaml": "pyyaml"}
SLOW_TO_IMPORT = ("torch", "ray", "mlflow", "flair", "optuna", "gensim", "pyarrow", "boto3")
PLACEHOLDER = "jobs/mine.yaml"  # the user's own, in examples


@pytest.fixture(autouse=True)
def _in_a_checkout(monkeypatch, tmp_path):
    """Examples are typed in the root of a checkout, with the variables that job files name."""
    monkeypatch.chdir(ROOT)
    for variable in ("MUNCHRAY_DATA", "MUNCHRAY_EMBEDDINGS"):
        monkeypatch.setenv(variable, str(tmp_path))


# Job and search-space files


@pytest.mark.parametrize("name", JOBS)
def test_every_job_file_is_without_mistakes(name):
    job = load_job(Path("jobs", name))
    assert job.name == Path(name).stem
    assert job.trial({}).main == job.main


@pytest.mark.parametrize("name", SPACES)
def test_every_setting_that_a_search_space_draws_makes_a_trial(name):
    regime = "single_aux" if name == "single_aux" else "stack"
    overrides = [f"search_space={name}", f"regime={regime}"]
    job = load_job(Path("jobs/ncbi_disease_stack.yaml"), overrides)
    encoding = SpaceEncoding(job.search_space, job.order_rule(), job.auxiliaries)
    for setting in islice(encoding.random_settings(seed=1), 50):
        assert encoding.decode(encoding.encode(setting)) == setting
        assert job.trial(setting).main == "ncbi-disease"


def test_the_papers_spaces_have_the_papers_sizes():
    sizes = {}
    for name, regime in (("paper_grid", "stack"), ("paper_orders", "iteration"), ("single_aux", "single_aux")):
        job = load_job(Path("jobs/ncbi_disease_stack.yaml"), [f"search_space={name}", f"regime={regime}"])
        sizes[name] = SpaceEncoding(job.search_space, job.order_rule(), job.auxiliaries).size
    assert sizes == {"paper_grid": 4, "paper_orders": 4 * 1968, "single_aux": 4 * 7}


@pytest.mark.parametrize("name", ["ncbi_disease_stack.yaml", "chemdner_iteration.yaml"])
def test_jobs_with_the_papers_settings_have_them(name):
    job = load_job(Path("jobs", name))
    assert len(job.auxiliaries) == 7
    assert (job.hidden_size, job.word_dropout, job.locked_dropout) == (256, 0.05, 0.5)
    assert (job.anneal, job.patience, job.factor, job.min_learning_rate) == ("plateau", 4, 0.5, 1e-4)
    assert job.search_space.dimensions()["learning_rate"].points() == (0.1, 0.05)
    assert job.search_space.dimensions()["batch_size"].points() == (16, 32)


@pytest.mark.parametrize(
    "path", [*(f"jobs/{name}" for name in JOBS), *(f"search_spaces/{name}.yaml" for name in SPACES)]
)
def test_every_yaml_file_opens_with_what_it_is_for(path):
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    if path.startswith("jobs/"):
        assert f"#     munchray search {path}" in [line.split("  #")[0].rstrip() for line in lines]


# Commands in the documentation


def commands():
    """The command line's commands by name, ``corpora fetch`` included."""
    root = typer.main.get_command(app)
    found = dict(root.commands)
    for name, command in root.commands.items():
        found.update({f"{name} {inner}": below for inner, below in getattr(command, "commands", {}).items()})
    return found


def code_lines(text):
    """The lines of shell blocks, fenced or indented, and of comments that show a command."""
    fence = ""
    for line in text.splitlines():
        if line.startswith("```"):
            fence = "" if fence else line
        elif fence == "```bash" or (not fence and line.startswith(("    ", "#     "))):
            yield line.removeprefix("#").strip()


def munchray_calls(line):
    """The arguments of every ``munchray`` in a shell line: pipes, redirections and variables are cut off."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words, calls, inside = list(lexer), [], False
    for before, word in zip(["", *words], words, strict=False):
        if word == "munchray" and (before in ("", "do", "then") or set(before) <= set("|&;") or "=" in before):
            calls.append([])
            inside = True
        elif set(word) <= set("|&;<>"):
            inside = False
        elif inside:
            calls[-1].append(word)
    return calls


def example_calls():
    sources = [*PAGES, *(ROOT / "jobs").glob("*.yaml"), ROOT / "Makefile"]
    for path in sources:
        text = path.read_text(encoding="utf-8").replace("$(BIN)/munchray", "munchray").replace("\t", "    ")
        for line in code_lines(text):
            if re.match(r"(\w+=\S+ |echo .*\| )*munchray ", line):
                yield from ((path.name, tuple(call)) for call in munchray_calls(line))
    for name, command in commands().items():
        for line in (command.help or "").splitlines():
            if "munchray " in line:
                line = re.sub(r"^\s*Examples?:", "", line)
                yield from ((f"--help of {name}", tuple(call)) for call in munchray_calls(line))


EXAMPLES = sorted(set(example_calls()))


def values_of(arguments):
    """The values of a call, read by the command line itself without running it."""
    found, arguments = commands(), list(arguments)
    name = next((n for n in (" ".join(arguments[:2]), arguments[0]) if n in found), None)
    assert name, f"no command '{arguments[0]}'"
    context = found[name].make_context(name, arguments[len(name.split()) :])
    return context.params


def test_the_examples_are_found():
    assert len(EXAMPLES) > 25
    assert munchray_calls("A=b munchray predict m f.txt > out # all") == [["predict", "m", "f.txt"]]
    assert munchray_calls("echo 'munchray is here' | munchray predict m") == [["predict", "m"]]


@pytest.mark.parametrize(
    ("page", "call"), EXAMPLES, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_example_is_a_command_that_would_run(page, call):
    if call[0].startswith("-"):
        assert call[0] in ("--help", "-h")
        return
    if call[-1] == "--help":
        assert " ".join(call[:-1]) in commands()
        return
    values = values_of(call)
    job_file = values.get("job_file")
    if job_file and str(job_file) in JOBS:  # as `munchray init` writes it
        job_file = Path("jobs", job_file)
    if job_file and str(job_file) != PLACEHOLDER:
        overrides = [text.replace("$seed", "1") for text in values["overrides"] or []]
        load_job(job_file, overrides, search=call[0] not in ("embed", "train"))


def inline_code(text):
    """What stands in single backticks outside of code blocks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_command_and_option_named_in_a_sentence_exists(path):
    for code in inline_code(path.read_text(encoding="utf-8")):
        if not code.startswith("munchray "):
            continue
        words = [word for word in code.split()[1:] if word not in ("--help", "-h")]
        if not words:
            continue
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in commands()), None)
        assert name, code
        options = {text for parameter in commands()[name].params for text in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, code


def test_every_command_is_in_the_guide():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    assert [name for name in commands() if f"munchray {name}" not in guide] == []


def test_the_readmes_python_uses_the_api():
    """tests/test_api.py runs it."""
    (code,) = python_blocks(ROOT / "README.md")
    used = {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute) and is_munchray(node)}
    assert used == {"load_job", "search"} < set(munchray.__all__)


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def is_munchray(attribute):
    return isinstance(attribute.value, ast.Name) and attribute.value.id == "mr"


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_python_example_imports_what_exists(path):
    for code in python_blocks(path):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_every_make_target_in_the_documentation_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set()
    for path in (*PAGES, ROOT / "CHANGELOG.md", ROOT / ".ci" / "run"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?:^ *|`|; )make ([a-z-]+)", text, re.MULTILINE))
    assert {"demo", "test", "setup", "lint"} <= named <= set(targets)


# Paths, links, keys and variables in the documentation


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, target


@pytest.mark.parametrize(
    "path",
    [*PAGES, *(ROOT / "jobs").glob("*.yaml"), *(ROOT / "search_spaces").glob("*.yaml")],
    ids=page_name,
)
def test_every_file_of_ours_that_is_named_exists(path):
    named = re.findall(r"\b(?:jobs|search_spaces|docs|tests)/\w+\.(?:yaml|md|py)\b", path.read_text(encoding="utf-8"))
    assert [name for name in named if name != PLACEHOLDER and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_yaml_example_is_without_mistakes(path, tmp_path):
    for number, text in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    ):
        example = tmp_path / f"{number}.yaml"
        example.write_text(text, encoding="utf-8")
        if text.startswith("main:"):
            load_job(example)
        else:
            load_job(Path("jobs/ncbi_disease_stack.yaml"), [f"search_space={example}"])


def test_every_key_of_a_job_file_is_documented_with_its_default():
    reference = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    documented = {}
    for line in reference.splitlines():
        if match := re.match(r"\| `(\w+)` \| ([^|]+) \|", line):
            documented.setdefault(match[1], match[2].strip())
    for name, field in Job.model_fields.items():
        written = documented.pop(name)
        if name == "name":
            assert written == "the file's name"
        elif field.is_required():
            assert written == "required", name
        else:
            default = field.default.model_dump() if hasattr(field.default, "model_dump") else field.default
            default = list(default) if isinstance(default, tuple) else default
            assert read_value(written.strip("`"), name) == default, name
    assert {name for name in documented if name not in SearchSpace.model_fields} == set()


def test_every_environment_variable_is_documented():
    code = "\n".join((PACKAGE / name).read_text(encoding="utf-8") for name in MODULES)
    used = set(re.findall(r"os\.environ[.\w]*[\[(]\s*\"(\w+)\"", code))
    used |= set(re.findall(r"\b(?:AWS|DO|HTTPS|MLFLOW|MUNCHRAY|RAY|TUNE)_\w+\b", code))
    jobs = "\n".join(Path("jobs", name).read_text(encoding="utf-8") for name in JOBS)
    used |= set(re.findall(r"\$\{?([A-Z_]+)", jobs))
    documented = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    assert {"MUNCHRAY_DATA", "MLFLOW_TRACKING_URI", "AWS_ACCESS_KEY_ID"} < used
    assert sorted(name for name in used if f"`{name}`" not in documented) == []


# The code's own rules


@pytest.mark.parametrize("folder", ["munchray", "tests", "benchmarks", "docs", "examples"])
def test_every_python_file_opens_with_what_it_is_for(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert [path.name for path in files if not path.read_text(encoding="utf-8").startswith('"""')] == []


def imports(name):
    """The modules that a file imports anywhere in it: dotted names, those under TYPE_CHECKING marked False."""
    parsed_file = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(parsed_file)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(parsed_file):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            yield node.module, id(node) not in for_types
            if node.module.split(".")[0] == "munchray":
                yield from ((f"{node.module}.{alias.name}", id(node) not in for_types) for alias in node.names)


def outside_libraries(name):
    tops = {module.split(".")[0] for module, _ in imports(name)}
    return tops - sys.stdlib_module_names - {"munchray"}


def test_each_library_enters_by_its_adapter():
    for name in MODULES:
        for library in outside_libraries(name):
            adapters = ADAPTERS.get(library, [])
            assert any(fnmatch.fnmatch(name, adapter) for adapter in adapters), (
                f"{name} imports {library}; its adapters: {adapters}"
            )


def test_every_adapter_is_used():
    used = {library: [n for n in MODULES if library in outside_libraries(n)] for library in ADAPTERS}
    unused = {
        lib: adapter
        for lib, adapters in ADAPTERS.items()
        for adapter in adapters
        if not fnmatch.filter(used[lib], adapter)
    }
    assert unused == {}


def test_every_library_is_a_declared_dependency():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)[1]
    extra = re.search(r"^gensim = \[.*", project, re.MULTILINE)[0]
    declared = set(re.findall(r'"([\w-]+)', block + extra))
    assert {COMES_WITH.get(library, library) for library in ADAPTERS.keys() - IN_NOTEBOOKS} <= declared


def package_of(module):
    """The package of ``munchray.features.store`` is ``features``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def module_of(name):
    return "munchray." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_packages_import_only_from_lower_rows():
    upwards = []
    for name in MODULES:
        own = package_of(module_of(name))
        for module, really in imports(name):
            other = package_of(module) if module.startswith("munchray.") else ""
            if really and other in HEIGHT and other != own and HEIGHT[other] >= HEIGHT[own]:
                upwards.append(f"{name} imports {module}")
    assert upwards == []


def test_no_import_goes_in_a_circle():
    known = {module_of(name): name for name in MODULES}
    edges = {m: {i for i, really in imports(n) if really and i in known and i != m} for m, n in known.items()}
    done = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for inner in sorted(edges[module]):
                visit(inner, [*path, module])
            done.add(module)

    for module in edges:
        visit(module, [])


def test_every_package_is_in_the_diagram_and_has_its_line():
    lines = [in_backticks(name)[0] for name, _ in rows(section("Packages"))]
    assert lines == [package for row in DIAGRAM for package in row]
    assert {package_of(module_of(name)) for name in MODULES} - {"", "__init__"} == set(lines)


def defines(module, name):
    """Whether a module's text defines a function, class, method or constant."""
    return re.search(rf"^\s*(def|class) {name}\b|^(\s*self\.)?{name}\b.* = ", module, re.MULTILINE) is not None


def test_every_name_in_the_architecture_exists():
    modules = {module_of(name).removeprefix("munchray."): (PACKAGE / name).read_text("utf-8") for name in MODULES}
    for code in sorted(set(inline_code(ARCHITECTURE)) - ADAPTERS.keys() - HEIGHT.keys()):
        first, _, rest = code.partition(".")
        if re.fullmatch(r"[\w/]+(/|\.py|\.yaml)", code):
            assert (PACKAGE / code).exists() or (ROOT / code).exists(), code
        elif re.fullmatch(r"[A-Z]\w*[a-z]\w*(\.\w+)?", code):
            owners = [text for text in modules.values() if defines(text, first)]
            assert any(not rest or defines(text, rest) for text in owners), code
        elif first in HEIGHT:
            module, _, name = code.rpartition(".")
            assert code in modules or defines(modules[module], name), code


def test_the_names_to_change_are_in_the_files_named_beside_them():
    for _, change in rows(section("Where to change what")):
        texts = [(PACKAGE / name).read_text("utf-8") for name in in_backticks(change) if name.endswith(".py")]
        for name in in_backticks(change):
            if re.fullmatch(r"[A-Z_]+|_\w+", name):
                assert any(defines(text, name) for text in texts), name


def test_the_command_line_starts_without_the_large_libraries():
    code = f"import sys, munchray.cli.app; print([name for name in {SLOW_TO_IMPORT} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
