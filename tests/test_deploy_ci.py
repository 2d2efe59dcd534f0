"""CI scans, pushes and deploys what it built; and everything that is pinned, and how.

No engine, registry or cluster is here: docker and kubectl are replaced by scripts that
write down how they were called, and answer as the real ones do.
"""

import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from . import variants
from .support import environment, join_path, run
from .test_kit import PIPELINES, Step, pipeline_of, steps_of
from .test_render import files_of

Render = Callable[..., Path]
HOSTS = pytest.mark.parametrize("ci", PIPELINES)
DIGEST = f"sha256:{'0a' * 32}"
IMAGE = "registry.example.org/team/model"
STAND_IN = f"""#!{sys.executable}
import pathlib, sys
name, *words = pathlib.Path(sys.argv[0]).name, *sys.argv[1:]
reads = "--password-stdin" in words or "--interactive" in words or "--stdin" in words
given = sys.stdin.read() if reads else ""
with open(pathlib.Path(__file__).with_name("calls"), "a") as file:
    print([name, *words, given], file=file)
if words[0] == "push":
    print("latest: digest: {DIGEST} size: 1234")
if "anchore/syft" in str(words):
    print('{{"spdxVersion": "SPDX-2.3"}}')
sys.exit("anchore/grype" in str(words) and "high" in given)
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """A folder with programs that write down how they are called."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    for name in ("docker", "kubectl"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    return folder


def execute(step: Step, stand_ins: Path, cwd: Path, **settings: str) -> list[list[str]]:
    """Execute a step as a host does, and return the calls of docker and kubectl."""
    calls = stand_ins / "calls"
    calls.unlink(missing_ok=True)
    env = environment(**settings)
    env["PATH"] = join_path(stand_ins, env["PATH"])
    run("bash", "-e", "-o", "pipefail", "-c", step.command, cwd=cwd, env=env)
    lines = calls.read_text().splitlines()
    return [list(ast.literal_eval(line)) for line in lines]


def tools_of(folder: Path, ci: str) -> dict[str, str]:
    """Return the images of the tools that a CI file names."""
    text = yaml.safe_dump(pipeline_of(folder, ci))
    return dict(re.findall(r"\b(SYFT_IMAGE|GRYPE_IMAGE): (\S+)", text))


@HOSTS
def test_what_is_built_is_listed_and_scanned_before_it_is_pushed(
    rendered: Render, stand_ins: Path, tmp_path: Path, ci: str
) -> None:
    folder = rendered(ci=ci)
    commands = [step.command for step in steps_of(folder, ci)]
    order = ("docker build ", "$SYFT_IMAGE", "$GRYPE_IMAGE", "docker push ")
    (built, listed, scanned, pushed) = [
        next(i for i, c in enumerate(commands) if name in c) for name in order
    ]
    assert built < listed < scanned < pushed
    assert "--target serve" in commands[built]
    tools = tools_of(folder, ci)
    steps = steps_of(folder, ci)
    ((*_, image, candidate, _, form, _),) = execute(
        steps[listed], stand_ins, tmp_path, **tools
    )
    assert (image, form) == (tools["SYFT_IMAGE"], "spdx-json")
    assert candidate.removeprefix("docker:") == "candidate"
    sbom = tmp_path / "sbom.spdx.json"
    assert json.loads(sbom.read_text())["spdxVersion"] == "SPDX-2.3"
    ((*_, given),) = execute(steps[scanned], stand_ins, tmp_path, **tools)
    assert given == sbom.read_text()
    sbom.write_text("high")
    with pytest.raises(AssertionError, match="ended with 1"):
        execute(steps[scanned], stand_ins, tmp_path, **tools)


