"""Every choice can be taken back: a feature that goes takes only its own files."""

import functools
import itertools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import copier
import pytest

from . import variants
from .support import ROOT, commit_all, git, run
from .test_ownership import owner, rows_of
from .test_questionnaire import stored_answers, update
from .test_render import files_of
from .tutorial import follow_in, read_blocks
from .variants import Answers

pytestmark = pytest.mark.run
Render = Callable[..., Path]
Files = dict[str, str]
OURS = "# ours, with lightgbm"
CONFLICT = re.compile(r"(?ms)^<<<<<<< .*?\n(.*?)^=======\n(.*?)^>>>>>>> .*?\n")
SERVER = "src/mortgage_approval/mlops/serving/app.py"


class Switch(NamedTuple):
    """Two sets of answers that differ in what is switched."""

    off: Answers
    on: Answers


def switched() -> dict[str, list[Any]]:
    """Return the choices of every question that a later answer still changes."""
    questions = variants.questionnaire()
    return {
        name: possible
        for name, possible in variants.choices().items()
        if "first copy only" not in questions[name]["help"]
    }


@functools.cache
def switches() -> list[Switch]:
    """Return a switch from the default to every other choice."""
    questions = variants.questionnaire()
    found = []
    for name, possible in switched().items():
        default = questions[name]["default"]
        for value in possible:
            if value != default:
                on = variants.completed({name: value})
                found.append(Switch({**on, name: default}, on))
    return found


@functools.cache
def long_switches() -> list[Switch]:
    """Return switches of nearly all questions at once, between all pairs of choices."""

    def first_copy(answers: Answers) -> list[Any]:
        return [v for name, v in answers.items() if name not in switched()]

    rows = sorted(variants.all_pairs(), key=repr)
    rows.sort(key=lambda row: repr(first_copy(row)))
    return [
        Switch(one, other)
        for _, group in itertools.groupby(rows, first_copy)
        for one, other in itertools.pairwise(group)
    ]


def name_of(switch: Switch) -> str:
    """Return a test id: what is switched on."""
    return variants.label(switch.on)


def one_of_each() -> list[Switch]:
    """Return one switch of every question."""
    first: dict[str, Switch] = {}
    for switch in switches():
        (name,) = (n for n in switch.on if switch.on[n] != switch.off[n])
        first.setdefault(name, switch)
    return list(first.values())


EVERY = [
    pytest.param(one, marks=[] if one in one_of_each() else [pytest.mark.full])
    for one in switches()
]
LONG = [pytest.param(one, marks=[pytest.mark.full]) for one in long_switches()]
WHOLE_MATRIX = pytest.mark.parametrize(
    "switch", [*EVERY, *LONG], ids=map(name_of, [*switches(), *long_switches()])
)


def texts_of(folder: Path) -> Files:
    """Return the texts of a project's files, without git's own."""
    return {
        name: path.read_text("utf-8")
        for name, path in files_of(folder).items()
        if not name.startswith(".git/")
    }


def of_the_template(files: Files, fresh: Path) -> Files:
    """Return those files that the README of a fresh project says are the template's."""
    rows = rows_of(fresh)
    return {n: text for n, text in files.items() if owner(n, rows) == "the template's"}


def differing(one: Files, other: Files) -> list[str]:
    """Return the names of files that are not in both with the same text."""
    return sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))


def listed(project: Path, *arguments: str) -> set[str]:
    """Return the paths that a command of git prints."""
    return set(filter(None, git(*arguments, cwd=project).split("\n")))


def conflicts(project: Path) -> set[str]:
    """Return the files in which git shows a conflict."""
    return {line.split("\t")[1] for line in listed(project, "ls-files", "--unmerged")}


def deleted(project: Path) -> set[str]:
    """Return the files whose deletion git shows, as the message after update says."""
    return listed(project, "diff", "--diff-filter=D", "--name-only")


def test_every_choice_that_a_later_answer_changes_is_switched() -> None:
    first_copy = variants.choices().keys() - switched().keys()
    assert first_copy == {"task", "example"}
    found = {(n, switch.on[n]) for switch in switches() for n in switch.on}
    every = {(name, value) for name, values in switched().items() for value in values}
    questions = variants.questionnaire()
    assert {(n, v) for n, v in every if questions[n]["default"] != v} <= found
    for switch in [*switches(), *long_switches()]:
        assert variants.fit_together(switch.off)
        assert variants.fit_together(switch.on)


@pytest.mark.parametrize("question", switched())
def test_every_choice_comes_and_goes_and_leaves_no_trace(
    rendered: Render, render: Render, question: str
) -> None:
    """From the default to each other choice in turn, and back."""
    steps = [s for s in switches() if s.off.get(question) != s.on.get(question)]
    # What one of the choices needs, such as a server to serve from, all have.
    needed = {name: v for step in steps for name, v in step.on.items()}
    go_through(
        rendered,
        render,
        [{**needed, **s.off} for s in steps[:1]]
        + [{**needed, question: step.on[question]} for step in steps],
    )


