"""docs/operate/limits.md tells every limit, each as it is set, and they fit together."""

from __future__ import annotations

import importlib
import operator
import re
import runpy
from pathlib import Path

import pytest

from backend.settings import Settings, load_settings
from m2n2_engine.backbones import BACKBONES, EMBEDDED, PREFERRED
from m2n2_engine.config import MEBIBYTE, PROCESSOR_SESSION_CACHE_BYTES
from m2n2_engine.presets import PRESETS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
IN_YAML = r"^\s*{}: (\d+)[sm]?(?: #.*)?$"
PLACES = {
    "m2n2.conf": (DEPLOY / "nginx" / "m2n2.conf", r"^\s*{} (\d+)[sm]?;$"),
    "label-studio.conf": (DEPLOY / "nginx" / "label-studio.conf", r"^\s*{} (\d+)[sm]?;$"),
    "m2n2@.service": (DEPLOY / "systemd" / "m2n2@.service", r"^{}=(\d+)$"),
    "deployment.yaml": (DEPLOY / "kubernetes" / "base" / "deployment.yaml", r'^\s*(?:command: \[)?{}(?:: |, ")(\d+)'),
    "docker-compose.yml": (DEPLOY / "docker-compose.yml", IN_YAML),
    "function.yaml": (DEPLOY / "cvat" / "nuclio" / "function.yaml", IN_YAML),
    "serve.yaml": (DEPLOY / "ray" / "serve.yaml", IN_YAML),
    # Files that cannot be imported without packages of others.
    "ray_cluster.py": (ROOT / "backend" / "engines" / "ray_cluster.py", r"^{} = ([\d.]+)$"),
    "deploy/cvat/agent.py": (DEPLOY / "cvat" / "agent.py", r"^{} = ([\d.]+)$"),
    "deploy/cvat/proposer.py": (DEPLOY / "cvat" / "proposer.py", r"^{} = ([\d.]+)$"),
    "deploy/cvat/nuclio/main.py": (DEPLOY / "cvat" / "nuclio" / "main.py", r"^{} = ([\d.]+)$"),
}
UNITS = {"Milliseconds": 1000, "maxRequestBodySize": 2**20, "bytes": 2**20}
"""End of a name -> how much of its unit is one of the table's."""

STUDIO = "Label Studio's nginx"
"""Link of the proxy in front of Label Studio."""

LIMIT_NAMES = re.compile(r"_(seconds|mib|megapixels|pixels|percent|threads|clicks|ahead|next|images)$")
NO_LIMITS = {"threads", "polygon_tolerance_pixels"}
LIMIT_CONSTANTS = re.compile(r"^(_?(?:LONGEST|MOST|KEPT)_\w+|\w+_SECONDS)\b[^=\n]* = ", re.MULTILINE)
# What an annotator's click never meets: commands that ask a server, the token's check, how messages are cut, how often
# a status is read.
BESIDE_THE_CHAIN = {"client.py", "project_check.py", "token_check.py"}
NO_LIMIT_CONSTANTS = {
    "_DEFAULT_LIFETIME_SECONDS",
    "_STATUS_SECONDS",
    "_LONGEST_BLOCK",
    "_LONGEST_REASON",
    "_LONGEST_SHOWN",
    "_MARGIN_SECONDS",
    "_MOST_REGIONS",
}


def read_rows():
    """Cells of every row that has a value."""
    lines = (ROOT / "docs" / "operate" / "limits.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0] != "link"]


def read_source(source):
    """The number that is set there; None: not by us. Units are seconds, MiB or none, as in the table."""
    names = re.findall(r"`([^`]+)`", source)
    match names:
        case []:
            return None
        case [name] if source.startswith("its "):
            return None
        case [_] if source.startswith("the presets"):
            return None
        case [_] if source.startswith("the device"):
            return PROCESSOR_SESSION_CACHE_BYTES / MEBIBYTE
        case [setting]:
            return float(getattr(load_settings({}), setting.removeprefix("M2N2_").lower()))
        case ["gunicorn_conf.py", name]:
            return float(runpy.run_module("backend.http.gunicorn_conf")[name])
        case [place, name] if place in PLACES:
            path, pattern = PLACES[place]
            found = re.search(pattern.format(name), path.read_text(), re.MULTILINE)
            assert found, f"{path} does not set {name}"
            return float(found[1]) / unit_of(name)
        case [module, name]:
            found = importlib.import_module(module.removesuffix(".py").replace("/", "."))
            return float(operator.attrgetter(name)(found)) / unit_of(name.lower())
    raise AssertionError(f"{source} is no place that is known here")


def unit_of(name):
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), 1)


