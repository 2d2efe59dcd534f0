"""What is there: rows of the tracking store and registry, and folders without one."""

import gc
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient, get_tracking_uri
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from .rules import MARK, UPSTREAM, Thing, globs_for
from .schema import RetentionRules, first_match
from .storage import Storage

ID = re.compile(r"(?:m-|tr-)?[0-9a-f]{32}")
PAGE, BATCH = 1000, 100


class Inventory:
    """Things by id: of the experiments that have rules, and versions of all models."""

    def __init__(self, rules: RetentionRules) -> None:
        self.client, self.rules = MlflowClient(), rules
        self.things: dict[str, Thing] = {}
        found = list(pages(self.client.search_experiments))
        matched = [(e, first_match(rules.experiments, e.name)) for e in found]
        self.of = {e.experiment_id: rule for e, rule in matched if rule}
        self.experiments = {i: e for e in found if (i := e.experiment_id) in self.of}
        self.names = {i: str(e.name) for i, e in self.experiments.items()}
        self.metrics = {b.metric for rule in self.of.values() for b in rule.keep.best}
        address = urlsplit(get_tracking_uri())
        born = sorted((i, e.creation_time) for i, e in self.experiments.items())
        self.identity = (  # without what may be a password
            f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path} "
            + hashlib.sha256(repr(born).encode()).hexdigest()[:12]
        )
        self.notes: list[str] = []
        self.storages: dict[str, Storage] = {}
        for i, experiment in self.experiments.items():
            try:
                remote = address.scheme.startswith("http")
                self.storages[i] = Storage(experiment.artifact_location, remote)
                limits = self.storages[i].limits()
            except Exception as error:  # whatever a backend raises is a limit
                limits = f"nothing can be measured or deleted there: {error}"
            self.notes += [f"{self.names[i]}: {limits}."] if limits else []

    def read(self) -> "Inventory":
        """Read every row; memory grows with rows, not with files."""
        with rare_collection():
            self._read()
        return self

    def _read(self) -> None:
        if self.of:
            self._add(map(self._run, self._runs("")))
            self._add(map(self._model, self._models("")))
            traces = pages(
                self.client.search_traces,
                size=500,
                locations=list(self.of),
                include_spans=False,
            )
            self._add(map(_trace, traces))
        for model in pages(self.client.search_registered_models):
            query = f"name='{model.name}'"
            found = pages(self.client.search_model_versions, filter_string=query)
            self._add(map(_version, found))
        self._read_aliases()

    def refresh(self, ids: set[str], since: int) -> None:
        """Read again what could protect these things by now; the aliases last."""
        ids = ids | {self.things[i].run for i in ids & self.things.keys()}
        near = [
            thing
            for thing in self.things.values()
            if ids & {thing.id, thing.run, *thing.needs}
        ]
        for kind, key, search, to_thing in (
            ("run", "run_id", self._runs, self._run),
            ("model", "model_id", self._models, self._model),
        ):
            of_kind = [thing.id for thing in near if thing.kind == kind]
            for some in chunks(of_kind):
                listed = ",".join(f"'{i}'" for i in some)
                found = [to_thing(row) for row in search(f"{key} IN ({listed})")]
                for thing_id in some:
                    del self.things[thing_id]
                self._add(found)
        self._add(map(self._run, self._runs(f"start_time >= {since}")))
        self._add(map(self._model, self._models(f"creation_timestamp >= {since}")))
        for version in [thing for thing in near if thing.kind == "version"]:
            del self.things[version.id]
            self._add(self._version_again(version.id))
        order = ["creation_timestamp DESC"]
        for row in pages(self.client.search_model_versions, order_by=order, size=BATCH):
            if row.creation_timestamp < since:
                break
            self._add([_version(row)])
        self._read_aliases()

    def add_orphans(self) -> None:
        """Add the folders that look like MLflow's, but that no row names."""
        for i, storage in self.storages.items():
            tags = self.experiments[i].tags
            marked = {t.rpartition(".")[2] for t in tags if t.startswith(f"{MARK}.")}
            for name in {*storage.names(), *marked} - self.things.keys():
                if ID.fullmatch(name) and not self.has_row(name):
                    self._add([self.orphan(i, name)])

    def measure(self, now: int) -> None:
        """Set every thing's bytes."""
        for thing in self.things.values():
            if thing.kind == "version" or thing.experiment not in self.storages:
                continue
            storage = self.storages[thing.experiment]
            if storage.is_in_place(thing):
                globs = globs_for(thing, self.of[thing.experiment], now)
                storage.measure(thing, globs)
            else:
                self.notes.append(f"{thing.uri} is outside {storage.root}: kept.")

    def orphan(self, experiment: str, name: str) -> Thing:
        """Return a folder that no row names; its mark is a tag of the experiment."""
        mark = self.experiments[experiment].tags.get(f"{MARK}.{name}")
        tags = {MARK: mark} if mark else {}
        return Thing("orphan", name, experiment, tags=tags)

    def has_row(self, name: str) -> bool:
        """Ask the tracking store for one id, whatever experiment it belongs to."""
        prefix = name.partition("-")[0]
        asks = {"m": self.client.get_logged_model, "tr": self.client.get_trace}
        ask: Callable[[str], Any] = asks.get(prefix, self.client.get_run)
        return bool(list(existing(ask, name)))

    def _runs(self, query: str) -> Iterator[Any]:
        return pages(
            self.client.search_runs,
            experiment_ids=list(self.of),
            filter_string=query,
            run_view_type=ViewType.ALL,
        )

    def _models(self, query: str) -> Iterator[Any]:
        search, some = self.client.search_logged_models, list(self.of)
        return pages(search, experiment_ids=some, filter_string=query or None)

    def _version_again(self, key: str) -> Iterator[Thing]:
        name, _, number = key.rpartition("/")
        return map(_version, existing(self.client.get_model_version, name, number))

    def _read_aliases(self) -> None:
        for thing in self.things.values():
            thing.aliases = ()
        for model in pages(self.client.search_registered_models):
            for alias, number in model.aliases.items():
                key = f"{model.name}/{number}"
                if key not in self.things:
                    self._add(self._version_again(key))
                if key in self.things:
                    self.things[key].aliases += (alias,)

    def _add(self, things: Iterable[Thing]) -> None:
        self.things.update((thing.id, thing) for thing in things)

    def _run(self, row: Any) -> Thing:
        info, tags = row.info, row.data.tags
        came_from = f"{tags.get('mlflow.parentRunId', '')} {tags.get(UPSTREAM, '')}"
        return Thing(
            kind="run",
            id=info.run_id,
            experiment=info.experiment_id,
            created=info.start_time or 0,
            name=info.run_name or "",
            status="DELETED" if info.lifecycle_stage == "deleted" else info.status,
            tags=ours(tags),
            needs=tuple(came_from.split()),
            metrics={k: v for k, v in row.data.metrics.items() if k in self.metrics},
            uri=info.artifact_uri,
        )

    def _model(self, row: Any) -> Thing:
        return Thing(
            kind="model",
            id=row.model_id,
            experiment=row.experiment_id,
            created=row.creation_timestamp,
            name=row.name,
            status=row.status.value,
            tags=ours(row.tags),
            needs=tuple(filter(None, [row.source_run_id])),
            run=row.source_run_id or "",
            uri=row.artifact_location,
        )


