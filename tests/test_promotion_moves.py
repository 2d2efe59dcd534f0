"""Moving the champion: two at once, killed in between, many versions, over HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .promotion import Shell, shell
from .support import Project

pytestmark = pytest.mark.run

# Versions of another name, all of the same model: moves look at the registry only.
REGISTER = """
import mlflow
package, name, versions = arguments
client = mlflow.MlflowClient()
client.create_registered_model(name)
first = client.get_model_version(package, "1")
model = first.source.removeprefix("models:/")
for _ in range(int(versions)):
    client.create_model_version(name, first.source, first.run_id, model_id=model)
client.set_registered_model_alias(name, "champion", "1")
"""
# Every process imports once; its store is opened after the fork.
RACE = """
import importlib, json, multiprocessing, os, sys, time
from pathlib import Path
import mlflow
from kedro.framework.startup import bootstrap_project
package = bootstrap_project(Path.cwd()).package_name
moves = importlib.import_module(package + ".mlops.promotion.moves")
errors = importlib.import_module(package + ".mlops.errors")
name, rivals, rounds, uri = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
fork = multiprocessing.get_context("fork")
start, over = fork.Barrier(rivals + 1), fork.Event()

def rival(number, answers):
    mlflow.set_tracking_uri(uri)
    for turn in range(rounds):
        plan = moves.plan_move("promotion", name, str(2 + turn * rivals + number))
        start.wait()
        try:
            moves.move(name, plan)
            answers.put([turn, "won", plan["to"]])
        except errors.BlueprintError as error:
            answers.put([turn, "lost", str(error)])
        except Exception as error:
            answers.put([turn, "failed", repr(error)])
        start.wait()

def reader(answers):
    mlflow.set_tracking_uri(uri)
    client, polls = mlflow.MlflowClient(), 0
    while not over.is_set():
        assert client.get_model_version_by_alias(name, "champion")
        polls += 1
    answers.put([-1, "read", polls])

answers = fork.SimpleQueue()
children = [fork.Process(target=rival, args=(i, answers)) for i in range(rivals)]
poller = fork.Process(target=reader, args=(answers,))
for child in (*children, poller):
    child.start()
found = []
for turn in range(rounds):
    start.wait()
    found += [answers.get() for _ in range(rivals)]
    start.wait()
over.set()
poller.join(60)
found.append(answers.get() if poller.exitcode == 0 else [-1, "reader failed", 0])
for child in children:
    child.join(60)
mlflow.set_tracking_uri(uri)
aliases = mlflow.MlflowClient().get_registered_model(name).aliases
aliases = {alias: str(version) for alias, version in aliases.items()}
print(json.dumps({"found": found, "aliases": aliases}))
"""


@pytest.fixture
def opened(
    worked_project: Callable[..., Project], tmp_path: Path
) -> Iterator[Callable[..., Shell]]:
    """Return a function that copies a project that ran, for commands in one process."""
    with ExitStack() as stack:
        yield lambda **answers: stack.enter_context(
            shell(worked_project(**answers).copy(tmp_path))
        )


def race(story: Shell, name: str, uri: str, rounds: int, rivals: int = 20) -> None:
    """Let rivals promote at once, round after round: one wins, all others are told."""
    versions = str(1 + rounds * rivals)
    story.script(REGISTER, story.project.package, name, versions)
    done = story.project.run(
        "python", "-c", RACE, name, str(rivals), str(rounds), uri, timeout=600
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    outcomes = [outcome for _, outcome, _ in answer["found"]]
    assert "failed" not in outcomes, answer["found"]
    assert "reader failed" not in outcomes
    polls = next(count for _, what, count in answer["found"] if what == "read")
    assert polls > rounds
    champion = "1"
    for turn in range(rounds):
        told = [(what, text) for n, what, text in answer["found"] if n == turn]
        (winner,) = [text for what, text in told if what == "won"]
        losers = [text for what, text in told if what == "lost"]
        assert len(losers) == rivals - 1
        assert all(text.startswith("Nothing was moved: ") for text in losers)
        before, champion = champion, winner
    assert answer["aliases"] == {"champion": champion, "previous": before}


def test_of_twenty_promotions_at_once_one_wins_and_champion_is_never_missing(
    opened: Callable[..., Shell],
) -> None:
    story = opened()
    race(story, "race", story.project.store, rounds=3)


@pytest.mark.parametrize("action", ["promotion", "rollback"])
def test_what_is_killed_at_any_step_is_named_and_then_finished_or_undone(
    opened: Callable[..., Shell], action: str
) -> None:
    story = opened()
    name = story.project.package
    story.model("list")
    story.script(ADD, name, "6")
    story.script(MOVE, name, "2")  # champion 2, previous 1
    steps, finished, undone = 0, 0, 0
    while True:
        before = story.aliases()
        target = "1" if action == "rollback" else "3"
        if action == "rollback" and before["champion"] == "1":
            story.script(MOVE, name, "2")
            continue
        if action == "promotion" and before["champion"] == "3":
            story.script(MOVE, name, "2")
            continue
        code = kill(story, name, action, target, steps)
        if code == 0:
            break
        assert code == 9
        listed = story.model("list")
        if steps == 0:  # nothing had begun
            assert "has not ended" not in listed.stderr
            assert story.aliases() == before
        else:
            named = f"The {action} from 2 to {target} by"
            assert f"{named} " in listed.stderr, steps
            mended = story.script(MEND, name)
            assert named in mended
            after = story.aliases()
            if "it is undone now" in mended:
                undone += 1
                assert after == before
            else:
                finished += 1
                assert "it is finished now" in mended
                assert after == {"champion": target, "previous": "2"}
                made = story.ask("history")[-1]
                assert (made["action"], made["to"]) == (action, target)
            assert "has not ended" not in story.model("list").stderr
            assert story.script(MEND, name).strip() == "None"
        steps += 1
    assert undone >= 2
    assert finished >= 2


ADD = """
import mlflow
name, versions = arguments
client = mlflow.MlflowClient()
first = client.get_model_version(name, "1")
while len(client.search_model_versions(f"name = '{name}'")) < int(versions):
    client.create_model_version(name, first.source, first.run_id)
