"""The documentation says what the code says: its links lead somewhere, and its lists are the code's lists."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from controller import settings as controller_settings
from controller.cli import cli
from controller.cli.process import SUPERVISOR_VARIABLE
from proxy import settings as proxy_settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(DOCS.rglob("*.md"))
LINKING = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
HOUSES = ("controller", "proxy")
TOP = ("controller", "proxy", "migrations", "tests", "docs", "helm", "bench")

LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
EVENT = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
NOT_SETTINGS = {
    "PENSTOCK_API_URL",  # the command line's
    "PENSTOCK_PROXY_",  # a prefix, told as such
    "PENSTOCK_",
    "PENSTOCK_BIND",  # of compose.yaml
    "PENSTOCK_PUBLIC_URL",
    SUPERVISOR_VARIABLE,
}
NOT_FILES = {"controller/status"}  # a topic


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """Return a page without its fenced blocks, in which brackets are no links."""
    return FENCED.sub("", text(path))


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", heading).lower())
    return words.strip().replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(found) for found in re.findall(r"^#+ +(.+)$", prose(path), re.MULTILINE)}


def targets(path: Path) -> Iterator[tuple[str, Path, str]]:
    for link in LINK.findall(prose(path)):
        if "://" not in link and not link.startswith("mailto:"):
            place, _, anchor = link.partition("#")
            yield link, (path.parent / place).resolve() if place else path, anchor


@pytest.mark.parametrize("path", LINKING, ids=name)
def test_every_link_leads_somewhere(path):
    broken = [
        link
        for link, target, anchor in targets(path)
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
    ]
    assert broken == []


def test_every_page_is_reached_from_the_index():
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [target for _, target, _ in targets(page) if target.suffix == ".md" and target.is_file()]
    assert [name(page) for page in PAGES if page not in reached] == []


# What pages name


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_files_that_a_page_names_exist(path):
    named = re.findall(rf"`((?:{'|'.join(TOP)})/[\w./-]+)(?::\w+)?`", prose(path))
    assert [found for found in named if found not in NOT_FILES and not (ROOT / found).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_variables_that_a_page_names_are_settings(path):
    known = {
        f"{module.PREFIX}{field.upper()}"
        for module in (controller_settings, proxy_settings)
        for field in module.Settings.model_fields
    }
    assert set(re.findall(r"\bPENSTOCK_[A-Z_]*", text(path))) - known - NOT_SETTINGS == set()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_that_a_page_shows_exist(path):
    shown = re.findall(r"(?:^\$ |`|&& )penstock (?:--\w+ \S+ )?([a-z]+)\b", text(path), re.MULTILINE)
    assert set(shown) - set(cli.commands) == set()


def test_options_that_commands_are_shown_with_exist():
    shown = [line for path in PAGES for line in re.findall(r"^\$ penstock (.+)$", text(path), re.MULTILINE)]
    unknown = [
        line
        for line in shown
        for option in re.findall(r"(?<!\S)(--?[a-z][\w-]*)", line.split("#")[0])
        if option not in options(line)
    ]
    assert shown
    assert unknown == []


def options(line: str) -> set[str]:
    words = re.findall(r"[\w-]+", line)
    chain: list[click.Command] = [cli]
    for word in words:
        last = chain[-1]
        if isinstance(last, click.Group) and word in last.commands:
            chain.append(last.commands[word])
    return {"--help", "-h"} | {option for command in chain for parameter in command.params for option in parameter.opts}


OF_THE_PROXY = ("/ts/", "/hls/", "/thumb/", "/control/v1/")


def test_paths_of_the_api_that_pages_name_exist():
    described = json.loads(text(REFERENCE / "openapi.json"))["paths"]
    known = {re.sub(r"\{\w+\}", "{}", path) for path in described}
    asked = re.compile(r"127\.0\.0\.1:8080(/[\w./{}-]*)|`(?:GET|POST|DELETE) (/[\w./{}-]*)`")
    named = {first or second for page in PAGES for first, second in asked.findall(text(page))}
    generic = {re.sub(r"\{\w+\}|(?<=/watch/)[\w-]+", "{}", path) for path in named if not path.startswith(OF_THE_PROXY)}
    assert generic - known - {"/", "/openapi.json"} == set()


# Lists that are the code's


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(text(path))


def trees(room: str) -> tuple[ast.Module, ...]:
    return tuple(parsed(path) for path in sorted((ROOT / room).rglob("*.py")))


def strings(node: ast.AST) -> Iterator[str]:
    return (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield called, node


def log_events(house: str) -> Iterator[str]:
    """Yield the first argument of every logging call; a name stands for the texts that are assigned to it."""
    for tree in trees(house):
        for called, node in calls(tree):
            if called in LOG_METHODS and isinstance(node.func, ast.Attribute) and node.args:
                first = node.args[0]
                found = list(assigned(tree, first.id) if isinstance(first, ast.Name) else strings(first))
                assert found, f"{ast.unparse(node)}: which event is this?"
                yield from found


def assigned(tree: ast.AST, variable: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == variable:
            yield from (found for found in strings(node.value) if EVENT.fullmatch(found))


def metrics(house: str) -> Iterator[tuple[str, str]]:
    """Yield name and kind of every metric, as Prometheus sees them."""
    for tree in trees(house):
        for called, node in calls(tree):
            given = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if called in ("figure", "Figure", "per_proxy") and given:
                is_counter = any(found == "counter" for argument in node.args[2:] for found in strings(argument))
                yield f"penstock_{given}" + ("_total" if is_counter else ""), "counter" if is_counter else "gauge"
            elif called == "histogram" and given:
                yield f"penstock_{given}", "histogram"
            elif called == "_counts" and given:
                yield f"penstock_{given}_total", "counter"
            elif called == "CounterMetricFamily" and given:
                yield f"{given}_total", "counter"
            elif called == "GaugeMetricFamily" and given:
                yield given, "gauge"


def problem_names() -> Iterator[str]:
    for tree in trees("controller/api"):
        for called, node in calls(tree):
            if called == "RefusedError" and len(node.args) > 1:
                yield from strings(node.args[1])
            elif called == "response":
                yield from (found for word in node.keywords if word.arg == "name" for found in strings(word.value))
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "_ANSWERS":
                yield from strings(node.value or node)


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    section = text(REFERENCE / page).split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip(" |") for cell in row] for row in rows[2:]]


def words(rows: Iterable[list[str]]) -> list[str]:
    return [found for row in rows for found in re.findall(r"`([^`]+)`", row[0])]


@pytest.mark.parametrize("house", HOUSES)
def test_every_log_event_is_told(house):
    told = words(table("log-events.md", house.capitalize()))
    assert sorted(told) == sorted(set(told))
    assert set(told) == set(log_events(house))


@pytest.mark.parametrize("house", HOUSES)
def test_every_metric_is_told(house):
    told = {(row[0].strip("`"), row[1]) for row in table("metrics.md", house.capitalize())}
    assert told == set(metrics(house))


def test_every_problem_is_told():
    told = set(words(table("errors.md", "Problems of the REST API")))
    assert {found for found in problem_names() if found} - told == set()


def glossary() -> list[list[str]]:
    return [
        row
        for heading in re.findall(r"^## (.+)$", text(REFERENCE / "glossary.md"), re.MULTILINE)
        for row in table("glossary.md", heading)
    ]


@pytest.mark.parametrize("row", glossary(), ids=lambda row: row[0])
def test_a_word_of_the_glossary_lives_where_it_says(row):
    place, _, wanted = row[2].strip("`").partition(":")
    tree = parsed(ROOT / place)
    made = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    made |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert wanted in made


def test_a_word_stands_in_the_glossary_once():
    listed = [row[0] for row in glossary()]
    assert sorted(listed) == sorted(set(listed))
