"""Run by a project's own pytest: gates, statistics, names and signatures."""

import importlib
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

PACKAGE = os.environ["PACKAGE"]
gates_of = importlib.import_module(f"{PACKAGE}.mlops.promotion.gates")
statistics = importlib.import_module(f"{PACKAGE}.mlops.promotion.statistics")
records = importlib.import_module(f"{PACKAGE}.mlops.promotion.records")
evaluation = importlib.import_module(f"{PACKAGE}.mlops.promotion.evaluation")
versions = importlib.import_module(f"{PACKAGE}.mlops.promotion.versions")
errors = importlib.import_module(f"{PACKAGE}.mlops.errors")

PAIRS = 200
ERROR_RATE = 0.05


def found(**changes: Any) -> dict[str, Any]:
    """Return an evaluation in which everything is well."""

    def group(rows: int, value: float) -> dict[str, Any]:
        values = {"candidate": {"value": value}, "champion": {"value": 0.7}}
        return {"rows": rows, "metrics": {"roc_auc": values}}

    return {
        "candidate": "2",
        "champion": "1",
        "overall": group(500, 0.8),
        "segments": {"region": {"north": group(200, 0.8), "south": group(300, 0.75)}},
        "differences": {"roc_auc": np.linspace(0.01, 0.2, 1000)},
        "milliseconds": 10.0,
        "megabytes": 1.0,
        "signature_changes": [],
        "card_gaps": [],
        "approved_by": ["Ada"],
        **changes,
    }


def judge(evaluation: dict[str, Any], *metrics: dict[str, Any], **settings: Any) -> Any:
    """Return the last verdict on an evaluation."""
    read = gates_of.read_gates(
        {"first_version": "serves", "metrics": metrics, "signature": "any", **settings}
    )
    return gates_of.judge(read, evaluation)


KINDS = [
    {"metric": "roc_auc", "at_least": 0.7},
    {"metric": "roc_auc", "at_most": 0.9},
    {"metric": "roc_auc", "better_by": 0},
    {"metric": "roc_auc", "not_worse_by": 0.01},
    {"metric": "roc_auc", "by": "region", "at_least": 0.7},
    {"metric": "roc_auc", "by": "region", "largest_gap": 0.1},
]


@pytest.mark.parametrize("gate", KINDS, ids=str)
def test_each_kind_of_gate_passes_where_all_is_well(gate):
    assert all(verdict["passed"] for verdict in judge(found(), gate))


@pytest.mark.parametrize("gate", KINDS, ids=str)
def test_a_metric_that_is_missing_not_a_number_or_of_too_few_rows_fails(gate):
    for change, reason in {
        "missing": "was not measured",
        "nan": "is not a number",
        "few": "only 3 rows",
    }.items():
        evaluation = found()
        regions = evaluation["segments"]["region"]
        for group in (evaluation["overall"], *regions.values()):
            if change == "missing":
                group["metrics"] = {"accuracy": {}}
            elif change == "nan":
                group["metrics"]["roc_auc"]["candidate"]["value"] = float("nan")
            else:
                group["rows"] = 3
        *_, verdict = judge(evaluation, gate)
        assert not verdict["passed"]
        assert reason in verdict["reason"]


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ({"metric": "roc_auc", "at_least": 0.9}, "0.8 is less than 0.9"),
        ({"metric": "roc_auc", "at_most": 0.5}, "0.8 is more than 0.5"),
        ({"metric": "roc_auc", "better_by": 0.1}, "0.8 against 0.7"),
        ({"metric": "roc_auc", "by": "region", "at_least": 0.78}, "0.75 is less"),
        ({"metric": "roc_auc", "by": "planet", "at_least": 0.78}, "no column planet"),
        ({"metric": "roc_auc", "by": "region", "largest_gap": 0.01}, "0.8 for north"),
    ],
)
def test_each_kind_of_gate_fails_with_the_figures(gate, reason):
    *_, verdict = judge(found(), gate)
    assert not verdict["passed"]
    assert reason in verdict["reason"]


def test_a_comparison_that_cant_be_told_fails():
    differences = {"roc_auc": np.array([0.1, np.nan])}
    for gate in KINDS[2:4]:
        assert not judge(found(differences=differences), gate)[-1]["passed"]


