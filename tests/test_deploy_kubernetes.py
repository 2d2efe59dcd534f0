"""Kubernetes: what is rendered fits the real schemas, and is safe and consistent.

No cluster is here. `kubectl kustomize` (of a package) renders every overlay; the strict
schemas of each claimed version of Kubernetes come from the package kubernetes-validate.
"""

import copy
import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from referencing import Registry, Resource

from . import variants
from .support import ROOT, run

Render = Callable[..., Path]
Document = dict[str, Any]
OVERLAYS = ("staging", "production", "canary", "kserve", "kserve-canary")
VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")
KINDS = {
    "ConfigMap",
    "CronJob",
    "Deployment",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
}
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
# Not part of this repository: the predictor's part of KServe's custom resource.
KSERVE = ROOT.parent / "shared/schemas/kserve-inferenceservice-v1beta1.schema.json"
# Without it, at least no other field than these is used, which were checked against it.
KSERVE_FIELDS = {
    *("canaryTrafficPercent", "containers", "maxReplicas", "minReplicas"),
    *("scaleMetric", "scaleTarget", "serviceAccountName", "timeout", "volumes"),
    *("args", "envFrom", "image", "livenessProbe", "name", "ports", "readinessProbe"),
    *("resources", "securityContext", "volumeMounts"),
}
# Below these, people choose the names.
FREE = {
    *("annotations", "data", "labels", "limits", "matchLabels", "pairs", "requests"),
    "selector",  # of a Service
}


def manifests(folder: Path, overlay: str) -> list[Document]:
    """Return what kubectl would send to the cluster."""
    path = folder / "deploy/kubernetes/overlays" / overlay
    text = run("kubectl", "kustomize", path, cwd=folder).stdout
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def overlays(rendered: Render) -> dict[str, list[Document]]:
    """The manifests of each overlay."""
    folder = rendered(serving="kubernetes", tracking="server")
    return {name: manifests(folder, name) for name in OVERLAYS}


@functools.cache
def schema_of(version: str, kind: str, api_version: str) -> Any:
    """Return the strict validator of a kind in a version of Kubernetes."""
    folder = SCHEMAS / f"v{version}.0-local-strict"
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = json.loads((folder / f"{kind.lower()}-{group}.json").read_text())
    registry = definitions_of(version).with_resource("", Resource.from_contents(schema))
    return jsonschema.Draft202012Validator(schema, registry=registry)


@functools.cache
def definitions_of(version: str) -> Registry[Any]:
    """Return what the schemas of a version refer to."""
    file = SCHEMAS / f"v{version}.0-local-strict" / "_definitions.json"
    found = Resource.from_contents(json.loads(file.read_text()))
    return found @ Registry()


def faults(document: Document, version: str = VERSIONS[-1]) -> list[str]:
    """Return in what a manifest does not fit its schema."""
    if document["kind"] == "InferenceService":
        validator = kserve_schema()
    else:
        validator = schema_of(version, document["kind"], document["apiVersion"])
    return [error.message for error in validator.iter_errors(document)]


@functools.cache
def kserve_schema() -> Any:
    """Return KServe's schema where it is at hand, else one of the fields in use."""
    if KSERVE.is_file():
        schema = json.loads(KSERVE.read_text())
        return jsonschema.Draft202012Validator(schema)
    nothing_else = {"propertyNames": {"enum": sorted(KSERVE_FIELDS)}}
    containers = {"properties": {"containers": {"items": nothing_else}}}
    predictor = {"properties": {"predictor": {**nothing_else, **containers}}}
    return jsonschema.Draft202012Validator({"properties": {"spec": predictor}})


def pods_of(document: Document) -> list[Document]:
    """Return the specifications of the pods that a manifest makes."""
    spec = document.get("spec", {})
    if document["kind"] == "Deployment":
        return [spec["template"]["spec"]]
    if document["kind"] == "CronJob":
        return [spec["jobTemplate"]["spec"]["template"]["spec"]]
    return [spec["predictor"]] if document["kind"] == "InferenceService" else []


def by_kind(documents: list[Document], kind: str) -> list[Document]:
    """Return the manifests of a kind."""
    return [document for document in documents if document["kind"] == kind]