def _trace(row: Any) -> Thing:
    info = row.info
    return Thing(
        kind="trace",
        id=info.trace_id,
        experiment=info.experiment_id,
        created=info.request_time,
        status=info.state.value,
        tags=ours(info.tags),
        run=info.trace_metadata.get("mlflow.sourceRun", ""),
        uri=info.tags.get("mlflow.artifactLocation", ""),
    )


def _version(row: Any) -> Thing:
    return Thing(
        kind="version",
        id=f"{row.name}/{row.version}",
        experiment=row.name,
        created=row.creation_timestamp,
        tags=ours(row.tags),
        needs=tuple(filter(None, [row.run_id, *ID.findall(row.source or "")])),
    )


@contextmanager
def rare_collection() -> Iterator[None]:
    """Collect garbage rarely: among so many small rows it takes half the time."""
    usual = gc.get_threshold()
    gc.set_threshold(200_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def ours(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags with our prefix."""
    return {key: value for key, value in tags.items() if key.startswith("blueprint.")}


def existing(get: Callable[..., Any], *key: str) -> Iterator[Any]:
    """Yield what a getter of MLflow's client returns; nothing if there is no row."""
    try:
        yield get(*key)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise


def chunks(items: list[Any]) -> Iterator[list[Any]]:
    """Yield the items in batches."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def pages(
    search: Callable[..., Any], size: int = PAGE, **arguments: Any
) -> Iterator[Any]:
    """Yield what a search of MLflow's client returns, page by page."""
    token: str | None = ""
    while token is not None:
        page = search(**arguments, max_results=size, page_token=token or None)
        yield from page
        token = page.token or None
