"""CI proposes an update of the template: what it does, says and refuses.

The script is executed against real repositories: a template with two versions, a
project, and a bare repository that the project pushes to.
"""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier._vcs import get_repo  # Copier has no public name for it

from .support import (
    ROOT,
    Process,
    commit_all,
    environment,
    git,
    join_path,
    read_toml,
    render_template,
    run,
)
from .test_questionnaire import stored_answers, update
from .test_render import PIPELINES, files_of

Render = Callable[..., Path]
SCRIPT = "ci/propose_update.py"
BRANCH = "template-update/0.2.0"
TITLE = "Update the template from 0.1.0 to 0.2.0"
CHANGELOG = """\
# Changelog

## [0.2.0] - 2026-12-01

### Changed

- Logs say more.

```sh
# a comment in a block
```

## [0.1.1] - 2026-11-25

- Mended.

## [0.1.0] - 2026-11-20

- First.
"""
# GitHub can't exist here. This program stands for its command line: it writes down how
# it was called, and answers with an address, as the real one does.
GH = f"""#!{sys.executable}
import json, os, pathlib, sys
call = {{"arguments": sys.argv[1:], "body": sys.stdin.read()}}
call["token"] = os.environ.get("GH_TOKEN")
with open(pathlib.Path(__file__).with_name("calls"), "a") as file:
    print(json.dumps(call), file=file)
if os.environ.get("GH_FAILS"):
    sys.exit("pull request create failed: GitHub Actions is not permitted to do this")
print("https://example.org/pull/7")
"""
# The real uv, after it was written down whether it knows the token.
UV = f"""#!/bin/sh
echo "${{UPDATE_TOKEN:-none}}" >> "$(dirname "$0")/uv-calls"
exec '{shutil.which("uv", path=environment()["PATH"])}' "$@"
"""
# GitLab's side of a push: it gets the options, and writes them down.
PRE_RECEIVE = """#!/bin/sh
for number in $(seq 0 $((GIT_PUSH_OPTION_COUNT - 1))); do
  eval "printf '%s\\n' \\"\\$GIT_PUSH_OPTION_$number\\""
done >> options
"""


@dataclass
class Site:
    """A template, a project made from it, and where the project is pushed to."""

    folder: Path
    done: Process | None = None
    """How the script ended, where it was executed once for several tests."""

    @property
    def project(self) -> Path:
        """The checkout in which CI runs."""
        return self.folder / "project"

    @property
    def template(self) -> Path:
        """The template's repository."""
        return self.folder / "template"

    @property
    def origin(self) -> Path:
        """The bare repository behind the project."""
        return self.folder / "origin.git"

    def change_template(self, name: str, text: str | None) -> None:
        """Write one of the template's files anew, or delete it."""
        file = self.template / name
        file.unlink() if text is None else file.write_text(text)

    def release(self, version: str) -> None:
        """Commit and tag what the template holds now."""
        commit_all(self.template, f"Release {version}")
        git("tag", version, cwd=self.template)

    def edit(self, name: str, text: str) -> None:
        """Change a file of the project, commit and push it."""
        (self.project / name).write_text(text)
        commit_all(self.project, f"Edit {name}")
        git("push", "--quiet", "origin", "main", cwd=self.project)

    def environment(self, **extra: str) -> dict[str, str]:
        """Return what a host sets, with the stand-in for GitHub's program."""
        path = join_path(self.folder / "bin", environment()["PATH"])
        return environment(**{"PATH": path, **extra})

    def propose(self, *arguments: str, **env: str) -> Process:
        """Run the script as CI does."""
        return run(
            *(sys.executable, SCRIPT, *(arguments or ("--host", "github"))),
            cwd=self.project,
            check=False,
            env=self.environment(**env),
        )

    def execute(self, command: str, **env: str) -> Process:
        """Run a shell command as a host does."""
        return run(
            *("bash", "-e", "-o", "pipefail", "-c", command),
            cwd=self.project,
            check=False,
            env=self.environment(**env),
        )

    @property
    def calls(self) -> list[dict[str, Any]]:
        """How GitHub's program was called."""
        file = self.folder / "bin" / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def branches(self) -> set[str]:
        """The branches of the bare repository, but for the main one."""
        names = git("branch", "--format", "%(refname:short)", cwd=self.origin)
        return set(names.split()) - {"main"}

    def changed(self, branch: str = BRANCH) -> dict[str, str]:
        """Return the files that a proposal changes, by name, and how: A, D, M."""
        diff = ("diff", "--name-status", "--no-renames", "main", branch)
        lines = git(*diff, cwd=self.origin).splitlines()
        return {name: how for how, name in (line.split("\t") for line in lines)}

    def show(self, name: str, branch: str = BRANCH) -> str:
        """Return what a file holds on a proposal's branch."""
        return git("show", f"{branch}:{name}", cwd=self.origin)


