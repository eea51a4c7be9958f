"""The shape of the repository: what lies at its top, how large files and functions get, what every module says first."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("controller", "proxy", "migrations")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
LONGER = {"controller/domain/model.py": "the nouns: declarations only, read as a list"}
"""Files that were asked what they are, and answered."""

TOP = {
    # The houses and what belongs to them.
    "controller", "proxy", "migrations", "tests", "docs", "helm", "bench", "pyproject.toml",
    # What convention puts beside them.
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "requirements.lock", "requirements-test.lock",
    "Dockerfile", "compose.yaml",
}  # fmt: skip


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name.decode() for name in listed.stdout.split(b"\0") if name)
    return [path for path in paths if path.is_file()]


def sources(*folders: str) -> list[Path]:
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts
    )


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = sources(*HOUSES)
TEXTS = [
    path for path in tracked() if path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".ts", ".tsx", ".tpl", ""}
]


def test_nothing_lies_at_the_top_that_has_no_business_there():
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    strangers = {entry for entry in found - TOP if not entry.startswith(".")}
    assert not strangers


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is_for(path):
    text = path.read_text()
    if not text.strip():
        pytest.fail("an empty module: say what the package is for")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "the module docstring is missing"
    assert docstring.splitlines()[0].strip()


@pytest.mark.parametrize("path", [path for path in MODULES if "versions" not in path.parts], ids=name)
def test_files_and_functions_stay_readable(path):
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines <= FILE_LINES_MAX or name(path) in LONGER, "ask what it is, and split it"
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    long = {
        f.name: length for f in functions if (length := (f.end_lineno or f.lineno) - f.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long


def test_no_work_is_left_for_later():
    mark = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
    found = [f"{name(path)}:{n}" for path in TEXTS for n, line in enumerate(_lines(path), 1) if mark.search(line)]
    # A document may say that the mark is not used.
    assert [place for place in found if not place.startswith(("CONTRIBUTING.md", "pyproject.toml"))] == []


def test_no_registry_is_named():
    hosts = re.compile("|".join(re.escape(a + b) for a, b in (
        ("pypi.", "org"), ("pythonhosted.", "org"), ("registry.npmjs", ".org"), ("registry.yarnpkg", ".com"),
    )))  # fmt: skip
    everything = [path for path in tracked() if path.stat().st_size < 4_000_000]
    assert [name(path) for path in everything if hosts.search(path.read_text(errors="replace"))] == []


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()
