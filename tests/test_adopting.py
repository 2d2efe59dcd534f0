"""An existing project joins: nothing of it is changed, its pipelines run, one is kept.

The lines that people add are applied as the tool prints them, and no others.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from . import adopted, support
from .support import ROOT, Process, Project, commit_all, git, run
from .tutorial import read_blocks, reader

pytestmark = pytest.mark.run

Render = Callable[..., Path]
# Otherwise Kedro's telemetry tries to reach its server.
QUIET = {"DO_NOT_TRACK": "true"}
PAIRED = ("--training", "fit", "--inference", "score", "--input", "customers")


@dataclass
class Adopted:
    """A project of a team, and what adopting it did."""

    project: Project
    report: dict[str, Any]
    before: dict[str, bytes]
    """What was committed before: contents by path."""
    after: dict[str, bytes]
    """The same files right after adopting."""
    added: list[str]
    """The files that git did not know right after adopting."""


def adopt(folder: Path, *arguments: str, template: Path, check: bool = True) -> Process:
    """Run the tool on a project, with a template of its own."""
    tool = ROOT / "scripts" / "adopt.py"
    command = (sys.executable, tool, folder, "--template", template, *arguments)
    return run(*command, cwd=folder.parent, check=check)


def contents(folder: Path) -> dict[str, bytes]:
    """Return what git has of a folder: contents by path."""
    names = git("ls-files", "-z", cwd=folder).split("\0")
    return {name: (folder / name).read_bytes() for name in filter(None, names)}


def add_lines(folder: Path, report: dict[str, Any]) -> None:
    """Add to each file what the report says, where it says it."""
    for addition in report["additions"]:
        file = folder / addition["file"]
        lines = file.read_text("utf-8").splitlines()
        after = addition["after"]
        at = lines.index(after) + 1 if after else len(lines)
        lines[at:at] = addition["lines"]
        file.write_text("\n".join([*lines, ""]), "utf-8")


def join(project: Project, template: Path, *arguments: str) -> Adopted:
    """Adopt a committed project, and keep what it was before."""
    folder = project.path
    before = contents(folder)
    done = adopt(folder, *arguments, "--json", template=template)
    added = git("ls-files", "--others", "--exclude-standard", cwd=folder).split()
    return Adopted(project, json.loads(done.stdout), before, contents(folder), added)


@pytest.fixture(scope="module")
def base(render: Render) -> Path:
    """The Python of an environment with all that the template's projects need."""
    folder = render()
    support.lock(folder)
    python = support.interpreter(">=3.11,<3.14")
    assert python, "No Python from 3.11 to 3.13 is installed."
    return support.base_environment(folder, python) / "bin" / "python"


