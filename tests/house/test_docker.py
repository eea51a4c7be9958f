"""The image and the compose file, read: what they copy exists, what they set is known, what they run is not root.

Nothing is built here; a container engine is not part of the tests.
"""

import fnmatch
import functools
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NOT_SETTINGS = {"HEALTHCHECK_URL"}
SECRET = re.compile(r"TOKEN|PASSWORD|DATABASE_URL")

Instruction = tuple[str, str]


@functools.cache
def instructions() -> tuple[Instruction, ...]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return tuple(
        (word.upper(), " ".join(rest.split())) for line in lines if line for word, _, rest in [line.partition(" ")]
    )


@functools.cache
def stages() -> tuple[tuple[Instruction, ...], ...]:
    starts = [index for index, (word, _) in enumerate(instructions()) if word == "FROM"]
    return tuple(instructions()[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True))


def all_of(word: str, stage: int = -1) -> list[str]:
    return [rest for found, rest in stages()[stage] if found == word]


@functools.cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def variables(house: str) -> set[str]:
    settings = importlib.import_module(f"{house}.settings").Settings
    return {f"{settings.model_config['env_prefix']}{field}".upper() for field in settings.model_fields}


def copied() -> list[str]:
    """What the build takes from the repository."""
    return [source for rest in all_of("COPY", 0) for source in shlex.split(rest)[:-1]]


# --- the image ------------------------------------------------------------------------------------------------------


def test_both_stages_start_from_one_base_that_can_be_replaced() -> None:
    assert instructions()[0] == ("ARG", "BASE=python:3.11-slim-bookworm")
    assert [rest for word, rest in instructions() if word == "FROM"] == ["${BASE} AS build", "${BASE}"]


def test_dependencies_come_from_the_lock_with_hashes_and_nothing_else() -> None:
    installs = [rest for rest in all_of("RUN", 0) if "pip install" in rest]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "-r requirements.lock" in installs[0]
    assert "--no-deps ." in installs[1]
    assert not any("pip" in rest for rest in all_of("RUN"))


def test_every_requirement_in_the_lock_has_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    requirements = re.split(r"^(?=[a-zA-Z0-9])", lock, flags=re.MULTILINE)[1:]
    assert requirements
    assert not [line.split()[0] for line in requirements if "--hash=sha256:" not in line]


def test_the_lock_is_copied_before_the_code() -> None:
    assert copied()[0] == "requirements.lock"


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignore[0] == "*"
    kept = {line[1:] for line in ignore if line[0] == "!"}
    assert kept == set(copied())
    assert not [source for source in copied() if not (ROOT / source).exists()]


@pytest.mark.parametrize("path", [".env", ".git", ".venv", "tests", "docs", ".penstock"])
def test_nothing_private_or_large_enters_the_build(path: str) -> None:
    assert not any(fnmatch.fnmatch(path, source) for source in copied())


def test_packages_of_the_wheel_are_copied() -> None:
    wheel = re.search(
        r"\[tool\.hatch\.build\.targets\.wheel\]\npackages = (\[.*\])", (ROOT / "pyproject.toml").read_text()
    )
    assert wheel
    assert set(json.loads(wheel[1])) <= set(copied())


def test_it_does_not_run_as_root() -> None:
    assert all_of("USER") == ["10001:10001"]
    after = [word for word, _ in stages()[-1]]
    assert "RUN" not in after[after.index("USER") :]


def test_the_chart_runs_the_same_user() -> None:
    values = yaml.safe_load((ROOT / "helm" / "penstock" / "values.yaml").read_text())
    assert f"{values['podSecurity']['runAsUser']}:{values['podSecurity']['runAsGroup']}" == all_of("USER")[0]


