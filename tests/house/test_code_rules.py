"""Rules of STYLE that ruff and import-linter cannot hold: who may start tasks, read the environment, sleep, log what."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for house in ("controller", "proxy") for path in (ROOT / house).rglob("*.py"))
UNIT_TESTS = sorted((ROOT / "tests" / "unit").rglob("*.py"))

READS_ENVIRONMENT = {
    "controller/settings.py",
    "proxy/settings.py",
    # Hands its own environment on to the processes it starts.
    "controller/cli/machine.py",
}
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` of an attribute chain; calls in it as ``()``."""
    match node:
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case ast.Name(id=word):
            return word
        case ast.Call(func=func):
            return f"{dotted(func)}()"
        case _:
            return "?"


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    return ((dotted(node.func), node) for node in nodes(path) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_tasks_are_born_in_task_groups_and_named(path):
    births = [(called, node) for called, node in calls(path) if called.endswith((".create_task", "ensure_future"))]
    loose = re.compile(r"^asyncio\.|loop|ensure_future")
    assert [called for called, _ in births if loose.search(called)] == []
    long_lived = [node for called, node in births if path.name in ("app.py", "registry.py")]
    assert all(any(word.arg == "name" for word in node.keywords) for node in long_lived)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_environment_is_read_in_settings_only(path):
    if name(path) in READS_ENVIRONMENT:
        return
    touched = [dotted(node) for node in nodes(path) if isinstance(node, ast.Attribute)]
    assert not {"os.environ", "os.environb"} & set(touched)
    assert not [called for called, _ in calls(path) if called in ("os.getenv", "getenv", "os.putenv")]


def choices(node: ast.AST | None, assigned: dict[str, list[ast.expr]]) -> list[object]:
    """Return every constant that an expression may be: itself, either branch, what the name was given."""
    match node:
        case ast.Constant(value=value):
            return [value]
        case ast.IfExp(body=body, orelse=orelse):
            return [*choices(body, assigned), *choices(orelse, assigned)]
        case ast.Name(id=word) if word in assigned:
            return [choice for value in assigned[word] for choice in choices(value, {})]
        case _:
            return [None]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_an_event_of_the_log_is_a_constant(path):
    assigned: dict[str, list[ast.expr]] = {}
    for node in nodes(path):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(node.value)
    for called, node in calls(path):
        owner, _, method = called.rpartition(".")
        if owner not in ("log", "self.log", "self._log") or method not in LOG_METHODS:
            continue
        for event in choices(node.args[0] if node.args else None, assigned):
            assert isinstance(event, str), f"line {node.lineno}: the event is not a constant"
            assert EVENT.fullmatch(event), f"line {node.lineno}: {event!r} is not noun.verb_past"


@pytest.mark.parametrize("path", UNIT_TESTS, ids=name)
def test_unit_tests_do_not_sleep_on_the_wall_clock(path):
    assert [called for called, _ in calls(path) if called == "time.sleep"] == []


def test_mocks_are_not_used():
    modules = {"unittest.mock", "mock", "pytest_mock"}
    users = [
        name(path)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in nodes(path)
        if (isinstance(node, ast.Import) and modules & {alias.name for alias in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module in modules)
    ]
    assert users == []


def test_the_two_telemetries_are_twins():
    ours, theirs = (ROOT / house / "telemetry.py" for house in ("controller", "proxy"))
    assert ours.read_text() == theirs.read_text()