@pytest.mark.full
@pytest.mark.parametrize("switch", [*switches(), *long_switches()], ids=name_of)
def test_any_answers_become_any_others_and_leave_no_trace(
    rendered: Render, render: Render, switch: Switch
) -> None:
    go_through(rendered, render, [switch.off, switch.on])


def go_through(rendered: Render, render: Render, steps: list[Answers]) -> None:
    """Update from the first answers through the others and back to the first.

    Fail unless each state equals what a fresh project holds, and the last the first.
    """
    project = render(**steps[0])
    before = texts_of(project)
    for answers in steps[1:]:
        fresh = rendered(**answers)
        update(project, **answers)
        after = texts_of(project)
        wanted = of_the_template(texts_of(fresh), fresh)
        assert differing(of_the_template(after, fresh), wanted) == [], answers
        assert stored_answers(project) == stored_answers(fresh)
        yours = [n for n in before if owner(n, rows_of(project)) == "yours"]
        assert [n for n in yours if after.get(n) != before[n]] == []
    update(project, **steps[0])
    assert differing(texts_of(project), before) == []


@WHOLE_MATRIX
def test_a_switch_loses_no_edit_without_saying_so(
    rendered: Render, render: Render, switch: Switch
) -> None:
    come_and_go_with_edits(rendered, render, switch)


def come_and_go_with_edits(rendered: Render, render: Render, switch: Switch) -> None:
    """Edit, switch on, edit, switch off; fail unless each edit is there or named."""
    project = render(**switch.off)
    run("uv", "add", "--frozen", "--quiet", "lightgbm>=4", cwd=project)
    for answers, others in [(switch.off, switch.on), (switch.on, switch.off)]:
        old, new = texts_of(rendered(**answers)), texts_of(rendered(**others))
        gone = old.keys() - new.keys()
        edit(project, gone, changed=[n for n in old.keys() - gone if old[n] != new[n]])
        commit_all(project, "Edit")
        update(project, **others)
        same = answers.get("license") == others.get("license")
        assert_nothing_is_lost(project, gone, exchanged=() if same else ("LICENSE",))
        settle(project)
    fresh = rendered(**switch.off)
    ours = texts_of(project)
    assert [n for n, text in ours.items() if "lightgbm" in text] != []
    without = {n: without_ours(text) for n, text in ours.items() if "/ours" not in n}
    expected = {n: without_ours(text) for n, text in texts_of(fresh).items()}
    assert (
        differing(of_the_template(without, fresh), of_the_template(expected, fresh))
        == []
    )


def edit(project: Path, gone: Iterable[str], changed: Iterable[str]) -> None:
    """Edit as a team does: what changes with the feature, what goes, and beside it."""
    for name in gone:
        with (project / name).open("a", encoding="utf-8") as file:
            file.write(f"{OURS}\n")
        (project / name).with_name("ours.txt").write_text(f"{OURS}\n")
    settings = next(project.glob("src/*/settings.py")).relative_to(project)
    for name in {*changed, settings.as_posix(), "README.md"} - {".copier-answers.yml"}:
        text = (project / name).read_text("utf-8")
        if OURS not in text:
            (project / name).write_text(f"{OURS}\n{text}", "utf-8")


def assert_nothing_is_lost(
    project: Path, gone: Iterable[str], exchanged: Iterable[str] = ()
) -> None:
    """Fail unless every edit is in its file, or its deletion is what git shows.

    A team's line in a file that is exchanged for another one may conflict.
    """
    before = listed(project, "grep", "--name-only", "lightgbm", "HEAD")
    edited = {line.partition(":")[2] for line in before}
    assert deleted(project) == set(gone), "Other files went than the feature's own."
    # The team's dependency stands beside those of the server, which go: git asks.
    assert conflicts(project) <= {"pyproject.toml", *exchanged}
    kept = {n for n, text in texts_of(project).items() if "lightgbm" in text}
    assert edited - kept == set(gone), "An edit was lost."
    for name in gone:
        git("restore", name, cwd=project)
        assert OURS in (project / name).read_text("utf-8"), name
        (project / name).unlink()


def settle(project: Path) -> None:
    """Resolve the conflicts: the team's lines stay, and else what the template has."""
    for name in conflicts(project):
        text = (project / name).read_text("utf-8")
        (project / name).write_text(CONFLICT.sub(keep_both, text), "utf-8")


def keep_both(conflict: re.Match[str]) -> str:
    """Return a conflict's lines of the template, and after them the team's."""
    ours, theirs = (side.splitlines(keepends=True) for side in conflict.groups())
    team = [line for line in ours if "lightgbm" in line]
    return "".join([*(line for line in theirs if "lightgbm" not in line), *team])