@pytest.mark.parametrize(
    ("settings", "changes", "reason"),
    [
        ({"milliseconds": 5}, {}, "10 milliseconds"),
        ({"milliseconds": 5}, {"milliseconds": float("nan")}, "nan milliseconds"),
        ({"megabytes": 0.5}, {}, "1 megabytes"),
        ({"signature": "compatible"}, {"signature_changes": ["x gone"]}, "x gone"),
        ({"model_card": "complete"}, {"card_gaps": ["Limits"]}, "lacks Limits"),
        ({"approval": "required"}, {"approved_by": []}, "nobody has approved"),
    ],
)
def test_what_else_is_asked_fails_with_the_reason(settings, changes, reason):
    *_, verdict = judge(found(**changes), **settings)
    assert not verdict["passed"]
    assert reason in verdict["reason"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"metrics": [{"metric": "roc_auc", "at_lest": 0.7}]},
        {"metrics": [{"metric": "roc_auc"}]},
        {"metrics": [{"metric": "roc_auc", "at_least": 0.7, "at_most": 0.9}]},
        {"metrics": [{"metric": "roc_auc", "better_by": 0, "by": "region"}]},
        {"metrics": [{"metric": "roc_auc", "largest_gap": 0.1}]},
        {"approval": "perhaps"},
        {"champion": 1},
    ],
    ids=str,
)
def test_an_unknown_key_or_a_contradiction_is_one_sentence(wrong):
    with pytest.raises(errors.BlueprintError, match="can't be used") as error:
        gates_of.read_gates({"first_version": "serves", **wrong})
    assert "\n" not in str(error.value)


def pair(generator: Any, rows: int, noise: tuple[float, float] = (0.5, 0.5)) -> Any:
    """Return a truth, and two answers that know it equally well (or not)."""
    signal = generator.normal(size=rows)
    truth = generator.random(rows) < 1 / (1 + np.exp(1.8 - 1.5 * signal))
    answers = {}
    for name, size in zip(("candidate", "champion"), noise, strict=True):
        known = signal + size * generator.normal(size=rows)
        probability = 1 / (1 + np.exp(1.8 - 1.5 * known))
        answers[name] = pd.DataFrame(
            {"prediction": (probability > 0.5) * 1, "probability": probability}
        )
    return pd.Series(truth * 1), answers


METRICS = ("roc_auc", "brier_score", "accuracy")


def promoted(truth: Any, answers: Any, seed: int) -> set[str]:
    """Return the metrics by which gates.yml would let the candidate pass."""
    measured = statistics.compare(truth, answers, pd.DataFrame(), 500, seed)
    kept = {key: measured[key] for key in ("overall", "differences")}
    rate = {"better_by": 0, "confidence": 1 - ERROR_RATE}
    return {
        metric
        for metric in METRICS
        if judge(found(**kept), {"metric": metric, **rate})[-1]["passed"]
    }


def test_pairs_of_the_same_process_promote_no_more_often_than_the_error_rate():
    generator = np.random.default_rng(6)
    passed = [promoted(*pair(generator, 400), seed) for seed in range(PAIRS)]
    for metric in METRICS:
        count = sum(metric in each for each in passed)
        print(f"{metric}: {count} of {PAIRS} pairs promote")
        assert count <= ERROR_RATE * PAIRS


def test_two_identical_models_never_promote():
    truth, answers = pair(np.random.default_rng(1), 400)
    twins = {"candidate": answers["candidate"], "champion": answers["candidate"]}
    assert promoted(truth, twins, 1) == set()


def test_a_model_that_is_much_better_promotes_also_where_less_is_better():
    generator = np.random.default_rng(2)
    for seed in range(20):
        better = promoted(*pair(generator, 400, (0.1, 2.0)), seed)
        assert better >= {"roc_auc", "brier_score"}