# What is rendered ---------------------------------------------------------------------
@pytest.mark.parametrize("answers", variants.all_pairs(), ids=variants.label)
def test_manifests_are_rendered_only_where_kubernetes_is_chosen(
    rendered: Render, answers: variants.Answers
) -> None:
    folder = rendered(**answers)
    chosen = answers["serving"] == "kubernetes"
    assert (folder / "deploy/kubernetes").exists() == chosen
    for overlay in OVERLAYS if chosen else ():
        assert len(manifests(folder, overlay)) > 2


@pytest.mark.parametrize("package_name", ["a", "a" * 60, f"{'a' * 49}_{'b' * 10}"])
def test_names_are_legal_however_long_the_package_is_called(
    render: Render, package_name: str
) -> None:
    folder = render(serving="kubernetes", tracking="server", package_name=package_name)
    for document in manifests(folder, "canary") + manifests(folder, "production"):
        meta = document["metadata"]
        for name in (meta["name"], meta["namespace"], *meta.get("labels", {}).values()):
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)
        assert document["kind"] != "CronJob" or len(meta["name"]) <= 52


# Schemas ------------------------------------------------------------------------------
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schemas_of_each_version(
    overlays: dict[str, list[Document]], version: str
) -> None:
    documents = [one for found in overlays.values() for one in found]
    assert {one["kind"] for one in documents} == KINDS | {"InferenceService"}
    assert [faults(one, version) for one in documents if faults(one, version)] == []


def test_the_base_says_for_which_version_it_is_written(rendered: Render) -> None:
    folder = rendered(serving="kubernetes", tracking="server")
    text = (folder / "deploy/kubernetes/base/kustomization.yaml").read_text()
    assert f"Kubernetes {VERSIONS[0]} and later" in text
    assert f"v{VERSIONS[-1]}.0-local-strict" == max(
        (path.name for path in SCHEMAS.iterdir() if path.name.endswith("strict")),
        key=lambda name: [int(n) for n in re.findall(r"\d+", name)],
    ), "Kubernetes has a newer version."


