"""The chart, rendered by the real Helm and held to what a cluster, its auditors and our own settings ask for.

No API server has seen these documents: the schemas of Kubernetes stand in for its validation.
"""

import functools
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "penstock"
CASES = sorted(CHART.glob("ci/*-values.yaml"))
KUBERNETES = ("1.28", "1.32", "1.37")  # the oldest that the chart allows, one between, the newest that has schemas here
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
NAMESPACE = "media"
# Set for the kubelet's own expansion of $(...), not for Penstock.
NOT_SETTINGS = {"POD_NAME", "POD_ORDINAL"}

Document = dict[str, Any]


@functools.cache
def helm_path() -> str:
    """helm-binary puts the real Helm beside the interpreter, which need not be on PATH."""
    found = shutil.which("helm", path=str(Path(sys.executable).parent)) or shutil.which("helm")
    assert found, "helm is missing: install requirements-test.lock"
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm_path(), *arguments], capture_output=True, text=True, timeout=30, check=False)


def template(values: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return helm("template", "gateway", str(CHART), "--namespace", NAMESPACE, "--values", str(values), *arguments)


@functools.cache
def render(values: Path, *arguments: str) -> tuple[Document, ...]:
    done = template(values, *arguments)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def case(name: str) -> Path:
    return CHART / "ci" / f"{name}-values.yaml"


def kinds(documents: tuple[Document, ...], *wanted: str) -> list[Document]:
    return [document for document in documents if document["kind"] in wanted]


def pods(documents: tuple[Document, ...]) -> Iterator[tuple[str, Document]]:
    """(name of the workload, its pod template)."""
    for document in kinds(documents, *WORKLOADS):
        yield document["metadata"]["name"], document["spec"]["template"]


def containers(documents: tuple[Document, ...]) -> Iterator[tuple[str, Document]]:
    for name, pod in pods(documents):
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            yield name, container


def environment(container: Document) -> dict[str, Document]:
    return {variable["name"]: variable for variable in container["env"]}


def selects(selector: dict[str, str], pod: Document) -> bool:
    # The ordinal's label is the StatefulSet controller's to add.
    wanted = {key: value for key, value in selector.items() if key != "apps.kubernetes.io/pod-index"}
    return wanted.items() <= pod["metadata"]["labels"].items()


each_case = pytest.mark.parametrize("values", CASES, ids=lambda path: path.stem.removesuffix("-values"))


def test_there_are_cases() -> None:
    assert {path.stem for path in CASES} >= {"sqlite-values", "postgres-values", "ingress-values", "everything-values"}


@each_case
def test_lint(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(values))
    assert done.returncode == 0, done.stdout + done.stderr


@each_case
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(values: Path, version: str) -> None:
    for document in render(values, "--kube-version", version):
        kubernetes_validate.validate(document, version, strict=True)


def test_an_unknown_field_would_be_found() -> None:
    document = json.loads(json.dumps(kinds(render(case("sqlite")), "Deployment")[0]))
    document["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)


@each_case
def test_every_document_has_a_name_of_its_own_in_the_release_namespace(values: Path) -> None:
    documents = render(values)
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))
    assert {document["metadata"]["namespace"] for document in documents} == {NAMESPACE}
    assert all(len(name) <= 63 for _, name in names)