def test_metrics_are_those_of_scikit_learn_also_with_ties_and_weights():
    generator = np.random.default_rng(3)
    truth, answers = pair(generator, 300)
    answer = answers["candidate"].round(1)
    weights = generator.integers(0, 3, 300).astype(float)
    measured = statistics.measure(truth.to_numpy(), answer, weights[None, :])
    probability, decision = answer["probability"], answer["prediction"]
    for name, expected in {
        "roc_auc": metrics.roc_auc_score(truth, probability, sample_weight=weights),
        "average_precision": metrics.average_precision_score(
            truth, probability, sample_weight=weights
        ),
        "brier_score": metrics.brier_score_loss(
            truth, probability, sample_weight=weights
        ),
        "log_loss": metrics.log_loss(truth, probability, sample_weight=weights),
        "accuracy": metrics.accuracy_score(truth, decision, sample_weight=weights),
        "precision": metrics.precision_score(truth, decision, sample_weight=weights),
        "recall": metrics.recall_score(truth, decision, sample_weight=weights),
        "f1": metrics.f1_score(truth, decision, sample_weight=weights),
    }.items():
        assert measured[name] == pytest.approx(expected), name
    truth = pd.Series(generator.normal(3, 1, 300))
    answer = pd.DataFrame({"prediction": truth + generator.normal(size=300)})
    measured = statistics.measure(truth.to_numpy(), answer, weights[None, :])
    for name, score in {
        "r2": metrics.r2_score,
        "root_mean_squared_error": metrics.root_mean_squared_error,
        "mean_absolute_error": metrics.mean_absolute_error,
        "mean_absolute_percentage_error": metrics.mean_absolute_percentage_error,
    }.items():
        expected = score(truth, answer["prediction"], sample_weight=weights)
        assert measured[name] == pytest.approx(expected), name


def test_rows_divide_into_values_quarters_and_what_is_missing():
    frame = pd.DataFrame(
        {
            "few": ["a", "b", None, "a"] * 25,
            "number": np.arange(100),
            "many": [f"name{i % 20}" for i in range(100)],
        }
    )
    groups = statistics.divide(frame)
    assert {v for c, v in groups if c == "few"} == {"a", "b", "missing"}
    assert [int(rows.sum()) for (c, _), rows in groups.items() if c == "number"] == (
        [25] * 4
    )
    assert ("many", "other") in groups
    for column in frame:
        assert sum(rows.sum() for (c, _), rows in groups.items() if c == column) == 100


@pytest.mark.parametrize(
    "other",
    ["ADA LOVELACE", " ada  lovelace", "\uff21da Lovelace", "Ada\u200b Love\u00adlace"],
)
def test_a_name_in_another_spelling_is_the_same_person(other):
    assert records.person(other, {}) == records.person("Ada Lovelace", {})
    assert records.person("Ada Byron", {}) != records.person("Ada Lovelace", {})


def test_other_names_of_a_person_are_the_same_person():
    known = {"Ada": ["ada@example.org", "alovelace"]}
    assert records.person("ALOVELACE", known) == records.person(
        "ada@Example.org", known
    )
    assert records.person("Charles", known) != records.person("ada", known)


def column(name: str, kind: str = "double", required: bool = True) -> str:
    return (
        f'{{"name": "{name}", "type": "{kind}", "required": {str(required).lower()}}}'
    )


@pytest.mark.parametrize(
    ("new", "change"),
    [
        ([column("a")], "b was removed"),
        ([column("a"), column("b", "string")], "b was double and is string"),
        ([column("a"), column("b"), column("c")], "c is new and required"),
        ([column("a"), column("b"), column("c", required=False)], None),
        ([column("a"), column("b", required=False)], None),
        ([column("b"), column("a")], None),
    ],
)
def test_a_removed_or_retyped_column_fails_and_an_added_optional_one_passes(
    new, change
):
    old = {"inputs": f"[{column('a')}, {column('b')}]"}
    changes = evaluation.signature_changes(old, {"inputs": f"[{', '.join(new)}]"})
    assert changes == ([f"inputs: {change}"] if change else [])


def test_a_row_that_was_fitted_on_is_known_whatever_the_type_of_its_key():
    seen = versions.fingerprints(pd.Index([1, 2, 3]))
    contender = versions.Contender("1", print, {}, seen)
    assert contender.has_seen(pd.Index(["1", "2", "4"])).tolist() == [True, True, False]
