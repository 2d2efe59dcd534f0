"""Propose an update of the template: a branch, and a request that says what it brings.

    python ci/propose_update.py --dry-run

CI does it once a week. It asks the template's repository for a newer version, updates a
copy of this checkout without trust (no code of the template runs), pushes that as a
branch and opens a request with the release notes and what is left to do as checklists.
This checkout stays as it is, and a version that has its branch is not proposed again.

UPDATE_TOKEN, if set, signs in to push. Needs git, uv and, for GitHub, gh.
Exit status: 0 proposed, or nothing to do; 1 failed, a sentence says why; 2 wrong
arguments; 3 proposed, but a person has to do it, since it needs trust.
"""

import argparse
import base64
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

COPIER = ("uv", "tool", "run", "--quiet", "--from", "copier>=9.19,<10", "copier")
NEEDS_TRUST = 4  # Copier's exit status for code that it was not trusted to run
PREFIX = "template-update/"
AUTHOR = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in {"NAME": "Template update", "EMAIL": "update@localhost"}.items()
}
# Only what talks to the project's host gets its tokens: neither the template's host nor
# the packages that are locked.
TOKENS = ("UPDATE_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "SYSTEM_ACCESSTOKEN")
OWN = {name: value for name, value in os.environ.items() if name not in TOKENS}
# The environment's own names win. Nobody is there to be asked for a password.
SETTINGS = {**AUTHOR, **OWN, "GIT_TERMINAL_PROMPT": "0"}
# The token is read by the helper, so that it is in no command line.
HELPER = (
    '!f() { if [ "$1" = get ]; then '
    'echo username=x-access-token; echo "password=$UPDATE_TOKEN"; fi; }; f'
)
LONGEST = {"github": 65_000, "gitlab": 20_000, "azure": 4_000}
SHORTCUTS = {
    "gh:": "https://github.com/{}",
    "gl:": "https://gitlab.com/{}",
    "git+": "{}",
}


class UpdateError(Exception):
    """What could not be done, as a sentence."""


@dataclass
class Proposal:
    """What was found, and what a request says of it."""

    current: str
    latest: str
    status: str
    branch: str
    title: str = ""
    body: str = ""
    conflicts: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What else a person has to do, as sentences."""
    replaces: list[str] = field(default_factory=list)
    """Branches of earlier proposals that are still there."""
    needs_trust: bool = False


def call(
    *command: str,
    cwd: Path,
    stdin: str = "",
    check: bool = True,
    env: dict[str, str] = SETTINGS,
) -> subprocess.CompletedProcess[str]:
    """Run a command; if it fails, raise what it said last of all."""
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=cwd,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise UpdateError(f"`{command[0]}` is not installed.") from None
    if check and done.returncode:
        raise UpdateError(f"`{shlex.join(command[:2])}` failed: {reason(done)}")
    return done


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line of a failed command that says why."""
    lines = [line.strip(" |") for line in done.stderr.splitlines() if line.strip(" |")]
    telling = [line for line in lines if re.match(r"fatal:|error:|! \[", line)]
    return (telling or lines[-1:] or [f"it ended with {done.returncode}."])[0]


def git(*arguments: str, cwd: Path) -> str:
    """Run git and return what it printed."""
    return call("git", *arguments, cwd=cwd).stdout


def signed_in() -> dict[str, str]:
    """Return the environment of a command that talks to the project's host."""
    env = {**SETTINGS, **{n: os.environ[n] for n in TOKENS if n in os.environ}}
    if os.environ.get("UPDATE_TOKEN"):
        count = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
        env["GIT_CONFIG_COUNT"] = str(count + 2)
        for number, helper in enumerate(("", HELPER), count):  # "" forgets the others
            env[f"GIT_CONFIG_KEY_{number}"] = "credential.helper"
            env[f"GIT_CONFIG_VALUE_{number}"] = helper
    return env


def remote_git(*arguments: str, cwd: Path, stdin: str = "") -> str:
    """Run git, signed in if there is a token, and return what it printed."""
    return call("git", *arguments, cwd=cwd, stdin=stdin, env=signed_in()).stdout


def listed(*arguments: str, cwd: Path) -> list[str]:
    """Return the paths that git lists."""
    return [name for name in git(*arguments, "-z", cwd=cwd).split("\0") if name]


# Find ---------------------------------------------------------------------------------
def answer(folder: Path, name: str) -> str:
    """Return one of the answers that Copier keeps about itself."""
    file = folder / ".copier-answers.yml"
    if not file.is_file():
        raise UpdateError(f"{file} is missing: was this project made by Copier?")
    found = re.search(rf"^{name}: *(.+?) *$", file.read_text("utf-8"), re.M)
    if not found:
        raise UpdateError(f"{file} does not say `{name}`.")
    value = found[1]
    return value[1:-1].replace("''", "'") if value[0] in "'\"" else value


def address(source: str) -> str:
    """Return where git finds a template, of which Copier knows short names."""
    for short, full in SHORTCUTS.items():
        if source.startswith(short):
            return full.format(source.removeprefix(short))
    return os.path.expanduser(source)


def check(folder: Path) -> Proposal:
    """Ask the template's repository for the newest version."""
    command = (*COPIER, "check-update", "--output-format", "json")
    done = call(*command, cwd=folder, check=False)
    if done.returncode:
        source = answer(folder, "_src_path")
        raise UpdateError(f"the template at {source} can't be asked: {reason(done)}")
    found = json.loads(done.stdout)
    current, latest = found["current_version"], found["latest_version"]
    status = "newer" if found["update_available"] else "nothing new"
    return Proposal(current, latest, status, branch=PREFIX + latest)


def proposed_branches(folder: Path, remote: str) -> list[str]:
    """Return the branches of proposals that the remote repository holds."""
    pattern = f"refs/heads/{PREFIX}*"
    lines = remote_git("ls-remote", "--heads", remote, pattern, cwd=folder).splitlines()
    return [line.partition("refs/heads/")[2] for line in lines]


def release_notes(source: str, current: str, latest: str) -> str:
    """Return what the template's changelog says of the versions in between.

    Its sections descend, with headings such as `## [0.2.0] - 2026-11-20`.
    """
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        git("clone", "--quiet", "--bare", address(source), ".", cwd=here)
        tags = git("tag", "--list", cwd=here).split()
        tag = next((tag for tag in tags if tag.removeprefix("v") == latest), latest)
        shown = call("git", "show", f"{tag}:CHANGELOG.md", cwd=here, check=False)
    if shown.returncode:
        return f"The template has no CHANGELOG.md at {latest}."
    sections = re.split(r"^(?=## )", shown.stdout, flags=re.M)[1:]
    versions = re.findall(r"^## \[?v?([^\]\s]*)", shown.stdout, re.M)
    # Between two releases, the version is that of the last one with an addition.
    last = re.match(r"[\d.]*\d((a|b|rc)\d+)?", current)
    first = versions.index(latest) if latest in versions else 0
    end = versions.index(last[0]) if last and last[0] in versions else len(versions)
    notes = "".join(sections[first:end]).strip()
    return re.sub(r"^(?=##)", "#", notes, flags=re.M) or "Its changelog says nothing."


# Update -------------------------------------------------------------------------------
@contextmanager
def worktree(folder: Path) -> Iterator[Path]:
    """Give a second checkout of what is committed; it goes when the block ends."""
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(parent) / "project"
        git("worktree", "add", "--quiet", "--detach", str(copy), "HEAD", cwd=folder)
        try:
            yield copy
        finally:
            git("worktree", "remove", "--force", str(copy), cwd=folder)


def update(copy: Path, proposal: Proposal) -> None:
    """Update a checkout, commit it, and note in the proposal what is left to do."""
    command = ("update", "--defaults", "--skip-answered", "--conflict", "inline")
    done = call(*COPIER, *command, "--quiet", cwd=copy, check=False)
    proposal.needs_trust = done.returncode == NEEDS_TRUST
    if done.returncode and not proposal.needs_trust:
        raise UpdateError(f"`copier update` failed: {reason(done)}")
    diff = ("diff", "--name-only", "--no-renames")
    proposal.conflicts = listed(*diff, "--diff-filter", "U", cwd=copy)
    changed = listed(*diff, "HEAD", cwd=copy)
    if (copy / "uv.lock").is_file() and "pyproject.toml" in changed:
        lock(copy, proposal)
    git("add", "--all", cwd=copy)
    title = f"Update the template from {proposal.current} to {proposal.latest}"
    proposal.title = f"{title} by hand" if proposal.needs_trust else title
    # Conflicts are for the request's checks, which a hook of this checkout can't be.
    commit = ("commit", "--quiet", "--no-verify", "--allow-empty", "--message")
    git(*commit, proposal.title, cwd=copy)
    proposal.deleted = listed(*diff, "--diff-filter", "D", "HEAD~1", "HEAD", cwd=copy)


def lock(copy: Path, proposal: Proposal) -> None:
    """Renew the lock for changed dependencies, or note that it can't be done."""
    if "pyproject.toml" in proposal.conflicts:
        why = "`pyproject.toml` has a conflict"
    else:
        done = call("uv", "lock", "--quiet", cwd=copy, check=False)
        if not done.returncode:
            return
        why = reason(done)
    proposal.left.append(f"`uv lock`, which could not be done here: {why}")


def describe(proposal: Proposal, base: str, notes: str) -> str:
    """Return the request's text. ``base`` is the commit that was updated."""
    parts = [
        f"The template goes from **{proposal.current}** to **{proposal.latest}**. "
        "`ci/propose_update.py` made this branch; no code of the template ran."
    ]
    if proposal.replaces:
        branches = ", ".join(f"`{branch}`" for branch in proposal.replaces)
        parts.append(f"It replaces {branches}: close that request.")
    if proposal.needs_trust:
        parts.append(
            "## To be done by a person\n\nThe update runs code of the template, a "
            "migration, so nothing is changed here yet. Read the release notes and "
            "what the migration does; then, if you trust it:\n\n"
            f"```sh\ngit fetch && git switch {proposal.branch}\n"
            "uvx copier update --trust\n```"
        )
    if proposal.conflicts:
        parts.append(
            "## To resolve\n\nThe project and the template changed the same lines. "
            "As long as a marker is left, the checks fail.\n\n"
            + "\n".join(f"- [ ] `{name}`" for name in proposal.conflicts)
        )
    if proposal.left:
        todo = "\n".join(f"- [ ] {sentence}" for sentence in proposal.left)
        parts.append(f"## To do\n\n{todo}")
    if proposal.deleted:
        restore = f"git restore --source {base} --"
        parts.append(
            "## Deleted files\n\nThe template has them no more; `git restore` brings "
            "back what you still need.\n\n"
            + "\n".join(
                f"- [ ] `{name}`: `{restore} {shlex.quote(name)}`"
                for name in proposal.deleted
            )
        )
    return "\n\n".join([*parts, f"## Release notes\n\n{notes}"]) + "\n"


def shortened(body: str, longest: int) -> str:
    """Return a text that a host takes; what it leaves out is in the log."""
    ending = "\n\n… The rest is in the log of the job that made this.\n"
    return body if len(body) <= longest else body[: longest - len(ending)] + ending


# Propose ------------------------------------------------------------------------------
def push(copy: Path, proposal: Proposal, options: argparse.Namespace) -> None:
    """Push the branch; GitLab is told in the same go to open a request."""
    wishes: list[str] = []
    if options.host == "gitlab":
        # A push option is one line, in which GitLab reads \n as its end.
        text = shortened(proposal.body, LONGEST["gitlab"]).replace("\n", "\\n")
        wishes = [
            "merge_request.create",
            f"merge_request.target={options.base}",
            f"merge_request.title={proposal.title}",
            f"merge_request.description={text}",
        ]
    arguments = [f"--push-option={wish}" for wish in wishes]
    target = f"HEAD:refs/heads/{proposal.branch}"
    try:
        remote_git("push", "--no-verify", *arguments, options.remote, target, cwd=copy)
    except UpdateError as error:
        raise UpdateError(
            f"the branch {proposal.branch} was refused, {error} UPDATE_TOKEN has to be "
            "a token that may push branches (on GitHub, workflows as well)."
        ) from None


def open_request(folder: Path, proposal: Proposal, options: argparse.Namespace) -> str:
    """Open a request for the pushed branch, and return where it is."""
    text = shortened(proposal.body, LONGEST[options.host])
    if options.host == "github":
        named = ("--head", proposal.branch, "--base", options.base)
        command = ("gh", "pr", "create", *named, "--title", proposal.title)
        command += ("--body-file", "-")
        done = call(*command, cwd=folder, stdin=text, env=signed_in())
        return done.stdout.strip()
    if options.host == "azure":
        return open_azure(proposal, options.base, text)
    return ""


def azure_address() -> str:
    """Return where Azure Repos takes pull requests, by what Azure Pipelines sets."""
    names = ("SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECTID", "BUILD_REPOSITORY_ID")
    missing = [name for name in (*names, "UPDATE_TOKEN") if not os.environ.get(name)]
    if missing:
        raise UpdateError(f"{', '.join(missing)} must be set, as Azure Pipelines does.")
    server, project, repository = (os.environ[name] for name in names)
    path = f"_apis/git/repositories/{repository}/pullrequests?api-version=7.1"
    return f"{server}{project}/{path}"


def open_azure(proposal: Proposal, base: str, text: str) -> str:
    """Open a pull request by the interface of Azure Repos."""
    told = {
        "sourceRefName": f"refs/heads/{proposal.branch}",
        "targetRefName": f"refs/heads/{base}",
        "title": proposal.title,
        "description": text,
    }
    token = base64.b64encode(f":{os.environ['UPDATE_TOKEN']}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    data = json.dumps(told).encode()
    request = Request(azure_address(), data, headers)  # noqa: S310
    try:
        with urlopen(request, timeout=60) as reply:  # noqa: S310
            return f"pull request {json.load(reply)['pullRequestId']}"
    except (OSError, ValueError, KeyError) as error:
        raise UpdateError(f"Azure Repos opened no request: {error!r}") from error


def propose(folder: Path, options: argparse.Namespace) -> Proposal:
    """Check, update a copy, push and ask; return what was done."""
    if below := git("rev-parse", "--show-prefix", cwd=folder).strip():
        raise UpdateError(f"run it at the top of the repository, not in {below}")
    if options.host == "azure":
        azure_address()  # nothing is begun that can't be ended
    proposal = check(folder)
    if proposal.status == "nothing new":
        return proposal
    others = proposed_branches(folder, options.remote)
    if proposal.branch in others:
        proposal.status = "already proposed"
        return proposal
    proposal.replaces = others
    source = answer(folder, "_src_path")
    notes = release_notes(source, proposal.current, proposal.latest)
    base = git("rev-parse", "--short=12", "HEAD", cwd=folder).strip()
    with worktree(folder) as copy:
        update(copy, proposal)
        proposal.body = describe(proposal, base, notes)
        proposal.status = "would be proposed"
        if options.dry_run:
            return proposal
        push(copy, proposal, options)
    try:
        where = open_request(folder, proposal, options)
    except UpdateError:
        # Else the next run would take it for proposed.
        remote_git("push", "--delete", options.remote, proposal.branch, cwd=folder)
        raise
    proposal.status = f"proposed {where}".strip()
    return proposal


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--host", choices=LONGEST, help="Where a request is opened.")
    parser.add_argument("--remote", default="origin", help="A name or an address.")
    parser.add_argument("--base", default="main", help="The branch to merge into.")
    parser.add_argument("--dry-run", action="store_true", help="Show it, push nothing.")
    parser.add_argument("--json", action="store_true", help="Print what programs read.")
    options = parser.parse_args()
    if not (options.host or options.dry_run):
        parser.error("name the --host, or try it with --dry-run")
    return options


def main() -> int:
    """Propose an update; say what was done, or in one sentence why not."""
    options = parse_options()
    try:
        proposal = propose(Path.cwd(), options)
    except UpdateError as error:
        sys.stderr.write(f"No update was proposed: {error}\n")
        return 1
    if options.json:
        sys.stdout.write(json.dumps(asdict(proposal), indent=2) + "\n")
    elif proposal.body:
        sys.stdout.write(f"{proposal.title}\n\n{proposal.body}\n")
    said = f"{proposal.current} to {proposal.latest}: {proposal.status}"
    if proposal.needs_trust:
        said += "; it needs trust, so a person has to do it"
    sys.stderr.write(f"{said}.\n")
    return 3 if proposal.needs_trust else 0


if __name__ == "__main__":
    sys.exit(main())
