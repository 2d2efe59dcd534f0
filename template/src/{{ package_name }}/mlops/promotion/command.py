"""`kedro model list`, promote, approve, rollback, compare and history."""

import json
import logging
from typing import Any

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.session import KedroSession

json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command(name="list")
@json_option
@env_option
def list_versions(as_json: bool, env: str | None) -> None:
    """List versions: aliases, metrics, age, gates, who approved, size.

    \b
    kedro model list
    """
    from ...cli import one_sentence_errors

    with one_sentence_errors():
        name, gates = connect(env)
        from . import moves, view

        rows = view.list_versions(name, gates)
        unfinished = moves.pending(name)
        note = f"{moves.describe(unfinished)} has not ended." if unfinished else None
        show(as_json, {"versions": rows, "unfinished": note}, view.version_table(rows))
        if note:
            hint = "If it was interrupted, the next promote or rollback mends it."
            click.echo(f"{note} {hint}", err=True)


@click.command()
@click.option("--version", help="By default the challenger.")
@click.option("--dry-run", is_flag=True, help="Evaluate and show the gates only.")
@click.option("--comment", default="", help="Why; kept with the decision.")
@json_option
@env_option
def promote(
    version: str | None, dry_run: bool, comment: str, as_json: bool, env: str | None
) -> None:
    """Evaluate a version, and make it champion if it passes every gate.

    With --dry-run the exit code is 0 also where a gate fails.

    \b
    kedro model promote
    kedro model promote --version 3 --dry-run
    """
    from ...cli import one_sentence_errors

    with one_sentence_errors():
        name, _ = connect(env)
        from ..errors import BlueprintError
        from . import documents, moves, records, view

        if not dry_run:
            mend(name)
        version = view.candidate(name, version, dry_run)
        plan = None if dry_run else moves.plan_move("promotion", name, version)
        found = evaluate(name, version, env)
        failing = [each for each in found["gates"] if not each["passed"]]
        against = found["champion"] or "none"
        title = f"### Gates of {name} {version}, against champion {against}\n"
        text = f"{title}\n{documents.gate_table(found['gates'])}"
        outcome = {
            "version": version,
            "champion": found["champion"],
            "gates": found["gates"],
            "passed": not failing,
            "promoted": plan is not None and not failing,
        }
        if plan is None:
            show(as_json, outcome, text)
            return
        names = [each["gate"] for each in failing]
        gates = f"fails {', '.join(names)}" if names else f"all {len(found['gates'])}"
        plan |= {"from": found["champion"], "comment": comment, "gates": gates}
        if failing:
            records.record(name, {**plan, "action": "refusal"})
        else:
            moves.move(name, plan)
        documents.write_card(name, version)
        show(as_json, outcome, text)
        if failing:
            raise BlueprintError(
                f"Version {version} stays what it is: it {gates}. The report is "
                "evaluation/report.html of its run."
            )
        click.echo(f"\nVersion {version} is champion; it was {against}.", err=True)


@click.command()
@click.option("--version", required=True)
@click.option("--by", required=True, help="Who approves; not who trained it.")
@click.option("--comment", required=True, help="What was looked at.")
@json_option
@env_option
def approve(
    version: str, by: str, comment: str, as_json: bool, env: str | None
) -> None:
    """Record that somebody else than its trainer approves a version.

    It compares names and proves nobody's identity.

    \b
    kedro model approve --version 3 --by "Ada Lovelace" --comment "Report read"
    """
    from ...cli import one_sentence_errors

    with one_sentence_errors():
        name, gates = connect(env)
        from . import documents, records

        made = records.approve(name, version, by, comment, gates)
        documents.write_card(name, version)
        show(as_json, made, f"Version {version} is approved by {made['by']}.")


@click.command()
@click.option("--version", help="One that was champion before; by default previous.")
@click.option("--comment", default="", help="Why; kept with the decision.")
@json_option
@env_option
def rollback(version: str | None, comment: str, as_json: bool, env: str | None) -> None:
    """Make the previous champion serve again, without gates.

    What served until now becomes previous, so that a second rollback undoes the first.

    \b
    kedro model rollback
    kedro model rollback --version 2 --comment "answers too slowly"
    """
    from ...cli import one_sentence_errors

    with one_sentence_errors():
        name, _ = connect(env)
        from . import documents, moves, view

        mend(name)
        version = view.served_before(name, version)
        plan = moves.plan_move("rollback", name, version, comment=comment)
        moves.move(name, plan)
        documents.write_card(name, version)
        outcome = {"champion": version, "previous": plan["from"]}
        show(as_json, outcome, f"Version {version} is champion; it was {plan['from']}.")


@click.command()
@click.argument("first")
@click.argument("second")
@json_option
@env_option
def compare(first: str, second: str, as_json: bool, env: str | None) -> None:
    """Show FIRST and SECOND side by side; each is a version or an alias.

    \b
    kedro model compare champion challenger
    """
    from ...cli import one_sentence_errors

    with one_sentence_errors():
        name, _ = connect(env)
        from . import documents, view

        rows = view.compare(name, first, second)
        header = ["", "what", first, second, "same"]
        show(as_json, rows, documents.table(header, [list(r.values()) for r in rows]))


@click.command()
@json_option
@env_option
def history(as_json: bool, env: str | None) -> None:
    """Show every decision: who, when, from, to, gates and comment.

    \b
    kedro model history
    """
    from ...cli import one_sentence_errors

    with one_sentence_errors():
        name, _ = connect(env)
        from . import view

        made = view.history(name)
        show(as_json, made, view.history_table(made))


COMMANDS = (list_versions, promote, approve, rollback, compare, history)


def connect(env: str | None) -> tuple[str, Any]:
    """Connect to the stores; return the registered model's name and the gates."""
    from .gates import read_gates

    configuration = KedroSession.create(env=env).load_context().config_loader
    name = str(configuration["globals"]["registered_model"])
    return name, read_gates(configuration["gates"])


def evaluate(name: str, version: str, env: str | None) -> dict[str, Any]:
    """Run the pipeline `evaluation` for a version, and return the outcome."""
    from .documents import read_evaluation
    from .records import version_at

    # What is printed is the outcome, perhaps for a program.
    logging.getLogger(__package__.partition(".")[0]).setLevel(logging.WARNING)
    session: Any = KedroSession.create(env=env, runtime_params={"candidate": version})
    session.run(pipeline_names=["evaluation"])
    found = read_evaluation(version_at(name, version))
    assert found is not None  # noqa: S101 (the pipeline's hook has just written it)
    return found


def mend(name: str) -> None:
    """Finish or undo what was interrupted, and say so."""
    from . import moves

    if sentence := moves.mend(name):
        click.echo(sentence, err=True)


def show(as_json: bool, data: Any, text: str) -> None:
    """Print for programs or for people."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False) if as_json else text)
