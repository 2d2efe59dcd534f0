"""What the documentation shows is true: commands are executed, pages are complete."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.questionnaire import write_page

from .support import ROOT
from .tutorial import Block, read_blocks, reader

DOCS = ROOT / "docs"
# What a browser fetches by itself, by tag; links that a reader follows are not here.
FETCHED = {
    "img": "src",
    "script": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
}


@pytest.mark.run
def test_a_stranger_who_follows_the_tutorial_gets_what_it_shows(
    template: Path, tmp_path: Path
) -> None:
    shutil.copytree(template, tmp_path / "kedro-mlflow-blueprint")
    blocks = read_blocks((DOCS / "tutorial.md").read_text("utf-8"))
    with reader(tmp_path) as stranger:
        stranger.follow(blocks)


def test_a_command_that_fails_or_prints_something_else_fails_the_tutorial(
    tmp_path: Path,
) -> None:
    with reader(tmp_path) as stranger:
        stranger.patience = 1
        stranger.follow(
            [Block("bash", "", "echo one two"), Block("text", "", "one ...")]
        )
        with pytest.raises(AssertionError, match="one two"):
            stranger.follow([Block("text", "", "one")])
        with pytest.raises(AssertionError, match="ended with 1"):
            stranger.follow([Block("bash", "", "false\ntrue")])


def test_every_block_of_the_tutorial_is_executed_compared_or_written() -> None:
    page = (DOCS / "tutorial.md").read_text("utf-8")
    blocks = read_blocks(page)
    assert len(blocks) == page.count("```") / 2
    assert [
        b for b in blocks if b.language not in ("bash", "text") and not b.title
    ] == []


def test_the_questionnaire_page_is_what_copier_yml_says() -> None:
    text = (ROOT / "copier.yml").read_text("utf-8")
    page = (DOCS / "questionnaire.md").read_text("utf-8")
    assert page == write_page(text), "Run `make docs`, and commit the page."
    assert page != write_page(text.replace("default: github", "default: gitlab"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that builds the site, with a page changed, and where it is."""

    def build(extra: str = "") -> Path:
        folder = tmp_path_factory.mktemp("site")
        shutil.copytree(DOCS, folder / "docs")
        for name in ("zensical.toml", "CHANGELOG.md"):
            shutil.copy2(ROOT / name, folder)
        with (folder / "docs" / "index.md").open("a", encoding="utf-8") as page:
            page.write(extra)
        zensical = Path(sys.executable).with_name("zensical")
        subprocess.run([zensical, "build", "--strict"], cwd=folder, check=True)
        return folder / "site"

    return build


def test_the_site_builds_without_a_broken_link(site: Callable[..., Path]) -> None:
    pages = {page.stem for page in site().glob("*.html")}
    assert pages >= {page.stem for page in DOCS.glob("*.md")}
    for broken in ("\n[page](missing.md)\n", "\n[heading](tutorial.md#missing)\n"):
        with pytest.raises(subprocess.CalledProcessError):
            site(broken)


def test_the_site_requests_nothing_from_elsewhere(site: Callable[..., Path]) -> None:
    built = site()
    requested = [url for page in built.glob("*.html") for url in list_fetched(page)]
    styles = "".join(sheet.read_text("utf-8") for sheet in built.rglob("*.css"))
    requested += re.findall(r"url\(['\"]?([^'\")]+)", styles)
    assert len(requested) > 20
    assert [url for url in requested if re.match(r"(https?:)?//", url)] == []
    (page,) = site('\n<img src="https://example.org/picture.png">\n').glob("index.html")
    assert "https://example.org/picture.png" in list_fetched(page)


def list_fetched(page: Path) -> list[str]:
    """Return the addresses that a browser fetches when it shows a page."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(
            self, tag: str, attrs: list[tuple[str, str | None]]
        ) -> None:
            found.extend(filter(None, [dict(attrs).get(FETCHED.get(tag, ""))]))

    Parser().feed(page.read_text("utf-8"))
    return found


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"task": "regression"},
        {"tracking": "server"},
        {"tracking": "databricks", "profile": "regulated"},
    ],
    ids=str,
)
def test_the_configuration_page_names_every_key_and_variable(
    rendered: Callable[..., Path], answers: dict[str, Any]
) -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    base = rendered(**answers) / "conf" / "base"
    named = set(re.findall(r"`([^`\n]+)`", page))
    for name in (
        "globals",
        "gates",
        "mlflow",
        "parameters_training",
        "parameters_evaluation",
    ):
        text = (base / f"{name}.yml").read_text("utf-8")
        variables = set(re.findall(r"(?:MLFLOW|DATABRICKS)_[A-Z_]+", text))
        assert (set(list_keys(yaml.safe_load(text))) | variables) - named == set(), name
    logging = yaml.safe_load((base / "artifacts.yml").read_text("utf-8"))["logging"]
    assert set(list_keys({"logging": logging})) - named == set()
    text = (base / "parameters_data_processing.yml").read_text("utf-8")
    keys = {
        re.sub(r"(features)\..*", r"\1", k) for k in list_keys(yaml.safe_load(text))
    }
    assert keys - named == set()


def list_keys(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every value, but for an estimator's arguments."""
    for key, value in settings.items():
        if isinstance(value, dict) and key != "arguments":
            yield from list_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_the_readme_names_both_commands_and_links_to_what_is_there() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert "make demo" in text
    assert "make test" in text
    targets = re.findall(r"\]\(([^)#\s]+)|src=\"([^\"]+)\"", text)
    links = [link for pair in targets for link in pair if link]
    here = [link for link in links if not link.startswith("https://")]
    assert here
    assert [link for link in here if not (ROOT / link).exists()] == []
