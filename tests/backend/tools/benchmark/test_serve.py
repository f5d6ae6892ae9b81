"""``m2n2 benchmark serve``: a real server with the tiny network, and two annotators."""

from __future__ import annotations

import json
import socket

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.errors import NotReady
from backend.tools.benchmark.serve import bound_server, summarise
from backend.tools.load import Answer, Load
from backend.tools.local_server import LocalServer, local_environment
from backend.tools.predict_client import read_health

LOAD = ["--annotators", "2", "--clicks", "2", "--size", "64x48"]


@pytest.fixture
def serve(tmp_path):
    """Run the command; its JSON."""

    def run(*options):
        file = tmp_path / "serve.json"
        result = CliRunner().invoke(app, ["benchmark", "serve", *LOAD, "--json", str(file), *options])
        if result.exception is not None:
            raise result.exception
        return json.loads(file.read_text()), result.stdout

    return run


@pytest.fixture
def cvat_port_in_use(monkeypatch):
    """As where the server of these settings runs already."""
    with socket.create_server(("127.0.0.1", 0)) as running:
        monkeypatch.setenv("M2N2_CVAT_PORT", str(running.getsockname()[1]))
        yield


@pytest.mark.usefixtures("cvat_port_in_use")
def test_its_own_server(serve, tmp_path):
    markdown = tmp_path / "BENCHMARKS.md"
    figures, printed = serve("--images", "1", "--markdown", str(markdown))
    run = figures["run"]
    assert (run["backbone"], run["grid"], run["device"], run["threads"]) == ("tiny", "8x8", "cpu", 1)
    assert (run["annotators"], run["images"], run["size"]) == (2, 1, "64x48")
    click, health = figures["seconds"]["a click"], figures["seconds"]["/health meanwhile"]
    assert click["answers"] == 4
    assert 0 < click["median"] <= click["p95"] <= click["longest"] <= figures["wall_seconds"]
    assert health["answers"] > 0
    first = figures["seconds"]["first clicks of 2 annotators on 1 new images at once"]
    later = figures["seconds"]["later clicks"]
    assert (first["answers"], later["answers"]) == (2, 2)
    assert max(first["longest"], later["longest"]) == click["longest"]
    assert {target["verdict"] for target in figures["targets"]} == {"not measured"}
    for text in (printed, markdown.read_text()):
        assert "a click" in text
        assert "first clicks of 2 annotators" in text
        assert f"{figures['clicks_per_second']:.2f} clicks a second" in text
        assert "16 annotators, 1 megapixel: p99 of a click" in text


def test_a_server_that_runs_already(serve, tmp_path, monkeypatch):
    password = {"M2N2_BASIC_AUTH_USER": "anna", "M2N2_BASIC_AUTH_PASSWORD": "secret"}
    with LocalServer({}, tmp_path / "server.log") as server:
        for name, value in password.items():
            monkeypatch.setenv(name, value)
        for _ in range(2):
            figures, _ = serve("--url", f"{server.url}/")
            assert figures["seconds"]["a click"]["answers"] == 4
        assert server.read_log().count("POST '/predict' 200") == 8
        # The images of the second run are new ones too.
        health = read_health(server.url, None)
        assert health["session_misses"] == 4


def test_no_server(serve):
    with pytest.raises(NotReady, match=r"http://127.0.0.1:1/health: ConnectionError; start the server there"):
        serve("--url", "http://127.0.0.1:1")


def test_known_figures():
    load = Load([[Answer((), 1.0), Answer((), 2.0)], [Answer((), 6.0)]], wall_seconds=6.0, health_seconds=[0.1, 0.3])
    figures = summarise(load, 2)
    assert figures["clicks_per_second"] == 0.5
    assert figures["seconds"]["a click"] == {
        "median": 2.0,
        "p95": pytest.approx(5.6),
        "p99": pytest.approx(5.92),
        "longest": 6.0,
        "answers": 3,
    }
    assert figures["seconds"]["first clicks of 2 annotators on 2 new images at once"]["median"] == 3.5
    assert figures["seconds"]["later clicks"]["answers"] == 1
    assert figures["seconds"]["/health meanwhile"]["longest"] == 0.3


def test_a_gpus_server_is_held_to_its_bounds():
    load = Load([[Answer((), 0.05), Answer((), 0.05)]] * 15 + [[Answer((), 0.7), Answer((), 0.05)]], 0.25, [0.1])
    figures = {"run": {"device": "cuda:0", "annotators": 16, "size": "1024x1024"}, **summarise(load, 16)}
    found = [(target.measured, target.verdict) for target in bound_server(figures)]
    assert found == [(0.05, "met"), (pytest.approx(0.4985), "met"), (128, "met")]
    figures["run"]["device"] = "cpu"
    assert {target.verdict for target in bound_server(figures)} == {"not measured"}


def test_a_local_server_is_of_nobody_else(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret")
    monkeypatch.setenv("M2N2_BASIC_AUTH_USER", "anna")
    monkeypatch.setenv("M2N2_GRID", "8")
    environ = local_environment({"M2N2_PORT": "1234"})
    assert not environ.keys() & {"LABEL_STUDIO_API_KEY", "M2N2_BASIC_AUTH_USER"}
    assert (environ["M2N2_GRID"], environ["M2N2_PORT"]) == ("8", "1234")