@pytest.fixture(scope="module")
def ground(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a template of one version, a project of it, and its origin."""
    folder = tmp_path_factory.mktemp("ground")
    git("clone", "--quiet", str(template), "template", cwd=folder)
    render_template(folder / "template", folder / "project")
    commit_all(folder / "project", "Start")
    git("clone", "--quiet", "--bare", "project", "origin.git", cwd=folder)
    (folder / "bin").mkdir()
    for name, program in {"gh": GH, "uv": UV}.items():
        (folder / "bin" / name).write_text(program)
        (folder / "bin" / name).chmod(0o755)
    return folder


def settle(ground: Path, folder: Path) -> Site:
    """Copy the ground into a folder, where it may be changed."""
    shutil.copytree(ground, folder, symlinks=True)
    site = Site(folder)
    answers = site.project / ".copier-answers.yml"
    text = answers.read_text().replace(str(ground), str(folder))
    git("remote", "add", "origin", str(site.origin), cwd=site.project)
    site.edit(".copier-answers.yml", text)
    return site


def release_newer(site: Site) -> Site:
    """Release a version in which files changed, one went and one is new."""
    for name in ("template/conf/logging.yml", "template/.gitignore"):
        text = (site.template / name).read_text()
        site.change_template(name, text + "# More\n")
    site.change_template("template/.editorconfig", None)
    site.change_template("template/conf/new.yml", "new: true\n")
    site.change_template("CHANGELOG.md", CHANGELOG)
    site.release("v0.2.0")
    return site


@pytest.fixture
def site(ground: Path, tmp_path: Path) -> Site:
    """A project whose template has nothing new."""
    return settle(ground, tmp_path / "site")


@pytest.fixture
def newer(site: Site) -> Site:
    """A project whose template has a newer version."""
    return release_newer(site)


@pytest.fixture(scope="module")
def proposed(
    ground: Path, rendered: Render, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """A project whose update was proposed by the command of GitHub's job; read-only."""
    site = release_newer(settle(ground, tmp_path_factory.mktemp("proposed") / "site"))
    site.done = site.execute(
        update_command(rendered(), "github"),
        GITHUB_REF_NAME="main",
        GH_TOKEN="hush",
        UPDATE_TOKEN="hush",
        GIT_TRACE2=str(site.folder / "trace"),
    )
    assert site.done.returncode == 0, site.done.stderr
    return site


@pytest.fixture(scope="module")
def left_open(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same where the team edited files, and the lock can't be made; read-only."""
    site = release_newer(settle(ground, tmp_path_factory.mktemp("open") / "site"))
    name = "template/pyproject.toml.jinja"
    text = (site.template / name).read_text()
    site.change_template(name, text.replace('"mypy>=1.18"', '"mypy>=999"'))
    git("tag", "--delete", "v0.2.0", cwd=site.template)
    site.release("v0.2.0")
    site.edit("uv.lock", "version = 1\n")
    site.edit(".editorconfig", "root = true\n# Ours\n")
    logging = (site.project / "conf/logging.yml").read_text()
    site.edit("conf/logging.yml", f"{logging}# Ours\n")
    ignored = (site.project / ".gitignore").read_text()
    site.edit(".gitignore", f"# Ours\n{ignored}")
    site.done = site.propose("--host", "github", UPDATE_TOKEN="hush")
    assert site.done.returncode == 0, site.done.stderr
    return site


# What it proposes ---------------------------------------------------------------------
def test_a_newer_version_becomes_a_branch_and_a_request(proposed: Site) -> None:
    assert proposed.done.stderr.splitlines()[-1] == (
        "0.1.0 to 0.2.0: proposed https://example.org/pull/7."
    )
    assert proposed.branches == {BRANCH}
    assert proposed.changed() == {
        ".copier-answers.yml": "M",
        ".editorconfig": "D",
        ".gitignore": "M",
        "conf/logging.yml": "M",
        "conf/new.yml": "A",
    }
    assert "_commit: v0.2.0" in proposed.show(".copier-answers.yml")
    (call,) = proposed.calls
    assert call["arguments"] == [
        *("pr", "create", "--head", BRANCH, "--base", "main"),
        *("--title", TITLE, "--body-file", "-"),
    ]
    assert call["body"] in proposed.done.stdout


def test_the_request_holds_the_notes_in_between(proposed: Site) -> None:
    (call,) = proposed.calls
    body = call["body"]
    assert "from **0.1.0** to **0.2.0**" in body
    notes = body.partition("## Release notes\n\n")[2]
    assert notes.startswith("### [0.2.0] - 2026-12-01\n\n#### Changed\n")
    assert "### [0.1.1] - 2026-11-25\n\n- Mended." in notes
    assert "\n# a comment in a block\n" in notes
    assert "First." not in notes
    assert "## To" not in body, "There is no conflict, and nothing else to do."


def test_the_checkout_stays_as_it_is(proposed: Site) -> None:
    folder = proposed.project
    head = git("rev-parse", "HEAD", cwd=folder)
    assert head == git("rev-parse", "main", cwd=proposed.origin)
    assert git("status", "--porcelain", cwd=folder) == ""
    assert git("branch", "--format", "%(refname)", cwd=folder) == "refs/heads/main\n"
    assert git("worktree", "list", cwd=folder).count("\n") == 1


def test_the_token_is_in_no_command_line_and_no_text(proposed: Site) -> None:
    trace = (proposed.folder / "trace").read_text()
    assert "git push --no-verify" in trace
    done, (call,) = proposed.done, proposed.calls
    said = (trace, done.stdout, done.stderr, str(call["arguments"]), call["body"])
    assert [text for text in said if "hush" in text] == []
    assert call["token"] == "hush"


@pytest.mark.run
def test_what_asks_the_template_and_the_package_index_has_no_token(
    left_open: Site,
) -> None:
    seen = (left_open.folder / "bin" / "uv-calls").read_text().split()
    assert seen == ["none"] * 3, "Check, update and lock."
    env = left_open.environment(UPDATE_TOKEN="hush")
    run("uv", "--version", cwd=left_open.folder, env=env)
    seen = (left_open.folder / "bin" / "uv-calls").read_text().split()
    assert seen[3:] == ["hush"], "It would be noticed."


def test_the_token_signs_in(site: Site) -> None:
    ask = (
        "import sys; sys.path.insert(0, 'ci'); import propose_update\n"
        "from pathlib import Path\n"
        "asked = 'protocol=https\\nhost=git.example.org\\n\\n'\n"
        "fill = ('credential', 'fill')\n"
        "print(propose_update.remote_git(*fill, cwd=Path(), stdin=asked))"
    )
    command = (sys.executable, "-c", ask)
    env = site.environment(UPDATE_TOKEN="hush")
    filled = run(*command, cwd=site.project, env=env).stdout
    assert "username=x-access-token\npassword=hush\n" in filled
    assert run(*command, cwd=site.project, check=False).returncode == 1


@pytest.mark.run
def test_a_shallow_checkout_without_a_branch_is_enough(newer: Site) -> None:
    """This is how hosts check out."""
    shutil.rmtree(newer.project)
    shallow = ("clone", "--quiet", "--depth", "1", newer.origin.as_uri(), "project")
    git(*shallow, cwd=newer.folder)
    git("checkout", "--quiet", "--detach", cwd=newer.project)
    done = newer.propose()
    assert done.returncode == 0, done.stderr
    assert newer.changed()["conf/logging.yml"] == "M"


def hook_finds_markers(site: Site, folder: Path) -> bool:
    """Tell whether the project's own hook, as CI runs it, refuses the branch."""
    git("clone", "--quiet", "--branch", BRANCH, str(site.origin), ".", cwd=folder)
    hooks = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text())
    (entry,) = [
        hook["entry"]
        for hook in hooks["repos"][0]["hooks"]
        if hook["id"] == "check-merge-conflict"
    ]
    # The project is not installed here, so the hook's package is.
    instead = "uv run --no-project --with pre-commit-hooks"
    command = entry.replace("uv run --no-sync", instead).split()
    names = git("ls-files", cwd=folder).split()
    done = run(*command, *names, cwd=folder, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 1


@pytest.mark.run
def test_a_conflict_is_on_the_checklist_and_fails_the_checks(
    left_open: Site, tmp_path: Path
) -> None:
    (call,) = left_open.calls
    listed = re.search(r"## To resolve\n\n(.+?)\n\n##", call["body"], re.DOTALL)
    assert re.findall(r"- \[ \] (.+)", listed[1]) == ["`conf/logging.yml`"]
    shown = left_open.show("conf/logging.yml")
    assert "<<<<<<< before updating\n# Ours\n" in shown
    assert "# More\n>>>>>>> after updating\n" in shown
    assert hook_finds_markers(left_open, tmp_path)


@pytest.mark.run
def test_a_proposal_without_conflicts_passes_that_check(
    proposed: Site, tmp_path: Path
) -> None:
    assert not hook_finds_markers(proposed, tmp_path)


@pytest.mark.run
def test_the_teams_edits_are_in_the_proposal(left_open: Site) -> None:
    before = git("show", "main:.gitignore", cwd=left_open.origin)
    assert before.startswith("# Ours\n")
    assert left_open.show(".gitignore") == f"{before}# More\n"


@pytest.mark.run
def test_an_edited_file_that_the_template_deletes_comes_back_by_a_command(
    left_open: Site, tmp_path: Path
) -> None:
    assert left_open.changed()[".editorconfig"] == "D"
    body = left_open.calls[0]["body"]
    (command,) = re.findall(r"- \[ \] `\.editorconfig`: `(.+)`", body)
    clone = ("clone", "--quiet", "--branch", BRANCH, str(left_open.origin), ".")
    git(*clone, cwd=tmp_path)
    assert not (tmp_path / ".editorconfig").exists()
    run("bash", "-c", command, cwd=tmp_path)
    assert (tmp_path / ".editorconfig").read_text() == "root = true\n# Ours\n"


@pytest.mark.run
def test_a_lock_that_can_not_be_made_is_left_to_a_person(left_open: Site) -> None:
    todo = left_open.calls[0]["body"].partition("## To do\n")[2]
    assert todo.startswith("\n- [ ] `uv lock`, which could not be done here: ")


@pytest.mark.run
def test_changed_dependencies_are_locked_anew(newer: Site) -> None:
    run("uv", "lock", "--quiet", cwd=newer.project, timeout=600)
    newer.edit("README.md", "Ours\n")
    assert "humanize" not in (newer.project / "uv.lock").read_text()
    name = "template/pyproject.toml.jinja"
    text = (newer.template / name).read_text()
    changed = text.replace('    "mypy>=1.18",', '    "humanize>=4",\n    "mypy>=1.18",')
    assert changed != text
    newer.change_template(name, changed)
    newer.release("v0.3.0")
    done = newer.propose()
    assert done.returncode == 0, done.stderr
    assert 'name = "humanize"' in newer.show("uv.lock", "template-update/0.3.0")
    assert "uv lock" not in newer.calls[0]["body"]


# When it proposes nothing -------------------------------------------------------------
def test_without_a_newer_version_nothing_happens(site: Site) -> None:
    done = site.propose()
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "0.1.0 to 0.1.0: nothing new.\n"
    assert (site.branches, site.calls) == (set(), [])


def test_a_version_is_proposed_once(proposed: Site) -> None:
    first = git("rev-parse", BRANCH, cwd=proposed.origin)
    done = proposed.propose()
    assert done.returncode == 0
    assert done.stderr == "0.1.0 to 0.2.0: already proposed.\n"
    assert git("rev-parse", BRANCH, cwd=proposed.origin) == first
    assert len(proposed.calls) == 1


@pytest.mark.run
def test_a_later_version_is_proposed_and_names_the_earlier_proposal(
    newer: Site,
) -> None:
    earlier = "template-update/0.1.1"
    git("push", "--quiet", "origin", f"HEAD:refs/heads/{earlier}", cwd=newer.project)
    assert newer.propose().returncode == 0
    assert newer.branches == {BRANCH, earlier}
    assert f"It replaces `{earlier}`" in newer.calls[0]["body"]


@pytest.mark.run
def test_a_dry_run_shows_everything_and_pushes_nothing(newer: Site) -> None:
    page = (ROOT / "docs" / "update-requests.md").read_text("utf-8")
    (block,) = re.findall(r"```sh\n(.+)\n```", page)
    assert block in (newer.project / "README.md").read_text()
    done = newer.execute(f"{block} --json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: found[name] for name in found if name != "body"} == {
        "branch": BRANCH,
        "conflicts": [],
        "current": "0.1.0",
        "deleted": [".editorconfig"],
        "latest": "0.2.0",
        "left": [],
        "needs_trust": False,
        "replaces": [],
        "status": "would be proposed",
        "title": TITLE,
    }
    assert "Logs say more." in found["body"]
    assert (newer.branches, newer.calls) == (set(), [])


def test_the_help_shows_an_example_and_a_host_has_to_be_named(site: Site) -> None:
    shown = site.propose("--help").stdout
    assert "python ci/propose_update.py --dry-run" in shown
    assert "Exit status: 0 proposed" in shown
    done = site.propose("--base", "main")
    assert done.returncode == 2
    assert "name the --host, or try it with --dry-run" in done.stderr


# What it refuses ----------------------------------------------------------------------
def release_migration(site: Site) -> Path:
    """Release a major version with a migration; return the file that it makes."""
    proof = site.folder / "ran"
    migration = {"version": "v1.0.0", "command": f"touch '{proof}'"}
    settings = (site.template / "copier.yml").read_text()
    added = yaml.safe_dump({"_migrations": [migration]})
    site.change_template("copier.yml", f"{settings}\n{added}")
    site.release("v1.0.0")
    return proof


@pytest.mark.run
def test_a_migration_is_left_to_a_person_and_not_run(newer: Site) -> None:
    proof = release_migration(newer)
    done = newer.propose()
    assert done.returncode == 3
    *_, last = done.stderr.splitlines()
    assert last.endswith("it needs trust, so a person has to do it.")
    branch = "template-update/1.0.0"
    assert newer.branches == {branch}
    assert newer.changed(branch) == {}
    assert not proof.exists()
    (call,) = newer.calls
    title = "Update the template from 0.1.0 to 1.0.0 by hand"
    assert title in call["arguments"]
    (block,) = re.findall(r"```sh\n(git fetch.+?)```", call["body"], re.DOTALL)
    assert block.endswith("uvx copier update --trust\n")
    assert newer.propose().returncode == 0, "It asks once."
    # Who trusts it follows the request.
    command = block.replace("update --trust", "update --trust --defaults --quiet")
    run("bash", "-e", "-c", command, cwd=newer.project, timeout=600)
    assert "v1.0.0" in (newer.project / ".copier-answers.yml").read_text()
    assert proof.exists()


@pytest.mark.run
def test_a_script_that_trusts_would_be_noticed(newer: Site) -> None:
    proof = release_migration(newer)
    script = (newer.project / SCRIPT).read_text()
    trusting = script.replace('"update", "--defaults"', '"update", "--trust", "-l"')
    assert trusting != script
    newer.edit(SCRIPT, trusting)
    assert newer.propose().returncode == 0
    assert proof.exists()


def test_a_folder_below_the_project_is_refused(newer: Site) -> None:
    done = run(
        *(sys.executable, newer.project / SCRIPT, "--dry-run"),
        cwd=newer.project / "conf",
        check=False,
    )
    assert done.returncode == 1
    assert "run it at the top of the repository, not in conf/" in done.stderr


@pytest.mark.run
@pytest.mark.parametrize("missing", ["template", "origin.git", "answers"])
def test_what_can_not_be_reached_is_said_in_one_sentence(
    newer: Site, missing: str
) -> None:
    if missing == "answers":
        (newer.project / ".copier-answers.yml").unlink()
    else:
        shutil.rmtree(newer.folder / missing)
    done = newer.propose()
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("No update was proposed: ")
    named = {"answers": ".copier-answers.yml"}.get(missing, str(newer.folder / missing))
    assert named in sentence
    assert newer.calls == []


@pytest.mark.run
def test_a_refused_branch_names_the_token_that_is_missing(newer: Site) -> None:
    hook = newer.origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = newer.propose()
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert f"the branch {BRANCH} was refused" in sentence
    assert "UPDATE_TOKEN has to be a token that may push" in sentence
    assert newer.calls == []


@pytest.mark.run
def test_a_branch_without_a_request_is_taken_back(newer: Site) -> None:
    done = newer.propose(GH_FAILS="1")
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert "GitHub Actions is not permitted to do this" in sentence
    assert newer.branches == set(), "Else it would count as proposed."


# Other hosts --------------------------------------------------------------------------
@pytest.mark.run
def test_gitlab_gets_the_request_with_the_push(newer: Site, rendered: Render) -> None:
    git("config", "receive.advertisePushOptions", "true", cwd=newer.origin)
    hook = newer.origin / "hooks" / "pre-receive"
    hook.write_text(PRE_RECEIVE)
    hook.chmod(0o755)
    done = newer.execute(
        update_command(rendered(ci="gitlab"), "gitlab"),
        CI_COMMIT_BRANCH="trunk",
        CI_PROJECT_URL=str(newer.origin).removesuffix(".git"),
    )
    assert done.returncode == 0, done.stderr
    assert newer.branches == {BRANCH}
    options = (newer.origin / "options").read_text().splitlines()
    assert options[:3] == [
        "merge_request.create",
        "merge_request.target=trunk",
        f"merge_request.title={TITLE}",
    ]
    (description,) = options[3:]
    text = description.removeprefix("merge_request.description=").replace("\\n", "\n")
    assert text in done.stdout
    assert "### [0.2.0] - 2026-12-01\n" in text


@pytest.fixture
def azure() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that answers as Azure Repos does, and what it was asked.

    Azure can't exist here, so this stands for its interface.
    """
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append({"path": self.path, "body": json.loads(body)})
            allowed = self.headers["Authorization"] == "Basic Omh1c2g="  # :hush
            self.send_response(201 if allowed else 403)
            self.end_headers()
            self.wfile.write(b'{"pullRequestId": 7}')

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    thread.join()
    server.server_close()


def azure_settings(server: str, token: str) -> dict[str, str]:
    """Return the variables that Azure Pipelines sets."""
    return {
        "SYSTEM_COLLECTIONURI": server,
        "SYSTEM_TEAMPROJECTID": "team",
        "BUILD_REPOSITORY_ID": "models",
        "UPDATE_TOKEN": token,
    }


@pytest.mark.run
def test_azure_is_asked_by_its_interface(
    newer: Site, rendered: Render, azure: tuple[str, list[dict[str, Any]]]
) -> None:
    server, asked = azure
    newer.change_template("CHANGELOG.md", CHANGELOG.replace("more", "more " * 2000))
    newer.release("v0.3.0")
    done = newer.execute(
        update_command(rendered(ci="azure"), "azure"),
        BUILD_SOURCEBRANCHNAME="trunk",
        **azure_settings(server, "hush"),
    )
    assert done.returncode == 0, done.stderr
    assert "proposed pull request 7" in done.stderr
    (request,) = asked
    assert request["path"] == (
        "/team/_apis/git/repositories/models/pullrequests?api-version=7.1"
    )
    body = request["body"]
    assert body["sourceRefName"] == "refs/heads/template-update/0.3.0"
    assert body["targetRefName"] == "refs/heads/trunk"
    assert len(body["description"]) == 4000, "Azure takes no more."
    assert body["description"].endswith(
        "The rest is in the log of the job that made this.\n"
    )
    assert "- Mended." in done.stdout, "The log holds everything."


@pytest.mark.run
def test_azure_refuses_and_the_branch_is_taken_back(
    newer: Site, azure: tuple[str, list[dict[str, Any]]]
) -> None:
    server, _ = azure
    done = newer.propose("--host", "azure", **azure_settings(server, "wrong"))
    assert done.returncode == 1
    assert "Azure Repos opened no request: " in done.stderr
    assert "403" in done.stderr
    assert newer.branches == set()


def test_azure_is_not_asked_without_its_variables(newer: Site) -> None:
    done = newer.propose("--host", "azure")
    assert done.returncode == 1
    assert "SYSTEM_COLLECTIONURI, SYSTEM_TEAMPROJECTID" in done.stderr
    assert newer.branches == set()


# The job ------------------------------------------------------------------------------
def update_job(folder: Path, ci: str) -> dict[str, Any]:
    """Return the job that proposes updates."""
    name = ".github/workflows/update.yml" if ci == "github" else PIPELINES[ci][0]
    pipeline = yaml.safe_load((folder / name).read_text("utf-8"))
    if ci == "gitlab":
        return pipeline["propose an update"]
    if ci == "github":
        return pipeline["jobs"]["propose"]
    (job,) = [job for job in pipeline["jobs"] if job["job"] == "propose_update"]
    return job


def update_command(folder: Path, ci: str) -> str:
    """Return the shell command that proposes an update."""
    job = update_job(folder, ci)
    if ci == "gitlab":
        (command,) = job["script"]
        return command
    key = "run" if ci == "github" else "script"
    return job["steps"][-1][key]


def test_github_looks_every_week_with_the_least_permissions(rendered: Render) -> None:
    text = (rendered() / ".github/workflows/update.yml").read_text()
    workflow = yaml.safe_load(text)
    triggers = workflow[True]  # YAML reads `on` as true
    assert triggers.keys() == {"schedule", "workflow_dispatch"}
    (schedule,) = triggers["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* 1", schedule["cron"])
    assert workflow["permissions"] == {}
    job = update_job(rendered(), "github")
    assert job["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert job["steps"][0]["with"] == {"persist-credentials": False}
    env = job["steps"][-1]["env"]
    assert env["UPDATE_TOKEN"] == "${{ secrets.UPDATE_TOKEN || github.token }}"
    uses = dict(re.findall(r"uses: ([\w/-]+)@(\S+)", text))
    ci = (rendered() / ".github/workflows/ci.yml").read_text()
    assert uses.items() <= dict(re.findall(r"uses: ([\w/-]+)@(\S+)", ci)).items()


def test_gitlab_and_azure_propose_on_a_schedule_that_says_so(rendered: Render) -> None:
    job = update_job(rendered(ci="gitlab"), "gitlab")
    assert job["rules"] == [
        {"if": '$CI_PIPELINE_SOURCE == "schedule" && $UPDATE == "true"'}
    ]
    for tracking, name in {"local": "updates", "server": "pruning and updates"}.items():
        folder = rendered(ci="azure", tracking=tracking)
        job = update_job(folder, "azure")
        assert job["condition"] == (
            "and(eq(variables['Build.Reason'], 'Schedule'), "
            "eq(variables['UPDATE'], 'true'))"
        )
        pipeline = yaml.safe_load((folder / "azure-pipelines.yml").read_text())
        (schedule,) = pipeline["schedules"]
        assert schedule["displayName"] == f"Weekly {name}"


# The question -------------------------------------------------------------------------
def files_that_name(folder: Path, pattern: str) -> set[str]:
    """Return the files of a rendered folder in which a pattern is found."""
    found = re.compile(pattern.encode())
    files = files_of(folder).items()
    return {name for name, path in files if found.search(path.read_bytes())}


@pytest.mark.parametrize("ci", [*PIPELINES, "none"])
def test_where_it_is_not_wanted_nothing_of_it_is_rendered(
    rendered: Render, ci: str
) -> None:
    words = "propose_update|check-update|UPDATE_TOKEN"
    assert files_that_name(rendered(ci=ci, update_requests=False), words) == set()
    host = ".github/workflows/update.yml" if ci == "github" else None
    name = host or PIPELINES.get(ci, [None])[0]
    expected = {SCRIPT, name, "README.md"} if name else set()
    assert files_that_name(rendered(ci=ci), words) == expected


def test_nothing_else_knows_where_the_template_lives(
    rendered: Render, render: Render, template: Path
) -> None:
    home, asks = re.escape(str(template)), "_src_path|copier-answers"
    assert files_that_name(rendered(), home) == {".copier-answers.yml"}
    assert files_that_name(rendered(), asks) == {".copier-answers.yml", SCRIPT}
    folder = render(update_requests=False)
    assert files_that_name(folder, asks) == {".copier-answers.yml"}
    (folder / "src/phone.py").write_text("open('.copier-answers.yml')\n")
    assert "src/phone.py" in files_that_name(folder, asks)


@pytest.mark.run
def test_an_answer_survives_a_time_without_ci(render: Render) -> None:
    project = render(update_requests=False)
    update(project, ci="none")
    assert stored_answers(project)["update_requests"] is False
    update(project, ci="gitlab")
    assert stored_answers(project)["update_requests"] is False
    assert not (project / "ci").exists()
    update(project, update_requests=True)
    assert (project / SCRIPT).is_file()
    update(project, ci="none")
    assert not (project / SCRIPT).exists()
    assert stored_answers(project)["update_requests"] is True


def test_the_job_updates_with_a_copier_that_the_template_takes() -> None:
    (script,) = (ROOT / "template").glob("*/propose_update.py")
    (least, most) = re.findall(r'"copier>=([\d.]+),<(\d+)"', script.read_text())[0]
    settings = yaml.safe_load((ROOT / "copier.yml").read_text())
    assert settings["_min_copier_version"] == f"{least}.0"
    own = read_toml(ROOT / "pyproject.toml")["project"]["dependencies"]
    assert f"copier>={least},<{most}" in own


def test_the_short_names_of_hosts_are_those_of_copier(newer: Site) -> None:
    ask = (
        "import sys; sys.path.insert(0, 'ci'); import propose_update\n"
        "print(*map(propose_update.address, sys.argv[1:]))"
    )
    sources = ("gh:a/b", "gl:a/b.git", "git+https://example.org/a", "~/template.git")
    shown = subprocess.check_output(
        [sys.executable, "-c", ask, *sources], cwd=newer.project, text=True
    )
    found = [address.removesuffix(".git") for address in shown.split()]
    copiers = [get_repo(source).removesuffix(".git") for source in sources[:3]]
    assert found == [*copiers, str(Path.home() / "template")]