def without_ours(text: str) -> str:
    """Return a text without the team's lines."""
    return "".join(ln for ln in text.splitlines(True) if "lightgbm" not in ln)


# What the message after an update says ------------------------------------------------


@pytest.fixture
def edited(render: Render) -> Path:
    """A project that serves, whose server was edited."""
    project = render()
    with (project / SERVER).open("a", encoding="utf-8") as file:
        file.write(f"{OURS}\n")
    commit_all(project, "Edit the server")
    return project


def test_the_message_says_that_edited_files_may_go_and_how_they_come_back(
    edited: Path,
) -> None:
    done = run("copier", "update", "--defaults", "--data", "serving=none", cwd=edited)
    message = " ".join(done.stderr.split())
    assert "also those that you had edited" in message
    lines = [line.split("#")[0].strip() for line in done.stderr.splitlines()]
    commands = [line for line in lines if line.startswith("git ")]
    (listing,) = [c.split() for c in commands if "--diff-filter=D" in c]
    assert SERVER in run(*listing, cwd=edited).stdout.splitlines()
    (restore,) = [c.replace("PATH", SERVER).split() for c in commands if "PATH" in c]
    run(*restore, cwd=edited)
    assert OURS in (edited / SERVER).read_text("utf-8")


def test_the_commands_of_the_page_switch_a_feature_off_and_bring_a_file_back(
    edited: Path,
) -> None:
    page = (ROOT / "docs" / "switching.md").read_text("utf-8")
    assert SERVER in follow_in(edited, read_blocks(page)).splitlines()
    assert stored_answers(edited)["serving"] == "none"
    assert OURS in (edited / SERVER).read_text("utf-8")


def test_a_file_that_was_restored_stays_through_later_updates(
    template: Path, edited: Path, tmp_path: Path
) -> None:
    update(edited, serving="none")
    git("restore", SERVER, cwd=edited)
    restored = (edited / SERVER).read_text("utf-8")
    commit_all(edited, "Serve in our own way")
    git("clone", "--quiet", str(template), "later", cwd=tmp_path)
    later = tmp_path / "later"
    for file in (later / "template").rglob("app.py"):
        file.write_text(file.read_text("utf-8") + "# Changed by the template\n")
    commit_all(later, "Change the server")
    git("tag", "v0.2.0", cwd=later)
    answers = edited / ".copier-answers.yml"
    text = answers.read_text("utf-8")
    answers.write_text(text.replace(str(template), str(later)), "utf-8")
    for profile in ("essentials", "production"):
        update(edited, profile=profile)
        assert stored_answers(edited)["_commit"] == "v0.2.0"
        assert (edited / SERVER).read_text("utf-8") == restored
        assert conflicts(edited) == deleted(edited) == set()


def test_a_file_that_was_not_restored_is_still_in_the_history(edited: Path) -> None:
    update(edited, serving="none")
    commit_all(edited, "Serve no more")
    update(edited, ci="none")
    assert not (edited / SERVER).exists()
    commit = git(
        *("log", "--diff-filter=D", "--format=%h", "--", SERVER), cwd=edited
    ).strip()
    git("restore", "--source", f"{commit}~1", "--", SERVER, cwd=edited)
    assert OURS in (edited / SERVER).read_text("utf-8")


# What breaks the promise is noticed ---------------------------------------------------


def lose_an_edit(project: Path) -> None:
    file = project / "README.md"
    file.write_text(without_ours(file.read_text("utf-8")), "utf-8")


def take_a_file_that_is_not_its_own(project: Path) -> None:
    (project / "src/mortgage_approval/mlops/serving/ours.txt").unlink()


def commit_before_anybody_looks(project: Path) -> None:
    commit_all(project, "Update")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lose_an_edit, "An edit was lost"),
        (take_a_file_that_is_not_its_own, "Other files went"),
        (commit_before_anybody_looks, "Other files went"),
    ],
)
def test_an_update_that_loses_something_would_be_noticed(
    rendered: Render, render: Render, harm: Callable[[Path], None], sentence: str
) -> None:
    project = render()
    gone = texts_of(rendered()).keys() - texts_of(rendered(serving="none")).keys()
    assert len(gone) > 10
    edit(project, gone, [])
    update(project, serving="none")
    assert_nothing_is_lost(project, gone)
    harm(project)
    with pytest.raises(AssertionError, match=sentence):
        assert_nothing_is_lost(project, gone)


def test_a_feature_that_leaves_a_trace_would_be_noticed(
    template: Path, rendered: Render, render: Render
) -> None:
    """An update of another way: by `run_copy`, which deletes nothing."""
    project, fresh = render(), rendered(serving="none")
    copier.run_copy(
        str(template),
        project,
        data={"serving": "none"},
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=False,
    )
    found = of_the_template(texts_of(project), fresh)
    assert SERVER in differing(found, of_the_template(texts_of(fresh), fresh))