@pytest.fixture(scope="module")
def churn(
    template: Path, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Adopted:
    """A team's own style; in its environment is nothing but its requirements.txt."""
    folder = tmp_path_factory.mktemp("churn") / "churn-models"
    header = "tenure,calls,left"
    files = adopted.with_rows(adopted.CHURN, "data/01_raw/customers.csv", header)
    adopted.write_project(folder, files)
    run("uv", "venv", "--quiet", "--python", base, folder / ".venv", cwd=folder)
    command = ("uv", "pip", "install", "--quiet", "--requirement", "requirements.txt")
    project = Project(folder, "churn", base, QUIET)
    constraints = template / "template" / "constraints.txt"
    project.run(*command, "--constraint", constraints, "--editable", ".", "pytest")
    return join(project, template, *PAIRED, "--sequence", "clean,fit")


@pytest.fixture(scope="module")
def churn_paired(churn: Adopted) -> Adopted:
    """The same after the lines were added and the commands given."""
    project = churn.project
    project.run("kedro", "run")  # what ran before still runs
    add_lines(project.path, churn.report)
    install, commit, runs = churn.report["then"]
    project.run("uv", *install.split())
    assert commit.startswith("git add . && git commit")
    commit_all(project.path, "Join")
    project.run("kedro", "run", "--pipelines", "clean")
    project.run(*runs.split())
    return churn


@pytest.fixture(scope="module")
def shared(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment for projects whose dependencies are in the base's."""
    environment = tmp_path_factory.mktemp("environment") / ".venv"
    support.link_tree(base.parents[1], environment)
    return environment


@pytest.fixture(scope="module")
def pricing(
    template: Path, base: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Adopted:
    """A project that kedro-mlflow tracks already, with a paired pipeline."""
    folder = tmp_path_factory.mktemp("pricing") / "pricing"
    header = "rooms,age,price"
    files = adopted.with_rows(adopted.PRICING, "data/01_raw/offers.csv", header)
    adopted.write_project(folder, files)
    (folder / ".venv").symlink_to(shared)
    project = Project(folder, "pricing", base, QUIET)
    command = ("uv", "pip", "install", "--quiet", "--no-deps", "--editable", ".")
    project.run(*command)
    order = ("--sequence", "preparing,modelling", "--data", "task=regression")
    return join(project, template, *order)


@pytest.fixture(scope="module")
def pricing_paired(pricing: Adopted) -> Adopted:
    """The same after the lines were added."""
    pricing.project.run("kedro", "run")
    add_lines(pricing.project.path, pricing.report)
    install, *_ = pricing.report["then"]
    pricing.project.run("uv", *install.split())
    commit_all(pricing.project.path, "Join")
    pricing.project.run("kedro", "run")
    return pricing


def ask(project: Project, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the project's server predicts."""
    body = json.dumps({"dataframe_records": rows}).encode()
    headers = {"Content-Type": "application/json"}
    with project.serve() as url:
        request = Request(f"{url}/invocations", body, headers)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["predictions"]


def trace(project: Project) -> dict[str, Any]:
    """Return where the champion comes from."""
    printed = project.run("kedro", "model", "trace", "champion", "--json").stdout
    return json.loads(printed)


def prune(project: Project) -> list[dict[str, Any]]:
    """Let the rules keep nothing and delete at once; plan, apply, return what went."""
    rules = project.path / "conf" / "base" / "artifacts.yml"
    before = text = rules.read_text("utf-8")
    for kept in ("grace_days: 7", "younger_than_days: 30", "all_after_days: 180"):
        assert kept in text
        text = text.replace(kept, re.sub(r"\d+", "0", kept))
    rules.write_text(text.replace("        last: 20", "        last: 1"), "utf-8")
    project.run("kedro", "prune", "plan")
    done = project.run("kedro", "prune", "apply", "--json").stdout
    rules.write_text(before, "utf-8")
    return json.loads(done)


def runs(project: Project) -> set[str]:
    """Return the ids of the runs that are not deleted."""
    script = (
        "import mlflow\n"
        "runs = mlflow.search_runs(search_all_experiments=True, output_format='list')\n"
        "print(*(run.info.run_id for run in runs))"
    )
    return set(project.ask(script).split())


def test_adopting_changes_no_file_and_commits_nothing(churn: Adopted) -> None:
    assert churn.after == churn.before
    assert churn.added == churn.report["added"]
    assert git("log", "--format=%s", cwd=churn.project.path) == "What the team has\n"
    kept = set(churn.report["kept"])
    assert {"conf/base/globals.yml", "src/churn/settings.py", ".gitignore"} <= kept
    assert kept <= churn.before.keys()


def test_a_teams_own_style_is_paired_traced_pruned_and_served(
    churn_paired: Adopted,
) -> None:
    project = churn_paired.project
    found = trace(project)
    assert found["breaks"] == []
    assert found["versions"] == {"churn version 1": ["champion"]}
    customers = found["run"]["inputs"]["customers"]
    assert customers["written_by"]["inputs"]["customers_raw"]["rows"] == 60
    (answer,) = ask(project, [{"tenure": 59, "calls": 8}])
    assert answer["risk"] > 0.9
    assert project.run("kedro", "greet").stdout == "Hello from the churn team.\n"
    again = project.run("kedro", "model", "reproduce", "1", "--json", timeout=900)
    assert json.loads(again.stdout)["differing"] == []
    journal = (project.path / "data/08_reporting/journal.txt").read_text("utf-8")
    assert journal.split() == ["split", "risk.fit", "split", "split", "risk.fit"]
    kept = {found["run"]["run_id"], customers["written_by"]["run_id"]}
    (needless,) = runs(project) - kept
    done = [(each["id"], each["did"]) for each in prune(project)]
    assert done == [(needless, "deleted")]
    assert trace(project) == found
    assert project.run("pytest", "-q").stdout.splitlines()[-1].startswith("1 passed")


def test_a_project_with_kedro_mlflow_keeps_its_store_and_its_pair(
    pricing_paired: Adopted,
) -> None:
    project = pricing_paired.project
    assert pricing_paired.after == pricing_paired.before
    assert not {"conf/base/mlflow.yml", ".gitignore"} & set(pricing_paired.added)
    rules = yaml.safe_load((project.path / "conf/base/artifacts.yml").read_text())
    (rule,) = rules["retention"]["experiments"]
    assert rule["name"] == "prices of 2026"
    found = trace(project)
    assert found["versions"] == {"pricing version 1": ["champion"]}
    assert found["run"]["metrics"]["fit_metrics.r2"] == pytest.approx(1)
    # Its frame of features holds the price, too.
    (answer,) = ask(project, [{"rooms": 10, "age": 5, "price": 0}])
    assert answer["price"] == pytest.approx(35)
    assert project.run("kedro", "prune", "check").returncode == 0


def test_the_output_of_kedro_new_runs_before_and_after_the_lines(
    template: Path, base: Path, shared: Path, tmp_path: Path
) -> None:
    env = {**support.environment(), "DO_NOT_TRACK": "true"}
    choices = ("--tools", "log,data", "--example", "n", "--telemetry", "no")
    kedro = base.with_name("kedro")
    run(kedro, "new", "--name", "Plain Shop", *choices, cwd=tmp_path, env=env)
    folder = adopted.write_project(tmp_path / "plain-shop", adopted.COUNTING)
    # At first in an environment that has never heard of MLflow.
    run("uv", "venv", "--quiet", "--python", base, folder / ".venv", cwd=folder)
    project = Project(folder, "plain_shop", base, QUIET)
    constraints = ("--constraint", template / "template" / "constraints.txt")
    needs = ("kedro", "kedro-datasets[pandas-csvdataset]")
    project.run("uv", "pip", "install", "--quiet", *constraints, *needs)
    joined = join(project, template, "--sequence", "counting")
    assert joined.after == joined.before
    totals = folder / "data" / "03_primary" / "totals.csv"
    project.run("kedro", "run")
    assert totals.read_text() == "shop,amount\na,4\nb,2\n"
    totals.unlink()
    add_lines(folder, joined.report)
    shutil.rmtree(folder / ".venv")
    (folder / ".venv").symlink_to(shared)
    project.run("kedro", "run")
    assert totals.read_text() == "shop,amount\na,4\nb,2\n"
    (again, *others) = [a["file"] for a in joined.report["additions"]]
    assert again == "src/plain_shop/settings.py"
    assert {"pyproject.toml", "requirements.txt"} <= {*others}


def test_once_the_lines_are_there_nothing_is_left_to_add(
    churn_paired: Adopted, template: Path
) -> None:
    folder = churn_paired.project.path
    again = (*PAIRED, "--sequence", "clean,fit", "--json")
    done = adopt(folder, *again, template=template)
    report = json.loads(done.stdout)
    assert (report["added"], report["additions"]) == ([], [])
    settings = folder / "src/churn/settings.py"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("HOOKS, CONFIG", "OTHER, CONFIG"), "utf-8")
    git("commit", "--quiet", "--all", "--message", "Lose a line", cwd=folder)
    done = adopt(folder, *again, template=template)
    (addition,) = json.loads(done.stdout)["additions"]
    assert addition["file"] == "src/churn/settings.py"
    settings.write_text(text, "utf-8")
    git("commit", "--quiet", "--all", "--message", "Find it", cwd=folder)


# What needs no installed project ------------------------------------------------------


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A committed project of a team."""
    return adopted.write_project(tmp_path / "churn-models", adopted.CHURN)


def release(template: Path, destination: Path) -> Path:
    """Return a copy of the template with a next release, in which files changed."""
    git("clone", "--quiet", str(template), str(destination), cwd=template)
    source = destination / "template" / "src" / "{{ package_name }}"
    changed = [
        source / "mlops" / "guard.py",
        source / "settings.py",
        source / "pipeline_registry.py",
        source / "cli.py",
        destination / "template" / "pyproject.toml.jinja",
        destination / "template" / "conf" / "base" / "globals.yml.jinja",
        destination / "template" / "conf" / "base" / "artifacts.yml.jinja",
        destination / "template" / "tests" / "mlops" / "test_news.py",
        destination / "template" / ".gitignore",
    ]
    for file in changed:
        before = file.read_text("utf-8") if file.exists() else ""
        file.write_text(f"# News\n{before}", "utf-8")
    commit_all(destination, "News")
    git("tag", "v0.2.0", cwd=destination)
    return destination


@pytest.mark.parametrize("owns", [True, False], ids=["adopted", "own forgotten"])
def test_a_later_update_brings_news_and_loses_no_edit(
    template: Path, team: Path, tmp_path: Path, owns: bool
) -> None:
    releases = release(template, tmp_path / "releases")
    before = contents(team)
    adopt(team, *PAIRED, "--vcs-ref", "v0.1.0", template=releases)
    rules = team / "conf" / "base" / "artifacts.yml"
    rules.write_text(rules.read_text().replace("last: 20 # fin", "last: 9 # fin"))
    answers = team / ".copier-answers.yml"
    if not owns:
        kept = {**yaml.safe_load(answers.read_text()), "own": []}
        answers.write_text(yaml.safe_dump(kept), "utf-8")
    commit_all(team, "Join, and edit")
    support.update_project(team)
    assert "_commit: v0.2.0" in answers.read_text("utf-8")
    lost = [name for name, held in before.items() if (team / name).read_bytes() != held]
    if not owns:
        assert "src/churn/settings.py" in lost
        return
    assert lost == []
    assert git("ls-files", "--unmerged", cwd=team) == ""
    changed = git("diff", "--name-only", cwd=team).split()
    assert changed == [
        ".copier-answers.yml",
        "conf/base/artifacts.yml",
        "src/churn/cli.py",
        "src/churn/mlops/guard.py",
    ]
    assert git("ls-files", "--others", "--exclude-standard", cwd=team) == ""
    assert "last: 9 # fin" in rules.read_text("utf-8")


def test_a_copy_that_ignores_what_a_project_owns_would_be_noticed(
    template: Path, team: Path
) -> None:
    before = contents(team)
    support.render_template(template, team / "fresh", package_name="churn")
    shutil.copytree(team / "fresh", team, dirs_exist_ok=True)
    after = contents(team)
    changed = {name for name in before if after[name] != before[name]}
    assert {"src/churn/settings.py", "conf/base/globals.yml", ".gitignore"} <= changed


def test_what_only_adopted_projects_have_is_linted(render: Render) -> None:
    folder = render(own=["README.md"])
    assert (folder / "src/mortgage_approval/mlops/joining.py").is_file()
    assert not (folder / "README.md").exists()
    run("ruff", "check", "src", cwd=folder)
    run("ruff", "format", "--check", "src", cwd=folder)
    assert not list(render().rglob("joining.py"))


def test_a_dry_run_says_the_same_and_writes_nothing(template: Path, team: Path) -> None:
    planned = adopt(team, "--dry-run", "--json", template=template)
    assert git("status", "--porcelain", "--ignored", cwd=team) == ""
    done = adopt(team, "--json", template=template)
    said = json.loads(planned.stdout)
    assert said["dry_run"]
    assert said | {"dry_run": False} == json.loads(done.stdout)


def test_people_read_what_programs_read(template: Path, team: Path) -> None:
    report = json.loads(adopt(team, "--dry-run", "--json", template=template).stdout)
    shown = adopt(team, template=template).stdout
    for addition in report["additions"]:
        assert addition["file"] in shown
        assert all(line in shown for line in addition["lines"])
    assert all(note in shown for note in report["notes"])
    assert any("TRAINING, INFERENCE, INPUT" in note for note in report["notes"])


def test_answers_of_the_command_line_shape_what_is_added(
    template: Path, team: Path
) -> None:
    chosen = ("serving=none", "ci=gitlab", "tracking=server", "python_version=3.12")
    given = [each for answer in chosen for each in ("--data", answer)]
    added = json.loads(adopt(team, *given, "--json", template=template).stdout)["added"]
    assert ".gitlab-ci.yml" in added
    assert not any("/serving/" in name for name in added)
    stored = yaml.safe_load((team / ".copier-answers.yml").read_text("utf-8"))
    assert stored["python_version"] == "3.12"
    assert (stored["package_name"], stored["project_name"]) == ("churn", "Churn Models")
    uri = "mlflow_tracking_uri: ${env:MLFLOW_TRACKING_URI}"
    assert uri in (team / "conf/base/mlflow.yml").read_text("utf-8")


def spoil_dirty(team: Path) -> str:
    (team / "README.md").write_text("Edited\n", "utf-8")
    return r"changes that are not committed \(README.md\)"


def spoil_no_kedro(team: Path) -> str:
    (team / "pyproject.toml").unlink()
    return "is no Kedro project"


def spoil_no_git(team: Path) -> str:
    shutil.rmtree(team / ".git")
    return "has no commit in a git repository"


def spoil_own_commands(team: Path) -> str:
    git("mv", "src/churn/project_cli.py", "src/churn/cli.py", cwd=team)
    commit_all(team, "Own commands")
    return "git mv src/churn/cli.py src/churn/project_cli.py"


def spoil_own_mlops(team: Path) -> str:
    (team / "src/churn/mlops.py").write_text("", "utf-8")
    commit_all(team, "Own mlops")
    return "src/churn/mlops.py is yours"


def spoil_other_template(team: Path) -> str:
    (team / ".copier-answers.yml").write_text("_src_path: other\n", "utf-8")
    commit_all(team, "Another template's")
    return r"--answers-file \.copier-answers\.blueprint\.yml"


def spoil_source_folder(team: Path) -> str:
    file = team / "pyproject.toml"
    text = file.read_text("utf-8").replace('source_dir = "src"', 'source_dir = "code"')
    file.write_text(text, "utf-8")
    commit_all(team, "Other folder")
    return "git mv code src"


def spoil_package_name(team: Path) -> str:
    file = team / "pyproject.toml"
    text = file.read_text("utf-8").replace('name = "churn"', 'name = "Churn"')
    file.write_text(text, "utf-8")
    commit_all(team, "Other name")
    return "lower-case letters"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_dirty,
        spoil_no_kedro,
        spoil_no_git,
        spoil_own_commands,
        spoil_own_mlops,
        spoil_other_template,
        spoil_source_folder,
        spoil_package_name,
    ],
)
def test_what_can_not_be_adopted_is_refused_and_left_alone(
    template: Path, team: Path, spoil: Callable[[Path], str]
) -> None:
    sentence = spoil(team)
    before = {path: path.read_bytes() for path in team.rglob("*") if path.is_file()}
    done = adopt(team, template=template, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Refused: ")
    assert done.stderr.count("\n") == 1
    assert re.search(sentence, done.stderr), done.stderr
    after = {path: path.read_bytes() for path in team.rglob("*") if path.is_file()}
    assert {p: b for p, b in after.items() if "/.git/" not in str(p)} == {
        p: b for p, b in before.items() if "/.git/" not in str(p)
    }


def test_another_templates_answers_stay_beside_ours(template: Path, team: Path) -> None:
    spoil_other_template(team)
    name = ".copier-answers.blueprint.yml"
    adopt(team, "--answers-file", name, template=template)
    assert (team / ".copier-answers.yml").read_text("utf-8") == "_src_path: other\n"
    assert yaml.safe_load((team / name).read_text("utf-8"))["package_name"] == "churn"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--training", "fit"], "go together"),
        (["--data", "task"], "is no QUESTION=ANSWER"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    template: Path, team: Path, arguments: list[str], sentence: str
) -> None:
    done = adopt(team, *arguments, template=template, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_a_dependency_that_is_too_old_is_named(template: Path, team: Path) -> None:
    file = team / "requirements.txt"
    text = file.read_text("utf-8").replace("pandas>=3.0.1", "pandas<3")
    file.write_text(text, "utf-8")
    commit_all(team, "Old")
    report = json.loads(adopt(team, "--json", template=template).stdout)
    assert (
        "You ask for pandas<3, and the template needs pandas<4,>=3.0.1."
        in (report["notes"])
    )


def test_the_help_shows_examples_that_are_accepted(template: Path, team: Path) -> None:
    shown = run(sys.executable, ROOT / "scripts/adopt.py", "--help", cwd=team).stdout
    examples = re.findall(r"uv run scripts/adopt.py \.\./churn (.*)", shown)
    assert len(examples) == 3
    for example in examples:
        adopt(team, *example.split(), "--dry-run", template=template)


def test_the_page_is_what_a_stranger_gets(
    template: Path, team: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "origin"
    shutil.copytree(template, repository)
    shutil.copytree(ROOT / "scripts", repository / "scripts")
    commit_all(repository, "Tools")
    page = (ROOT / "docs" / "adopting.md").read_text("utf-8")
    blocks = read_blocks(page.replace("REPOSITORY", str(repository)))
    with reader(tmp_path) as stranger:
        stranger.follow([block for block in blocks if block.language == "bash"])
    log = (tmp_path / "terminal.log").read_text("utf-8")
    shown = [block.text for block in blocks if block.language != "bash"]
    assert len(shown) == 3
    for text in shown:
        assert indented(text) in log, log
    stored = yaml.safe_load((team / ".copier-answers.yml").read_text("utf-8"))
    assert stored["_src_path"] == str(repository)


def indented(text: str) -> str:
    """Return lines as the list for people shows them."""
    return "".join(f"    {t}" if t.strip() else t for t in text.splitlines(True))
