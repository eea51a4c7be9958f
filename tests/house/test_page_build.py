"""The built page that is committed is what its sources build, byte for byte; its types are those of the API."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typing_extensions import is_typeddict

from controller.api import operator_schemas, schemas, sync_check

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "controller" / "web" / "page"
STATIC = ROOT / "controller" / "web" / "static"
NPM = shutil.which("npm") if shutil.which("node") else None
MISSING = "needs Node.js: apt-get install --no-install-recommends nodejs npm"
INSTALL_SECONDS = 100
BUILD_SECONDS = 60
PAGE_BYTES_MAX = 100_000
"""Of the page itself without its players, before compression."""

INTERFACE = re.compile(r"^export interface (\w+)(?: extends ([\w<>]+))? \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^  (\w+): ", re.MULTILINE)


def run(*command: str, cwd: Path, seconds: int) -> None:
    done = subprocess.run(command, cwd=cwd, timeout=seconds, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources somewhere else, with their packages from the lock file."""
    if NPM is None:
        pytest.skip(MISSING)
    copied = tmp_path_factory.mktemp("page") / "page"
    shutil.copytree(PAGE, copied, ignore=shutil.ignore_patterns("node_modules"))
    run(
        NPM,
        "ci",
        "--ignore-scripts",
        "--prefer-offline",
        "--no-audit",
        "--no-fund",
        cwd=copied,
        seconds=INSTALL_SECONDS,
    )
    return copied


@pytest.mark.timeout(INSTALL_SECONDS + BUILD_SECONDS + 20)
def test_the_committed_files_are_what_the_sources_build(copy: Path) -> None:
    run("npm", "run", "build", cwd=copy, seconds=BUILD_SECONDS)
    built = {path.name: path.read_bytes() for path in (copy.parent / "static").iterdir()}
    committed = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    assert sorted(built) == sorted(committed)
    differing = [name for name in built if built[name] != committed[name]]
    assert differing == [], "run `make page`, and commit what it writes"


@pytest.mark.timeout(INSTALL_SECONDS + BUILD_SECONDS + 20)
def test_the_sources_have_correct_types(copy: Path) -> None:
    run("npm", "run", "check", cwd=copy, seconds=BUILD_SECONDS)


def test_the_lock_names_every_package_by_its_hash_and_none_by_an_address() -> None:
    lock = (PAGE / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')
    versions = re.findall(
        r'"(?:dependencies|devDependencies)": \{(.*?)\}', (PAGE / "package.json").read_text(), re.DOTALL
    )
    assert re.findall(r'": "[^0-9]', "".join(versions)) == []


def test_the_page_is_small_and_has_nothing_inline() -> None:
    assert (STATIC / "page.js").stat().st_size + (STATIC / "page-style.css").stat().st_size < PAGE_BYTES_MAX
    index = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?! type=\"module\" src=\"/)|<style| style=|\son\w+=|https?:", index) == []


def _interfaces() -> dict[str, frozenset[str]]:
    text = (PAGE / "src" / "api.ts").read_text()
    return {name: frozenset(FIELD.findall(body)) for name, _, body in INTERFACE.findall(text)}


@pytest.mark.parametrize("name", sorted(name for name in _interfaces() if name.endswith("Document")))
def test_what_the_page_reads_is_what_the_api_writes(name: str) -> None:
    documented = getattr(schemas, name, None) or getattr(operator_schemas, name)
    assert is_typeddict(documented)
    inherited = frozenset(schemas.SessionDocument.__annotations__) if name == "StreamSessionDocument" else frozenset()
    assert _interfaces()[name] == frozenset(documented.__annotations__) - inherited


def test_the_page_reads_the_whole_sync_check() -> None:
    assert _interfaces()["SyncCheck"] == frozenset(sync_check.SyncCheck.__annotations__)
