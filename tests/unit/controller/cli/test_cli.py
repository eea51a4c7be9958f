"""The command as a whole: how fast it starts, what it says when it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.cli import cli

ROOT = Path(__file__).parents[4]
HEAVY = {
    "sqlalchemy", "alembic", "fastapi", "starlette", "uvicorn", "aiohttp", "aiomqtt", "amqtt", "pydantic", "structlog",
    "rich", "yaml", "asyncio", "uvloop", "statemachine", "proxy",
}  # fmt: skip


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def penstock(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("from controller.cli import main; main()", *arguments, **environment)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["get", "--help"], ["get", "streams"], ["why", "x"], ["serve", "--help"], ["controller", "--help"]],
    ids=" ".join,
)
def test_a_question_loads_nothing_heavy(arguments):
    code = (
        "import sys\nfrom controller.cli import main\ntry:\n main()\nexcept SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = python(code, *arguments, PENSTOCK_API_URL="http://127.0.0.1:1")
    assert set(done.stderr.splitlines()[-1].split()) & HEAVY == set()


def test_a_setting_that_is_wrong_is_one_line_and_exit_code_2(tmp_path):
    done = penstock("controller", "--data", str(tmp_path), "--http", "nonsense", PENSTOCK_CONTROL_TOKEN="x")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "penstock: PENSTOCK_HTTP: 'nonsense' is not HOST:PORT (for example 127.0.0.1:8080, or [::1]:8080)"
    ]


def test_the_proxy_refuses_in_the_same_way():
    done = penstock("proxy", PENSTOCK_PROXY_HTTP="0.0.0.0:0")
    assert done.returncode == 2
    assert done.stderr.startswith("penstock: PENSTOCK_PROXY_CONTROL_TOKEN: ")
    assert done.stderr.count("\n") == 1


def test_nobody_to_ask_is_exit_code_3():
    done = penstock("get", "streams", PENSTOCK_API_URL="http://127.0.0.1:1")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_a_database_is_migrated_there_and_back(tmp_path):
    def db(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["db", *arguments, "--data", str(tmp_path / "new")], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout.strip()

    assert db("current") == "empty"
    db("upgrade")
    assert db("current") not in ("", "empty")
    db("downgrade", "base")
    assert db("current") == "empty"


def test_every_command_says_what_it_is_for():
    def walk(command, path="penstock"):
        yield path, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, f"{path} {name}")

    assert [path for path, command in walk(cli) if not command.help] == []


def test_the_version_is_told():
    done = penstock("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("penstock ")