def test_it_answers_for_its_health_without_a_shell() -> None:
    [check] = all_of("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"
    compile(command[-1], "HEALTHCHECK", "exec")


def test_it_is_the_penstock_command() -> None:
    assert all_of("ENTRYPOINT") == ['["penstock"]']
    assert all_of("CMD") == ['["serve"]']
    assert re.search(r"^penstock = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_it_says_what_it_is() -> None:
    [labels] = all_of("LABEL")
    names = {word.partition("=")[0] for word in shlex.split(labels)}
    assert names == {
        f"org.opencontainers.image.{name}" for name in ("title", "description", "licenses", "version", "revision")
    }
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"VERSION={version[1]}" in all_of("ARG")


def test_no_secret_is_built_in() -> None:
    set_here = [word.partition("=")[0] for rest in all_of("ENV") + all_of("ARG") for word in shlex.split(rest)]
    assert not [name for name in set_here if SECRET.search(name)]


def test_the_image_sets_only_what_somebody_reads() -> None:
    set_here = {word.partition("=")[0] for rest in all_of("ENV") for word in shlex.split(rest)}
    ours = {name for name in set_here if name.startswith("PENSTOCK_")}
    assert ours <= variables("controller") | variables("proxy")


# --- compose --------------------------------------------------------------------------------------------------------


def test_services() -> None:
    assert compose()["services"].keys() == {"mosquitto", "postgres", "migrations", "controller", "proxy"}


def test_dependencies_are_services_with_a_health_check() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            if services[other].get("restart") == "no":
                assert how == {"condition": "service_completed_successfully"}
            else:
                assert how == {"condition": "service_healthy"}
                assert services[other]["healthcheck"]["test"]


def test_volumes_and_files_exist() -> None:
    used = set()
    for name, service in compose()["services"].items():
        for volume in service.get("volumes", []):
            source, _, _ = volume.partition(":")
            if source.startswith("."):
                assert (ROOT / source).is_file(), name
            else:
                used.add(source)
    assert used == compose()["volumes"].keys()


def test_the_broker_runs_the_shipped_configuration() -> None:
    broker = compose()["services"]["mosquitto"]
    assert "./docs/how-to/mosquitto.conf:/mosquitto/config/mosquitto.conf:ro" in broker["volumes"]
    shipped = (ROOT / "docs" / "how-to" / "mosquitto.conf").read_text()
    start = " ".join(broker["command"])
    for path in re.findall(r"^(?:password_file) (.+)$", shipped, re.MULTILINE):
        assert path in start
    [location] = re.findall(r"^persistence_location (.+)/$", shipped, re.MULTILINE)
    assert f"mosquitto:{location}" in broker["volumes"]


@pytest.mark.parametrize(
    ("name", "command", "house"),
    [
        ("controller", ["controller"], "controller"),
        ("proxy", ["proxy"], "proxy"),
        ("migrations", ["db", "upgrade"], "controller"),
    ],
)
def test_every_variable_is_a_setting(name: str, command: list[str], house: str) -> None:
    service = compose()["services"][name]
    assert service["command"] == command
    assert service["environment"].keys() - NOT_SETTINGS <= variables(house)


def test_secrets_are_asked_for_and_never_have_a_default() -> None:
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                assert re.search(r"\$\{\w+:\?[^}]+\}", value), (name, variable)
                assert ":-" not in value, (name, variable)


def test_the_header_names_every_secret() -> None:
    text = (ROOT / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    [named] = re.findall(r"for name in ([A-Z_ ]+); do", text)
    assert asked == set(named.split())


def test_the_controller_finds_the_proxy_and_shares_its_token() -> None:
    controller, proxy = (compose()["services"][name]["environment"] for name in ("controller", "proxy"))
    port = proxy["PENSTOCK_PROXY_HTTP"].rpartition(":")[2]
    assert json.loads(controller["PENSTOCK_PROXIES"]) == [f"http://proxy:{port}"]
    assert controller["PENSTOCK_CONTROL_TOKEN"] == proxy["PENSTOCK_PROXY_CONTROL_TOKEN"]
    assert f":{port}/" in proxy["HEALTHCHECK_URL"]


@pytest.mark.parametrize("name", ["controller", "proxy", "mosquitto", "postgres"])
def test_ports_open_to_this_machine_only_unless_asked(name: str) -> None:
    for port in compose()["services"][name].get("ports", []):
        assert port.startswith("${PENSTOCK_BIND:-127.0.0.1}:")


@pytest.mark.parametrize("name", ["controller", "proxy", "migrations"])
def test_our_containers_are_closed(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_images_are_pinned() -> None:
    for service in compose()["services"].values():
        assert re.search(r":\d[\w.-]*$", service["image"])
