"""Every document is held to the files, settings, targets, commands and options that it names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import typer
import yaml

from backend.cli.main import app
from backend.settings import Settings, render_settings_table
from m2n2_engine.backbones import BACKBONES
from m2n2_engine.weights.store import WEIGHTS
from tests.helpers.library_table import render_library_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = ("backend", "deploy", "docs", "examples", "m2n2_engine", "tests")
SETTING = re.compile(r"\bM2N2_[A-Z][A-Z_]*[A-Z]\b")
SETTINGS = {f"M2N2_{name.upper()}" for name in Settings.model_fields}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def list_texts(*folders: str, endings: tuple[str, ...]) -> list[Path]:
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in endings]


def slugify(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(read("README.md").splitlines()) <= 150


def test_links_lead_somewhere(document: Path, text: str) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        path = document.parent / target if target else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slugify, headings), f"{target}#{anchor}"


def test_the_readme_leads_to_every_page() -> None:
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)]+)\)", read("README.md"))}
    assert {path for path in DOCS.rglob("*.md") if path not in linked} == set()


def test_files_that_are_named_exist(snippets: list[str]) -> None:
    pattern = rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./@-]*[\w/]"
    for name in (name for snippet in snippets for name in re.findall(pattern, snippet)):
        assert (ROOT / name).exists(), name


def test_files_that_are_named_in_what_is_deployed_exist() -> None:
    # Python may have kept compiled modules there.
    kept = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    texts = [*kept, ROOT / "Makefile", ROOT / "Dockerfile"]
    named = {
        name
        for path in texts
        for name in re.findall(r"(?<!tests/)\b(?:deploy|docs|examples)/[\w./@-]*\w", path.read_text(encoding="utf-8"))
    }
    assert len(named) >= 10
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_pictures_and_figures_belong_to_a_page() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")) + read("Makefile")
    assert {path.name for path in (DOCS / "results" / "benchmarks").iterdir() if path.name not in pages} == set()


def test_the_settings_table_is_the_code_s_own() -> None:
    table = re.search(r"<!-- settings -->\n(.*)<!-- /settings -->", read("docs/settings.md"), re.DOTALL)
    assert table is not None
    remedy = "put what backend.settings.render_settings_table() returns between the marks of docs/settings.md"
    assert table[1] == render_settings_table(), remedy


def test_the_table_of_the_library_is_the_code_s_own() -> None:
    table = re.search(r"<!-- names -->\n(.*)<!-- /names -->", read("docs/library.md"), re.DOTALL)
    assert table is not None
    remedy = "put what tests.helpers.library_table.render_library_table() returns between the marks of docs/library.md"
    assert table[1] == render_library_table(), remedy


def test_settings_that_are_named_exist(text: str) -> None:
    assert set(SETTING.findall(text)) <= SETTINGS


def test_settings_that_are_named_in_code_and_files_exist() -> None:
    endings = (".py", ".yml", ".yaml", ".conf", ".service", ".example", ".json", ".sh")
    texts = [*list_texts("backend", "m2n2_engine", "deploy", ".github", endings=endings), ROOT / "Dockerfile"]
    named = {name for path in texts for name in SETTING.findall(path.read_text(encoding="utf-8"))}
    assert named
    assert named <= SETTINGS


def test_every_backbone_and_its_grid_is_named() -> None:
    table = {row[0]: row[2] for row in read_rows("docs/gpu.md") if len(row) == 3}
    for name, spec in BACKBONES.items():
        assert table[f"`{name}`"] == f"{spec.grid} x {spec.grid}", name
    assert set(WEIGHTS) | {"tiny"} == set(BACKBONES)


def test_make_targets_that_are_named_exist(commands: list[list[str]]) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    for words in commands:
        if words[0] != "make":
            continue
        rest = re.sub(r"-C \S+|\b[A-Z_0-9]+=\S+", "", " ".join(words[1:])).split()
        assert set(rest) <= targets, words


def test_every_target_for_people_is_in_contributing() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
    told = set(re.findall(r"make ([a-z0-9-]+)", read("CONTRIBUTING.md")))
    assert set(phony.split()) - {"setup", "setup-test", "free-ports", "studio-ports"} <= told


def test_extras_that_are_named_exist() -> None:
    extras = set(tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"])
    texts = list_texts("backend", "m2n2_engine", "docs", "deploy", "examples", endings=(".md", ".py", ".yaml", ".yml"))
    named = {name for path in texts for name in re.findall(r"(?:'\.|\.whl)\[([\w-]+)\]", path.read_text())}
    assert "research" in named
    assert named <= extras


def test_commands_and_options_that_are_named_exist(commands: list[list[str]]) -> None:
    for words in commands:
        names = [index for index, word in enumerate(words) if word.rpartition("/")[2] == "m2n2"]
        if not names or not (names[0] == 0 or words[0] in ("docker", "runuser")):
            continue
        rest = words[names[-1] + 1 :]
        if rest and re.match(r"[a-z]", rest[0]):
            check_command(rest)


def check_command(words: list[str]) -> None:
    """Fail where a subcommand or an option is named that the command line does not have."""
    command = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        if rest[0] not in command.commands and command.invoke_without_command:
            break
        assert rest[0] in command.commands, words
        command = command.commands[rest.pop(0)]
    known = {"--help"} | {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
    assert {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)} <= known, words


def test_options_of_the_evaluation_are_those_of_its_commands() -> None:
    command = typer.main.get_command(app)
    commands = [command.commands["evaluate"], command.commands["datasets"].commands["prepare"]]
    options = [option for one in (*commands, command.commands["benchmark"]) for option in one.params]
    known = {name for option in options for name in [*option.opts, *option.secondary_opts]} | {"--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", read("docs/evaluate.md")))
    assert named
    assert named <= known


def test_every_status_of_a_click_is_in_troubleshooting() -> None:
    answers = yaml.safe_load(read("deploy/openapi.yaml"))["paths"]["/predict"]["post"]["responses"]
    told = {word for row in read_rows("docs/troubleshooting.md") for word in re.findall(r"\b[45]\d\d\b", row[0])}
    assert {status for status in answers if status >= "400"} <= told


def test_every_alert_is_explained() -> None:
    groups = yaml.safe_load(read("deploy/monitoring/alerts.yml"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert alerts == {
        row[0].strip("`") for row in read_rows("docs/operate/monitoring.md") if row[0].startswith("`M2N2")
    }


def test_every_metric_of_the_alerts_is_in_the_table() -> None:
    prefixes = tuple(re.findall(r"`(m2n2_[a-z_]+)`", read("docs/operate/monitoring.md")))
    named = set(re.findall(r"\bm2n2_[a-z_]+", read("deploy/monitoring/alerts.yml")))
    named |= set(re.findall(r"\bm2n2_[a-z_]+", read("deploy/monitoring/grafana/dashboards/m2n2.json")))
    assert {name for name in named if not name.startswith(prefixes)} == set()


def test_the_layers_are_those_of_the_import_rules() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = {contract["containers"][0]: contract["layers"] for contract in contracts if contract["type"] == "layers"}
    told = re.findall(r"^```layers (\w+)\n(.*?)^```$", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    assert {name: block.splitlines() for name, block in told} == layers


def test_issue_forms_ask_for_what_helps() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.name for form in forms] == ["bug.yml", "feature.yml", "wrong-mask.yml"]
    for form in forms:
        fields = [field for field in yaml.safe_load(form.read_text(encoding="utf-8"))["body"] if "id" in field]
        labels = " ".join(field["attributes"]["label"] for field in fields)
        assert "`m2n2 doctor`" in labels
        assert "`m2n2 label-studio check" in labels


def test_the_citation_has_the_version_of_the_software() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert f'"{citation["version"]}"' in read("m2n2_engine/_version.py")
    assert "2411.10411" in citation["preferred-citation"]["url"]


def read_rows(path: str) -> list[list[str]]:
    """Cells of every row of every table."""
    lines = [line for line in read(path).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