@each_case
def test_every_selector_matches_exactly_one_workload(values: Path) -> None:
    documents = render(values)
    templates = dict(pods(documents))
    for document in kinds(documents, "Deployment", "StatefulSet"):
        assert selects(document["spec"]["selector"]["matchLabels"], document["spec"]["template"])
    selectors = [service["spec"]["selector"] for service in kinds(documents, "Service")]
    selectors += [pdb["spec"]["selector"]["matchLabels"] for pdb in kinds(documents, "PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in kinds(documents, "NetworkPolicy")]
    for selector in selectors:
        assert len([name for name, pod in templates.items() if selects(selector, pod)]) == 1, selector


@each_case
def test_every_named_port_exists(values: Path) -> None:
    documents = render(values)
    for service in kinds(documents, "Service"):
        [pod] = [pod for _, pod in pods(documents) if selects(service["spec"]["selector"], pod)]
        offered = {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in offered
    for name, container in containers(documents):
        offered = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in offered, (name, probe)


@each_case
def test_ports_agree_with_the_addresses_that_are_bound(values: Path) -> None:
    for _, container in containers(render(values)):
        for variable, setting in environment(container).items():
            if variable.endswith("_HTTP"):
                assert setting["value"] == f"0.0.0.0:{container['ports'][0]['containerPort']}"


@each_case
def test_every_mount_has_a_volume_and_every_volume_a_mount(values: Path) -> None:
    for name, pod in pods(render(values)):
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        every_container = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        mounts = {mount["name"] for item in every_container for mount in item.get("volumeMounts", [])}
        assert volumes == mounts, name


@each_case
def test_every_claim_exists(values: Path) -> None:
    documents = render(values)
    made = {claim["metadata"]["name"] for claim in kinds(documents, "PersistentVolumeClaim")}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, pod in pods(documents)
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert made == used


@each_case
def test_pods_meet_the_restricted_standard(values: Path) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root."""
    documents = render(values)
    for name, pod in pods(documents):
        spec = pod["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context.get("runAsUser") != 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert all({"emptyDir", "persistentVolumeClaim"} & volume.keys() for volume in spec["volumes"]), name
    for name, container in containers(documents):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert "privileged" not in context, name
        assert all("hostPort" not in port for port in container.get("ports", [])), name


@each_case
def test_pods_have_no_token_and_no_foreign_variables(values: Path) -> None:
    documents = render(values)
    for name, pod in pods(documents):
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert pod["spec"]["enableServiceLinks"] is False, name
    for account in kinds(documents, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@each_case
def test_service_accounts_exist_when_they_are_needed(values: Path) -> None:
    documents = render(values)
    made = {account["metadata"]["name"] for account in kinds(documents, "ServiceAccount")}
    for document in kinds(documents, *WORKLOADS):
        hook = "helm.sh/hook" in document["metadata"].get("annotations", {})
        account = document["spec"]["template"]["spec"]["serviceAccountName"]
        # A pre-install hook runs before the release's own objects are there.
        assert account in ({"default"} if hook else made)


@each_case
def test_no_secret_is_rendered_and_none_is_written_in_the_clear(values: Path) -> None:
    documents = render(values)
    assert not kinds(documents, "Secret", "ConfigMap")
    for name, container in containers(documents):
        for variable, setting in environment(container).items():
            if re.search(r"TOKEN|PASSWORD|SECRET", variable):
                assert set(setting["valueFrom"]) == {"secretKeyRef"}, (name, variable)


@each_case
def test_images_are_pinned(values: Path) -> None:
    for name, container in containers(render(values)):
        assert re.search(r"@sha256:[0-9a-f]{64}$|:\d[\w.-]*$", container["image"]), name


@each_case
def test_every_workload_says_what_it_needs_and_how_it_ends(values: Path) -> None:
    documents = render(values)
    for name, container in containers(documents):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        assert "cpu" not in container["resources"]["limits"], f"{name}: throttling stutters every viewer at once"
    for document in kinds(documents, "Deployment", "StatefulSet"):
        assert document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 0


@pytest.mark.parametrize("workload", ["Deployment", "StatefulSet"])
def test_liveness_asks_the_process_only(workload: str) -> None:
    [container] = kinds(render(case("sqlite")), workload)[0]["spec"]["template"]["spec"]["containers"]
    paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


@each_case
def test_the_controller_knows_every_proxy_by_an_address_that_exists(values: Path) -> None:
    documents = render(values)
    [proxies] = kinds(documents, "StatefulSet")
    [controller] = kinds(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    urls = json.loads(environment(controller)["PENSTOCK_PROXIES"]["value"])
    name, service = proxies["metadata"]["name"], proxies["spec"]["serviceName"]
    assert urls == [
        f"http://{name}-{ordinal}.{service}.{NAMESPACE}.svc:8090" for ordinal in range(proxies["spec"]["replicas"])
    ]
    [headless] = [item for item in kinds(documents, "Service") if item["metadata"]["name"] == service]
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["publishNotReadyAddresses"] is True


@each_case
def test_both_houses_get_the_same_control_token(values: Path) -> None:
    documents = render(values)
    found = {
        json.dumps(setting["valueFrom"])
        for _, container in containers(documents)
        for variable, setting in environment(container).items()
        if variable.endswith("CONTROL_TOKEN")
    }
    assert len(found) == 1


@each_case
def test_variables_are_defined_before_they_are_expanded(values: Path) -> None:
    for name, container in containers(render(values)):
        seen: set[str] = set()
        for variable in container["env"]:
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= seen, (name, variable)
            seen.add(variable["name"])


def backends(documents: tuple[Document, ...]) -> dict[tuple[str, str], str]:
    [ingress] = kinds(documents, "Ingress")
    return {
        (rule["host"], path["path"]): path["backend"]["service"]["name"]
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }


def test_one_proxy_shares_the_host_of_the_page() -> None:
    host = "penstock.example.org"
    assert backends(render(case("ingress"))) == {
        (host, "/ts"): "gateway-penstock-proxy",
        (host, "/hls"): "gateway-penstock-proxy",
        (host, "/thumb"): "gateway-penstock-proxy",
        (host, "/"): "gateway-penstock-controller",
    }


def test_many_proxies_have_a_host_each() -> None:
    media = {
        (f"tv-{ordinal}.example.org", path): f"gateway-penstock-proxy-{ordinal}"
        for ordinal in range(3)
        for path in ("/ts", "/hls", "/thumb")
    }
    expected = media | {("penstock.example.org", "/"): "gateway-penstock-controller"}
    assert backends(render(case("postgres"))) == expected


@each_case
def test_ingress_leads_to_services_that_exist_and_never_to_the_control_api(values: Path) -> None:
    documents = render(values)
    services = {service["metadata"]["name"] for service in kinds(documents, "Service")}
    for ingress in kinds(documents, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]["name"]
                assert service in services
                assert "controller" in service or path["path"] in {"/ts", "/hls", "/thumb"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("sqlite", "http://$(POD_NAME).gateway-penstock-proxy-headless.media.svc:8090"),
        ("ingress", "https://penstock.example.org"),
        ("postgres", "https://tv-$(POD_ORDINAL).example.org"),
        ("everything", "http://tv-$(POD_ORDINAL).example.org:8443"),
    ],
)
def test_public_url(values: str, expected: str) -> None:
    [proxy] = kinds(render(case(values)), "StatefulSet")[0]["spec"]["template"]["spec"]["containers"]
    assert environment(proxy)["PENSTOCK_PROXY_PUBLIC_URL"]["value"] == expected


def test_sqlite_keeps_one_writer_and_its_file() -> None:
    documents = render(case("sqlite"))
    [controller] = kinds(documents, "Deployment")
    assert controller["spec"]["strategy"] == {"type": "Recreate"}
    [claim] = kinds(documents, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    [container] = controller["spec"]["template"]["spec"]["containers"]
    url = environment(container)["PENSTOCK_DATABASE_URL"]["value"]
    folders = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data"]
    assert [str(Path(url.removeprefix("sqlite:///")).parent)] == folders


def test_on_postgres_a_new_controller_stands_by_before_the_old_one_goes() -> None:
    documents = render(case("postgres"))
    [controller] = kinds(documents, "Deployment")
    assert controller["spec"]["replicas"] == 2
    assert controller["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budgets = [document["metadata"]["name"] for document in kinds(documents, "PodDisruptionBudget")]
    assert controller["metadata"]["name"] in budgets
    alone = render(case("postgres"), "--set", "controller.replicas=1")
    assert controller["metadata"]["name"] not in [d["metadata"]["name"] for d in kinds(alone, "PodDisruptionBudget")]


@each_case
def test_the_schema_is_migrated_once_before_the_controller_starts(values: Path) -> None:
    documents = render(values)
    migrating = [name for name, container in containers(documents) if container["name"] == "migrations"]
    assert len(migrating) == 1
    [controller] = kinds(documents, "Deployment")
    for job in kinds(documents, "Job"):
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert kinds(documents, "Job") or controller["spec"]["template"]["spec"]["initContainers"]


def test_postgres_needs_no_volume() -> None:
    documents = render(case("postgres"))
    assert not kinds(documents, "PersistentVolumeClaim")
    [container] = kinds(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert environment(container)["PENSTOCK_DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {
        "name": "penstock-postgres",
        "key": "uri",
    }


@each_case
def test_the_data_folder_can_be_written_to(values: Path) -> None:
    """The root file system is read-only, so every folder that a process writes to must lie on a volume."""
    for name, container in containers(render(values)):
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        folder = environment(container).get("PENSTOCK_DATA_DIR")
        assert folder is None or folder["value"] in mounts, name


def test_a_new_chart_version_restarts_no_proxy() -> None:
    """Versions in a pod's labels would roll every proxy, and every viewer, for a comment in the chart."""
    for name, pod in pods(render(case("everything"))):
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & pod["metadata"]["labels"].keys(), name


# --- settings -------------------------------------------------------------------------------------------------------


READERS = {
    "controller": ("controller.settings", "Settings"),
    "migrations": ("controller.settings", "DatabaseSettings"),
    "proxy": ("proxy.settings", "Settings"),
}


@each_case
@pytest.mark.parametrize("name", READERS)
def test_every_variable_is_a_setting_and_every_value_is_accepted(
    values: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, model = READERS[name]
    settings = getattr(importlib.import_module(module), model)
    prefix = settings.model_config["env_prefix"]
    known = {f"{prefix}{field}".upper() for field in settings.model_fields}
    for variable in [variable for variable in os.environ if variable.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)
    for container in [container for _, container in containers(render(values)) if container["name"] == name]:
        variables = environment(container)
        unknown = variables.keys() - NOT_SETTINGS - known
        assert not unknown, f"the chart sets what {name} does not read: {sorted(unknown)}"
        for variable in variables.keys() - NOT_SETTINGS:
            monkeypatch.setenv(variable, as_kubelet(variable, variables[variable]))
        settings()


def as_kubelet(variable: str, given: Document) -> str:
    """What the container would find in its environment."""
    if "valueFrom" in given:
        return (
            "postgresql://me:secret@postgres/penstock"
            if variable.endswith("_URL")
            else "a-secret-of-32-characters-or-more"
        )
    value: str = given["value"]
    return value.replace("$(POD_NAME)", "gateway-penstock-proxy-0").replace("$(POD_ORDINAL)", "0")


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "changes", "complaint"),
    [
        pytest.param("sqlite", ["controller.replicas=2"], "one file on one volume", id="two controllers on SQLite"),
        pytest.param("sqlite", ["migrations.mode=job"], "needs database.mode=postgres", id="a hook on a SQLite volume"),
        pytest.param("sqlite", ["mqtt.url="], "mqtt.url is required", id="no broker"),
        pytest.param("sqlite", ["secrets.existingSecret="], "needs a Secret for PENSTOCK", id="no secret"),
        pytest.param("sqlite", ["mqtt.url=mqtt://me:secret@broker"], "mqtt", id="a password in the broker's URL"),
        pytest.param("ingress", ["ingress.host="], "ingress.host is required", id="an Ingress without a host"),
        pytest.param("ingress", ["proxy.replicas=2"], "a host of its own", id="proxies that share a host"),
        pytest.param(
            "postgres", ["proxy.publicUrl=https://tv.example.org"], "must hold {ordinal}", id="one URL for all"
        ),
        pytest.param(
            "postgres",
            ["proxy.publicUrl=https://tv.example.org:800{ordinal}"],
            "in its host",
            id="proxies told apart by port",
        ),
        pytest.param(
            "sqlite", ["proxy.publicUrl=https://tv.example.org/media"], "publicUrl", id="a path in the public URL"
        ),
        pytest.param("sqlite", ["contoller.replicas=1"], "contoller", id="an unknown block"),
        pytest.param("sqlite", ["proxy.replica=2"], "replica", id="an unknown key"),
        pytest.param("sqlite", ["proxy.replicas=two"], "proxy.replicas", id="a word for a number"),
        pytest.param("sqlite", ["proxy.replicas=0"], "proxy.replicas", id="no proxy"),
        pytest.param("sqlite", ["database.mode=mysql"], "database.mode", id="another database"),
        pytest.param("sqlite", ["image.tag=latest"], "image.tag", id="a tag that moves"),
        pytest.param("sqlite", ["podSecurity.runAsUser=0"], "runAsUser", id="root"),
    ],
)
def test_refused(values: str, changes: list[str], complaint: str) -> None:
    done = template(case(values), *(f"--set={change}" for change in changes))
    assert done.returncode != 0
    assert complaint in done.stderr


def test_old_clusters_are_refused() -> None:
    done = template(case("sqlite"), "--kube-version", "1.27.0")
    assert done.returncode != 0
    assert "kubeVersion" in done.stderr


# --- values and their schema ----------------------------------------------------------------------------------------


def objects(schema: Document, path: str = "") -> Iterator[tuple[str, Document]]:
    if schema.get("type") == "object":
        yield path, schema
    for group in ("properties", "definitions"):
        for name, inner in schema.get(group, {}).items():
            if isinstance(inner, dict):
                yield from objects(inner, f"{path}.{group}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from objects(schema["items"], f"{path}[]")


def test_the_schema_refuses_what_it_does_not_know() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    open_objects = {path for path, found in objects(schema) if found.get("additionalProperties", True) is True}
    # Kubernetes' own objects are passed through as they are; "global" is Helm's.
    assert open_objects == {".definitions.kubernetesObject", ".properties.global"}


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(values, dict) or not values:
        yield path
        return
    for key, inner in values.items():
        yield from leaves(inner, (*path, key))


def test_every_value_is_in_the_schema_and_every_schema_key_in_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(schema: Document, values: Document, path: str) -> None:
        if "$ref" in schema:
            schema = root["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        if schema.get("additionalProperties") is not False or not isinstance(values, dict):
            return
        assert schema["properties"].keys() - {"global"} == values.keys() or path.endswith(".resources"), path
        for key, inner in values.items():
            compare(schema["properties"][key], inner, f"{path}.{key}")

    root = schema
    compare(schema, values, "")


def test_every_value_is_used() -> None:
    """A key that no template reads is a promise that the chart does not keep."""
    templates = "\n".join(path.read_text() for path in CHART.glob("templates/*"))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    whole_blocks = {
        ("secrets",),
        ("controller", "resources"),
        ("proxy", "resources"),
        ("podSecurity",),
        ("networkPolicy",),
    }
    unused = [
        ".".join(path)
        for path in leaves(values)
        if not any(path[: len(block)] == block for block in whole_blocks)
        and not re.search(rf"(Values|\$values)\.{re.escape('.'.join(path))}\b", templates)
    ]
    assert not unused


def test_notes_lead_to_the_page(tmp_path: Path) -> None:
    """Helm prints NOTES.txt only to a cluster; a copy of the chart renders the same text into a document."""
    copy = shutil.copytree(CHART, tmp_path / "penstock")
    (copy / "templates" / "NOTES.txt").rename(copy / "notes.txt")
    (copy / "templates" / "notes.yaml").write_text('kind: Notes\ntext: {{ tpl (.Files.Get "notes.txt") . | toJson }}\n')
    done = helm(
        "template", "gateway", str(copy), "--values", str(case("ingress")), "--show-only", "templates/notes.yaml"
    )
    assert done.returncode == 0, done.stderr
    assert "https://penstock.example.org/" in yaml.safe_load(done.stdout)["text"]


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert chart["appVersion"] == version[1]