@HOSTS
def test_the_image_is_pushed_by_commit_and_the_password_is_no_argument(
    rendered: Render, stand_ins: Path, tmp_path: Path, ci: str
) -> None:
    (step,) = [s for s in steps_of(rendered(ci=ci), ci) if "docker push" in s.command]
    output = tmp_path / "output"
    calls = execute(
        step,
        stand_ins,
        tmp_path,
        IMAGE=IMAGE,
        CI_REGISTRY="registry.example.org",
        CI_REGISTRY_IMAGE=IMAGE,
        CI_REGISTRY_USER="robot",
        CI_REGISTRY_PASSWORD="hush",
        CI_COMMIT_BRANCH="main",
        CI_DEFAULT_BRANCH="main",
        CI_COMMIT_SHA="c0ffee",
        BUILD_SOURCEVERSION="c0ffee",
        GITHUB_SHA="c0ffee",
        GITHUB_OUTPUT=str(output),
        REGISTRY_USER="robot",
        REGISTRY_PASSWORD="hush",
    )
    login, tag, push = calls
    assert login[:3] == ["docker", "login", "registry.example.org"]
    assert "hush" not in login[:-1]
    assert login[-1] == "hush"
    assert tag[:4] == ["docker", "tag", "candidate", f"{IMAGE}:c0ffee"]
    assert push[:3] == ["docker", "push", f"{IMAGE}:c0ffee"]
    if ci == "github":
        assert output.read_text() == f"pushed={IMAGE}@{DIGEST}\n"


def test_only_main_is_pushed_and_only_what_was_pushed_is_deployed(
    rendered: Render,
) -> None:
    folder = rendered(serving="kubernetes", tracking="server")
    jobs = pipeline_of(folder, "github")["jobs"]
    (push,) = [s for s in jobs["image"]["steps"] if s.get("name") == "Push"]
    assert push["if"] == "github.event_name == 'push' && env.IMAGE != ''"
    for name, needs in {
        "staging": ["image"],
        "production": ["image", "staging"],
    }.items():
        assert jobs[name]["if"] == "needs.image.outputs.pushed != ''"
        assert jobs[name]["needs"] == needs
        assert jobs[name]["environment"] == name
    azure = rendered(serving="rest", ci="azure") / "azure-pipelines.yml"
    assert "condition: and(succeeded(), eq(variables['Build.SourceBranch']" in (
        azure.read_text()
    )


@pytest.mark.parametrize("environment_name", ["staging", "production"])
def test_a_deployment_applies_the_digest_waits_and_asks(
    render: Render, stand_ins: Path, tmp_path: Path, environment_name: str
) -> None:
    folder = render(serving="kubernetes", tracking="server")
    job = pipeline_of(folder, "github")["jobs"][environment_name]
    step = Step(job["steps"][-1]["run"])
    settings = {"RUNNER_TEMP": str(tmp_path), "KUBE_CONFIG": "clusters: []"}
    pushed = f"{IMAGE}@{DIGEST}"
    calls = execute(step, stand_ins, folder, PUSHED=pushed, **settings)
    apply, wait, ask = calls
    overlay = f"deploy/kubernetes/overlays/{environment_name}"
    assert apply[1:4] == ["apply", "--kustomize", overlay]
    namespace = f"mortgage-approval-{environment_name}"
    assert wait[1:] == [
        *("--namespace", namespace, "rollout", "status"),
        *("deployment/model-server", "--timeout", "10m", ""),
    ]
    assert ask[1:5] == ["--namespace", namespace, "exec", "--stdin"]
    assert ask[-2] == "models:/mortgage_approval@champion"
    assert ask[-1] == (folder / "deploy/kubernetes/smoke.py").read_text()
    kubeconfig = tmp_path / "kubeconfig"
    assert kubeconfig.read_text() == "clusters: []"
    assert kubeconfig.stat().st_mode & 0o077 == 0
    shown = run("kubectl", "kustomize", overlay, cwd=folder).stdout
    assert set(re.findall(r"image: (\S+)", shown)) == {pushed}
    # Again, with the next one.
    again = pushed.replace("0a", "0b")
    execute(step, stand_ins, folder, PUSHED=again, **settings)
    shown = run("kubectl", "kustomize", overlay, cwd=folder).stdout
    assert set(re.findall(r"image: (\S+)", shown)) == {again}
    with pytest.raises(AssertionError, match="Name the image by digest"):
        execute(step, stand_ins, folder, PUSHED=f"{IMAGE}:latest", **settings)