"""
MOVES = """
import importlib
from kedro.framework.project import PACKAGE_NAME
moves = importlib.import_module(PACKAGE_NAME + ".mlops.promotion.moves")
"""
MOVE = f"""{MOVES}
name, version = arguments
moves.move(name, moves.plan_move("promotion", name, version))
"""
MEND = f"""{MOVES}
print(moves.mend(*arguments))
"""


# A fork dies before the given one of the calls that change the registry.
KILL = f"""{MOVES}
import os, mlflow
name, action, version, left = arguments
def counted(call):
    def wrapped(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return call(*args, **kwargs)
    return wrapped
child = os.fork()
if not child:
    client = mlflow.MlflowClient
    for method in ("create_registered_model", "set_registered_model_alias",
        "delete_registered_model_alias", "set_model_version_tag",
        "delete_registered_model"):
        setattr(client, method, counted(getattr(client, method)))
    try:
        moves.move(name, moves.plan_move(action, name, version))
    except BaseException:
        os._exit(1)
    os._exit(0)
print(os.waitpid(child, 0)[1] >> 8)
"""


def kill(story: Shell, *arguments: Any) -> int:
    """Kill a move before the change after some others; return how it ended."""
    return int(story.script(KILL, *arguments).split()[-1])


def test_a_list_of_500_versions_takes_at_most_3_seconds(
    opened: Callable[..., Shell],
) -> None:
    story = opened()
    story.model("list")  # imports and opens what it needs
    story.script(ADD, story.project.package, "500")
    fastest = min(timed(lambda: story.ask("list"), 500) for _ in range(3))
    print(f"500 versions in {fastest:.2f} s")
    assert fastest <= 3


def timed(ask: Callable[[], Any], expected: int) -> float:
    """Return the seconds of a list that has to be complete."""
    started = time.perf_counter()
    assert len(ask()["versions"]) == expected
    return time.perf_counter() - started


def test_over_http_the_same_commands_work(
    worked_project: Callable[..., Project], mlflow_server: Callable[[], str]
) -> None:
    project = worked_project(tracking="server")
    with shell(project) as story:
        assert story.aliases()["champion"] == "1"
        # Other tests may have trained on the same server.
        before = story.aliases().get("challenger", "1")
        story.train()
        second = story.aliases()["challenger"]
        assert int(second) == int(before) + 1
        refused = story.model("promote", fails=True)
        # The same data, code and seed: as good, and so not better.
        assert f"Version {second} stays what it is: it fails roc_auc better by 0" in (
            refused.stderr
        )
        story.model("approve", "--version", second, "--by", "Ada", "--comment", "Read")
        story.script(MOVE, project.package, second)
        assert story.ask("rollback") == {"champion": "1", "previous": second}
        assert [made["action"] for made in story.ask("history")] == [
            *("first version", "refusal", "approval", "promotion", "rollback")
        ]
        assert "Model card" in story.read(second, "model_card.md")
        assert all(
            row["same"]
            for row in story.ask("compare", "1", second)
            if row["kind"] != "code"
        )
        race(story, "race_http", mlflow_server(), rounds=1)