def find(what, link=""):
    """The one value of the table that belongs to a name of its last column."""
    (value,) = (row[2] for row in read_rows() if f"`{what}`" in row[3] and row[0].startswith(link))
    return float(value.split()[0])


@pytest.mark.parametrize("row", read_rows(), ids=lambda row: f"{row[0]}: {row[1]}")
def test_a_value_is_what_is_set(row):
    _, _, value, source = row
    number = read_source(source)
    if number is not None:
        assert float(value.split()[0]) == number


@pytest.mark.parametrize(
    ("setting", "constant", "unit"),
    [("WORKING_SIZE_PIXELS", "working_size_pixels", 1), ("CLICK_AREA_LIMIT_PERCENT", "click_area_limit", 0.01)],
)
def test_a_value_is_that_of_the_presets(setting, constant, unit):
    (value,) = (row[2] for row in read_rows() if f"`M2N2_{setting}`" in row[3])
    told = [int(number) * unit for number in re.findall(r"(\d+) with", value)]
    assert told == [getattr(PRESETS[BACKBONES[name].preset], constant) for name in (EMBEDDED, PREFERRED)]


def test_every_limit_among_the_settings_is_told():
    told = "\n".join(row[3] for row in read_rows())
    for name in Settings.model_fields:
        if LIMIT_NAMES.search(name) and name not in NO_LIMITS:
            assert f"`M2N2_{name.upper()}`" in told, name


@pytest.mark.parametrize("folder", ["backend", "deploy/cvat", "m2n2_engine"])
def test_every_limit_in_the_code_is_told(folder):
    told = "\n".join(row[3] for row in read_rows())
    files = [path for path in (ROOT / folder).rglob("*.py") if "tools" not in path.parts]
    named = {
        (path.name, name)
        for path in files
        if path.name not in BESIDE_THE_CHAIN
        for name in LIMIT_CONSTANTS.findall(path.read_text())
        if name not in NO_LIMIT_CONSTANTS
    }
    assert named
    assert {one for one in named if f"{one[0]}`: `{one[1]}`" not in told} == set()


@pytest.mark.parametrize(("file", "link", "fewest"), [("m2n2.conf", "nginx", 8), ("label-studio.conf", STUDIO, 5)])
def test_every_limit_of_nginx_is_told(file, link, fewest):
    text = (DEPLOY / "nginx" / file).read_text()
    names = re.findall(r"^\s*(\w+(?:_timeout|_body_size|_tries|body_buffer_size)) ", text, re.MULTILINE)
    assert len(names) >= fewest
    for name in names:
        find(name, link)


def test_label_studio_s_proxy_waits_as_long_as_label_studio_and_takes_what_it_takes():
    assert find("proxy_read_timeout", STUDIO) > find("ML_TIMEOUT_PREDICT")
    assert find("client_max_body_size", STUDIO) == find("DATA_UPLOAD_MAX_MEMORY_SIZE")


def test_each_link_waits_longer_than_what_is_behind_it():
    answer = find("M2N2_ANSWER_TIMEOUT_SECONDS")
    assert find("M2N2_FETCH_TIMEOUT_SECONDS") < answer
    assert answer < find("proxy_next_upstream_timeout") < find("ML_TIMEOUT_PREDICT")
    assert find("ML_TIMEOUT_PREDICT") <= find("graceful_timeout") < find("TimeoutStopSec")
    assert find("proxy_read_timeout", "nginx") >= max(find("ML_TIMEOUT_PREDICT"), find("CVAT_NUCLIO_DEFAULT_TIMEOUT"))
    assert answer < find("_TIMEOUT_SECONDS", "CVAT agent") < find("CVAT_NUCLIO_DEFAULT_TIMEOUT")
    assert answer < find("_TIMEOUT_SECONDS", "nuclio") < find("eventTimeout") <= find("CVAT_NUCLIO_DEFAULT_TIMEOUT")
    assert find("workerAvailabilityTimeoutMilliseconds") < find("CVAT_NUCLIO_DEFAULT_TIMEOUT")
    assert find("graceful_timeout") < find("stop_grace_period")
    assert find("graceful_timeout") + find("sleep") < find("terminationGracePeriodSeconds")
    assert find("_LONGEST_BUILD_SECONDS") < answer
    assert find("_LONGEST_STOP_SECONDS") < find("graceful_timeout")


def test_those_in_front_take_what_the_server_takes():
    assert find("client_max_body_size", "nginx") == find("maxRequestBodySize") == find("M2N2_MAX_BODY_MIB")
    assert find("client_body_timeout") == find("M2N2_BODY_TIMEOUT_SECONDS")
    assert find("client_header_timeout") == find("M2N2_HEAD_TIMEOUT_SECONDS")