# Pins and names -----------------------------------------------------------------------
ANSWERS = {"serving": "kubernetes", "tracking": "server"}
EXACT = r"v?\d+\.\d+(\.\d+)?(-[a-z]+)*"
# Where each is named; Renovate raises them, and pins images and actions by digest.
PINS = {
    "anchore/grype": "tag",
    "anchore/syft": "tag",
    "chrislusf/seaweedfs": "tag",
    "postgres": "tag",
    "python": "tag",
    "registry.example.org/mortgage-approval": "tag",  # the project's own
    "actions/checkout": "digest",
    "actions/download-artifact": "digest",
    "actions/upload-artifact": "digest",
    "astral-sh/setup-uv": "digest",
    "boto3": "version",
    "Flask-WTF": "version",
    "psycopg": "version",
    "uv": "version",
}


def pins_of(folder: Path) -> dict[str, str]:
    """Return what a rendered folder takes from elsewhere, and how it is pinned."""
    found: dict[str, str] = {}
    for name, path in files_of(folder).items():
        text = path.read_text("utf-8", "replace") if path.suffix != ".csv" else ""
        if "Dockerfile" in name:
            pattern = r"depName=(\S+)\nARG \w+_VERSION=(\S+)"
            for package, version in re.findall(pattern, text):
                assert re.fullmatch(EXACT, version)
                found[package] = "version"
        images = re.findall(
            r"(?m)^[^#\n]*\b(?:image|\w+_IMAGE)[:=] ?([\w./-]+:\S+)", text
        )
        images += [
            f"{image}:{tag}"
            for image, tag in re.findall(r"newName: (\S+)\n +newTag: (\S+)", text)
        ]
        for image in images:
            package, tag = image.rsplit(":", 1)
            found[package] = "tag" if re.fullmatch(EXACT, tag) else "MOVES"
        for action, ref in re.findall(r"uses: ([\w/-]+)@(\S+)", text):
            if found.get(action) != "MOVES":
                exact = re.fullmatch("[0-9a-f]{40}", ref)
                found[action] = "digest" if exact else "MOVES"
    return found


def test_everything_that_comes_from_elsewhere_is_pinned_as_listed(
    rendered: Render,
) -> None:
    assert pins_of(rendered(**ANSWERS)) == PINS


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        (".github/workflows/ci.yml", r"checkout@\w+", "checkout@v7"),
        (".github/workflows/ci.yml", r"syft:\S+", "syft:latest"),
        ("deploy/compose/compose.yaml", r"postgres:\S+", "postgres:18"),
        ("Dockerfile", r"python:\S+", "python:slim"),
    ],
)
def test_what_moves_is_noticed(
    render: Render, file: str, right: str, wrong: str
) -> None:
    folder = render(**ANSWERS)
    path = folder / file
    path.write_text(re.sub(right, wrong, path.read_text()))
    assert "MOVES" in pins_of(folder).values()


# Public places that a person or a tool may be sent to; example.org belongs to nobody.
HOSTS_NAMED = {
    *("127.0.0.1", "example.org", "mlflow.example.org", "registry.example.org"),
    *("workspace.example.org", "kustomize.config.k8s.io", "docs.renovatebot.com"),
    *("serving.kserve.io", "database", "tracking", "buckets", "mlflow"),
}
SECRET = r"(?i)(password|secret|token|key)\w*[:=] *[\"']?[a-z0-9+/]{16,}"


@pytest.mark.parametrize("answers", variants.all_pairs(), ids=variants.label)
def test_no_file_of_a_deployment_names_a_company_or_holds_a_secret(
    rendered: Render, answers: variants.Answers
) -> None:
    for name, path in files_of(rendered(**answers)).items():
        if name.startswith(("deploy/", ".github/", ".gitlab", "azure-", "Dockerfile")):
            text = path.read_text("utf-8")
            named = set(
                re.findall(r"[\w+]+://(?:[^/\s@]+@)?([a-z0-9.-]+[a-z0-9])", text)
            )
            assert named <= HOSTS_NAMED, f"{name}: {named - HOSTS_NAMED}"
            assert not re.search(SECRET, text), name


def test_a_secret_and_a_company_would_be_noticed() -> None:
    for text in (
        "POSTGRES_PASSWORD: 0123456789abcdef0123",
        "token='aGVsbG8gd29ybGQh12'",
    ):
        assert re.search(SECRET, text)
