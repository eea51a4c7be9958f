"""The wheel holds all that an installation needs: both houses, the page, the demo clip, the migrations."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "."], cwd=ROOT, check=True, timeout=110)
    [path] = folder.glob("penstock-*.whl")
    return zipfile.ZipFile(path)


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, check=True)
    return {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()}


def test_every_tracked_file_of_the_houses_is_in_it(wheel):
    sources_of_the_page = "controller/web/page/"
    wanted = {name for name in tracked("controller", "proxy", "migrations") if not name.startswith(sources_of_the_page)}
    assert wanted - set(wheel.namelist()) == set()


def test_what_makes_a_first_run_work_is_in_it(wheel):
    names = wheel.namelist()
    assert [name for name in names if name.startswith("controller/web/static/") and name.endswith(".html")]
    assert [name for name in names if name.startswith("proxy/") and name.endswith(".ts")], "the demo clip"
    assert [name for name in names if name.startswith("migrations/versions/0001")]


def test_it_holds_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"controller", "proxy", "migrations"}
    assert not [name for name in wheel.namelist() if "node_modules" in name or "/page/" in name]


def test_it_is_licensed_and_brings_the_command(wheel):
    info = next(name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    assert "penstock = controller.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()