def misspellings(value: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield a manifest again and again, one of its keys misspelt each time."""
    if isinstance(value, dict) and not (path and path[-1] in FREE):
        for key in value:
            wrong = {k if k != key else f"{k}x": v for k, v in value.items()}
            yield ".".join([*path, key]), wrong
    items: Any = value.items() if isinstance(value, dict) else []
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        for where, wrong in misspellings(item, *path, str(key)):
            changed = copy.copy(value)
            changed[key] = wrong
            yield where, changed


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_misspelt_key_of_each_kind_is_found(
    overlays: dict[str, list[Document]], kind: str
) -> None:
    (document, *_) = by_kind(overlays["production"], kind)
    tried = [
        (where, faults(wrong))
        for where, wrong in misspellings(document)
        if where not in ("kind", "apiVersion")  # these choose the schema
    ]
    assert len(tried) > 3
    assert [where for where, found in tried if not found] == []


@pytest.mark.parametrize("overlay", ["kserve", "kserve-canary"])
def test_each_misspelt_field_of_kserve_is_found(
    overlays: dict[str, list[Document]], overlay: str
) -> None:
    (document,) = by_kind(overlays[overlay], "InferenceService")
    tried = dict(misspellings(document["spec"], "spec"))
    shallow = {w: c for w, c in tried.items() if KSERVE.is_file() or w.count(".") == 2}
    shallow.pop("spec.predictor.containers.0.name", None)
    assert len(shallow) > 4
    missed = [
        w for w, spec in shallow.items() if not faults({**document, "spec": spec})
    ]
    assert missed == []


def test_the_fields_of_kserve_that_are_used_are_the_listed_ones(
    overlays: dict[str, list[Document]],
) -> None:
    predictors = [
        by_kind(overlays[name], "InferenceService")[0]["spec"]["predictor"]
        for name in ("kserve", "kserve-canary")
    ]
    used = {key for one in predictors for key in [*one, *one["containers"][0]]}
    assert used == KSERVE_FIELDS
    if KSERVE.is_file():
        spec = json.loads(KSERVE.read_text())["properties"]["spec"]["properties"]
        known = spec["predictor"]["properties"]
        known |= known["containers"]["items"]["properties"]
        assert KSERVE_FIELDS - known.keys() == set()


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec.template.spec.terminationGracePeriodSeconds", "soon"),
        ("Service", "spec.ports", {"port": 80}),
        ("HorizontalPodAutoscaler", "spec.maxReplicas", "10"),
        ("CronJob", "spec.suspend", "no"),
    ],
)
def test_a_value_of_the_wrong_type_is_found(
    overlays: dict[str, list[Document]], kind: str, path: str, value: Any
) -> None:
    document = copy.deepcopy(by_kind(overlays["production"], kind)[0])
    *parents, last = path.split(".")
    functools.reduce(dict.__getitem__, parents, document)[last] = value
    assert faults(document)


# The restricted profile ---------------------------------------------------------------
VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}


def not_restricted(pod: Document) -> list[str]:
    """Return what the restricted profile of the Pod Security Standards forbids."""
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    found += [
        f"volume {volume['name']}"
        for volume in pod.get("volumes", [])
        if not VOLUMES & volume.keys()
    ]
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        both = {**pod.get("securityContext", {}), **own}
        rules = {
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "privileged": not own.get("privileged"),
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "hostPort": not any("hostPort" in p for p in container.get("ports", [])),
        }
        found += [rule for rule, kept in rules.items() if not kept]
    return found


def test_every_pod_passes_the_restricted_profile_and_has_a_read_only_root(
    overlays: dict[str, list[Document]],
) -> None:
    pods = [pod for found in overlays.values() for one in found for pod in pods_of(one)]
    assert len(pods) == 9
    for pod in pods:
        assert not_restricted(pod) == []
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        user = {**pod.get("securityContext", {}), **container["securityContext"]}
        assert user["runAsUser"] == 10001
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted <= {"/tmp", "/app/data"}


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("hostNetwork", {"hostNetwork": True}),
        ("volume disk", {"volumes": [{"name": "disk", "hostPath": {"path": "/"}}]}),
        ("seccompProfile", {"securityContext": {"runAsNonRoot": True}}),
        ("runAsNonRoot", {"securityContext": {}}),
        ("capabilities", {"containers": [{"securityContext": {}}]}),
        (
            "privileged",
            {"containers": [{"securityContext": {"privileged": True}}]},
        ),
        ("hostPort", {"containers": [{"ports": [{"hostPort": 1}]}]}),
    ],
)
def test_what_is_not_restricted_is_noticed(
    overlays: dict[str, list[Document]], rule: str, change: Document
) -> None:
    (pod,) = pods_of(by_kind(overlays["production"], "Deployment")[0])
    assert rule in not_restricted({**pod, **change})


def test_no_pod_gets_a_token_for_the_cluster(
    overlays: dict[str, list[Document]],
) -> None:
    for documents in overlays.values():
        (account,) = by_kind(documents, "ServiceAccount")
        assert account["automountServiceAccountToken"] is False
        for pod in [pod for one in documents for pod in pods_of(one)]:
            assert pod["serviceAccountName"] == account["metadata"]["name"]


# Names that meet ----------------------------------------------------------------------
def matches(selector: Document, labels: Document) -> bool:
    """Tell whether labels are selected."""
    return selector.items() <= labels.items()


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_what_is_named_is_there(
    overlays: dict[str, list[Document]], overlay: str
) -> None:
    documents = overlays[overlay]
    (server,) = by_kind(documents, "Deployment")
    template = server["spec"]["template"]
    labels = template["metadata"]["labels"]
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    (service,) = by_kind(documents, "Service")
    assert matches(service["spec"]["selector"], labels)
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert f"--port={ports['http']}" in container["args"]
    assert "--host=0.0.0.0" in container["args"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[kind]["httpGet"]["port"] in ports
    (scaler,) = by_kind(documents, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (
        "Deployment",
        server["metadata"]["name"],
    )
    assert "replicas" not in server["spec"]
    assert scaler["spec"]["minReplicas"] >= (3 if overlay == "production" else 1)
    (budget,) = by_kind(documents, "PodDisruptionBudget")
    assert matches(budget["spec"]["selector"]["matchLabels"], labels)
    for spread in template["spec"]["topologySpreadConstraints"]:
        assert matches(spread["labelSelector"]["matchLabels"], labels)
    guarding = [
        policy["metadata"]["name"]
        for policy in by_kind(documents, "NetworkPolicy")
        if matches(policy["spec"]["podSelector"]["matchLabels"], labels)
    ]
    assert sorted(guarding) == ["model-server", "outwards"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_come_from_a_map_and_sign_in_from_a_secret_that_is_in_no_file(
    overlays: dict[str, list[Document]], overlay: str
) -> None:
    documents = overlays[overlay]
    (settings,) = by_kind(documents, "ConfigMap")
    assert settings["data"] == {"MLFLOW_TRACKING_URI": "https://mlflow.example.org"}
    assert by_kind(documents, "Secret") == []
    for pod in [pod for one in documents for pod in pods_of(one)]:
        for container in pod["containers"]:
            assert container["envFrom"] == [
                {"configMapRef": {"name": settings["metadata"]["name"]}},
                {"secretRef": {"name": "sign-in"}},
            ]
            assert "env" not in container


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_says_what_it_needs_and_none_may_take_more_memory(
    overlays: dict[str, list[Document]], overlay: str
) -> None:
    for pod in [pod for one in overlays[overlay] for pod in pods_of(one)]:
        for container in pod["containers"]:
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"]
            assert resources["requests"]["cpu"] == "1"
            assert "cpu" not in resources["limits"]


def test_a_pod_may_finish_what_it_accepted(
    overlays: dict[str, list[Document]],
) -> None:
    (server,) = by_kind(overlays["production"], "Deployment")
    (pod,) = pods_of(server)
    drain = int(re.search(r"--drain-seconds=(\d+)", str(pod["containers"]))[1])
    assert pod["terminationGracePeriodSeconds"] >= drain + 30 + 5
    probe = pod["containers"][0]["readinessProbe"]
    assert drain > probe["periodSeconds"] * probe["failureThreshold"]
    update = server["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxUnavailable": 0, "maxSurge": 1}


# Canaries -----------------------------------------------------------------------------
def test_the_canary_joins_the_service_and_is_counted_by_nobody_else(
    overlays: dict[str, list[Document]],
) -> None:
    production, found = overlays["production"], overlays["canary"]
    assert {one["kind"] for one in found} == {
        "ConfigMap",
        "Deployment",
        "ServiceAccount",
    }
    names = {(one["kind"], one["metadata"]["name"]) for one in found}
    assert not names & {(one["kind"], one["metadata"]["name"]) for one in production}
    (canary,), (stable,) = (by_kind(d, "Deployment") for d in (found, production))
    assert canary["spec"]["replicas"] == 1
    labels = canary["spec"]["template"]["metadata"]["labels"]
    (service,) = by_kind(production, "Service")
    assert matches(service["spec"]["selector"], labels)
    assert matches(canary["spec"]["selector"]["matchLabels"], labels)
    assert not matches(stable["spec"]["selector"]["matchLabels"], labels)
    (mine,), (theirs,) = pods_of(canary), pods_of(stable)
    changed = set(mine["containers"][0]["args"]) ^ set(theirs["containers"][0]["args"])
    assert changed == {
        f"models:/mortgage_approval@{a}" for a in ("champion", "challenger")
    }


def test_the_canary_of_kserve_gets_a_tenth(overlays: dict[str, list[Document]]) -> None:
    (stable,), (canary,) = (
        by_kind(overlays[name], "InferenceService")
        for name in ("kserve", "kserve-canary")
    )
    share = canary["spec"]["predictor"].pop("canaryTrafficPercent")
    assert share == 10
    model = canary["spec"]["predictor"]["containers"][0]["args"]
    assert model[2] == "models:/mortgage_approval@challenger"
    model[2] = "models:/mortgage_approval@champion"
    assert canary == stable
    predictor = stable["spec"]["predictor"]
    assert predictor["minReplicas"] == 0 < predictor["maxReplicas"]
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("concurrency", 8)
    replaced = {"Deployment", "Service", "HorizontalPodAutoscaler"}
    assert not replaced & {one["kind"] for one in overlays["kserve"]}
