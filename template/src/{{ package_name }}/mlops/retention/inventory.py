"""What is there: rows of the tracking store and registry, and folders without one."""

import gc
import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient, get_tracking_uri
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from .rules import MARK, UPSTREAM, Item, globs_for
from .schema import RetentionRules, first_match
from .storage import ID, Storage

NOUNS = {  # of a kind, in the names of the client's methods for tags
    "run": "",
    "model": "_logged_model",
    "trace": "_trace",
    "version": "_model_version",
    "orphan": "_experiment",
}


class Inventory:
    """The storages of the experiments that have rules, and all registered models."""

    def __init__(self, rules: RetentionRules) -> None:
        self.client, self.rules = MlflowClient(), rules
        found = list(pages(self.client.search_experiments))
        found = [e for e in found if first_match(rules.experiments, e.name)]
        self.by_id = {e.experiment_id: Storage(e) for e in found}
        self.storages = {storage.name: storage for storage in self.by_id.values()}
        self.metrics = {b.metric for e in rules.experiments for b in e.keep.best}
        address = urlsplit(get_tracking_uri())
        known = [(e.experiment_id, e.creation_time) for e in found]
        digest = hashlib.sha256(f"{known} {rules.model_dump_json()}".encode())
        self.identity = (  # of store and rules, without what may be a password
            f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path} "
            f"{digest.hexdigest()[:12]}"
        )

    def read(self) -> dict[str, Item]:
        """Return all items but versions, by id; memory grows with rows, not files."""
        gc.set_threshold(200_000)  # among so many small rows, it takes half the time
        items = {item.id: item for item in self._rows()}
        return items | {item.id: item for item in self._orphans(items.keys())}

    def versions(self) -> dict[str, Item]:
        """Return all registered versions with their aliases, to be read last."""
        items: dict[str, Item] = {}
        for model in pages(self.client.search_registered_models):
            query = f"name='{model.name}'"
            rows = pages(self.client.search_model_versions, filter_string=query)
            items |= {item.id: item for item in map(version_item, rows)}
            aliases = self.client.get_registered_model(model.name).aliases
            for number in aliases.values():  # a search does not say them
                row = self.client.get_model_version(model.name, number)
                items[f"{model.name}/{number}"] = version_item(row)
        return items

    def measure(self, items: dict[str, Item], now: int) -> None:
        """Set every item's bytes, and those that globs match."""
        for item in items.values():
            rule = first_match(self.rules.experiments, item.experiment)
            if rule and item.kind != "version" and not item.out_of_reach:
                globs = globs_for(item, rule.prune, now)
                self.storages[item.experiment].measure(item, globs)

    def tag(self, item: Item, key: str, value: str | None) -> None:
        """Set a tag, or delete it if it is there; an orphan's is its experiment's."""
        noun, place, name = NOUNS[item.kind], [item.id], key
        if item.kind == "version":
            place = item.id.rsplit("/", 1)
        elif item.kind == "orphan":
            place, name = [self.storages[item.experiment].id], f"{key}.{item.id}"
        if value is None:
            if key in item.tags:
                getattr(self.client, f"delete{noun}_tag")(*place, name)
        elif item.kind == "model":
            self.client.set_logged_model_tags(item.id, {key: value})
        else:
            getattr(self.client, f"set{noun}_tag")(*place, name, value)

    def _rows(self) -> Iterator[Item]:
        client, ids = self.client, list(self.by_id)
        if ids:
            view, short = ViewType.ALL, {"include_spans": False, "size": 500}
            runs = pages(client.search_runs, experiment_ids=ids, run_view_type=view)
            models = pages(client.search_logged_models, experiment_ids=ids)
            traces = pages(client.search_traces, locations=ids, **short)
            yield from map(self._run, runs)
            yield from map(self._model, models)
            yield from map(self._trace, traces)

    def _orphans(self, known: Any) -> Iterator[Item]:
        """Yield folders that look like MLflow's, but that no row names."""
        for name, storage in self.storages.items():
            tags, prefix = self.client.get_experiment(storage.id).tags, f"{MARK}."
            marked = {t.removeprefix(prefix) for t in tags if t.startswith(prefix)}
            for key in {*storage.ids(), *marked} - known:
                if not self._has_row(key):
                    mark = {MARK: tags[prefix + key]} if key in marked else {}
                    yield Item("orphan", key, name, tags=mark)

    def _has_row(self, key: str) -> bool:
        """Ask the tracking store for one id, whatever experiment it belongs to."""
        asks = {"m": self.client.get_logged_model, "tr": self.client.get_trace}
        ask: Callable[[str], Any] = asks.get(key.partition("-")[0], self.client.get_run)
        try:
            ask(key)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                raise
            return False
        return True

    def _run(self, row: Any) -> Item:
        info, tags = row.info, row.data.tags
        item = self._item("run", info.run_id, info, info.artifact_uri)
        item.created, item.name = info.start_time or 0, info.run_name or ""
        if info.lifecycle_stage == "deleted":
            item.status, item.out_of_reach = "DELETED", "is deleted; see `mlflow gc`"
            return item
        item.status, item.tags = info.status, ours(tags)
        came_from = f"{tags.get('mlflow.parentRunId', '')} {tags.get(UPSTREAM, '')}"
        item.needs = came_from.split()
        metrics = row.data.metrics.items()
        item.metrics = {k: v for k, v in metrics if k in self.metrics}
        return item

    def _model(self, row: Any) -> Item:
        item = self._item("model", row.model_id, row, row.artifact_location)
        item.created, item.name = row.creation_timestamp, row.name
        item.status, item.tags = row.status.value, ours(row.tags)
        item.run = row.source_run_id or ""
        item.needs = [item.run] if item.run else []
        return item

    def _trace(self, row: Any) -> Item:
        info, place = row.info, row.info.tags.get("mlflow.artifactLocation", "")
        item = self._item("trace", info.trace_id, info, place)
        item.created, item.status = info.request_time, info.state.value
        item.tags = ours(info.tags)
        item.run = info.trace_metadata.get("mlflow.sourceRun", "")
        return item

    def _item(self, kind: str, key: str, row: Any, place: str) -> Item:
        storage = self.by_id[row.experiment_id]
        refused = storage.refuses(key, place)
        return Item(kind, key, storage.name, out_of_reach=refused)


def version_item(row: Any) -> Item:
    """Return a registered version, which needs its run and its logged model."""
    return Item(
        kind="version",
        id=f"{row.name}/{row.version}",
        experiment=row.name,
        created=row.creation_timestamp,
        tags=ours(row.tags),
        needs=ID.findall(f"{row.run_id} {row.source}"),
        aliases=list(row.aliases),  # over HTTP, no list
    )


def ours(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags with our prefix."""
    return {key: value for key, value in tags.items() if key.startswith("blueprint.")}


def pages(
    search: Callable[..., Any], size: int = 1000, **arguments: Any
) -> Iterator[Any]:
    """Yield what a search of MLflow's client returns, page by page."""
    token: str | None = ""
    while token is not None:
        page = search(**arguments, max_results=size, page_token=token or None)
        yield from page
        token = page.token or None
