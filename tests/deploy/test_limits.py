"""deploy/LIMITS.md tells every limit, each as it is set, and they fit together."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path

import pytest

from backend.settings import Settings, load_settings
from m2n2_engine.backbones import BACKBONES, EMBEDDED, PREFERRED
from m2n2_engine.config import MEBIBYTE, PROCESSOR_SESSION_CACHE_BYTES
from m2n2_engine.presets import PRESETS

DEPLOY = Path(__file__).parents[2] / "deploy"
PLACES = {
    "m2n2.conf": (DEPLOY / "nginx" / "m2n2.conf", r"^\s*{} (\S+);$"),
    "m2n2@.service": (DEPLOY / "systemd" / "m2n2@.service", r"^{}=(\S+)$"),
    "deployment.yaml": (DEPLOY / "kubernetes" / "base" / "deployment.yaml", r"^\s*{}: (\S+)$"),
}
LIMIT_NAMES = re.compile(r"_(seconds|mib|megapixels|pixels|percent|threads|clicks|ahead|next)$")
NO_LIMITS = {"threads", "polygon_tolerance_pixels"}


def read_rows():
    """Cells of every row that has a value."""
    lines = (DEPLOY / "LIMITS.md").read_text().splitlines()
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
        case ["gunicorn.conf.py", name]:
            return float(runpy.run_path(str(DEPLOY / "gunicorn.conf.py"))[name])
        case [place, name] if place in PLACES:
            path, pattern = PLACES[place]
            found = re.search(pattern.format(name), path.read_text(), re.MULTILINE)
            assert found, f"{path} does not set {name}"
            return float(found[1].rstrip("sm"))
        case [module, name]:
            return float(getattr(importlib.import_module(module.removesuffix(".py").replace("/", ".")), name))
    raise AssertionError(f"{source} is no place that is known here")


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


def test_every_limit_of_nginx_is_told():
    text = (DEPLOY / "nginx" / "m2n2.conf").read_text()
    names = re.findall(r"^\s*(\w+(?:_timeout|_body_size|_tries|body_buffer_size)) ", text, re.MULTILINE)
    assert len(names) >= 8
    for name in names:
        find(name)


def test_each_link_waits_longer_than_what_is_behind_it():
    queue = find("_LONGEST_WAIT_SECONDS", "click queue")
    assert find("M2N2_FETCH_TIMEOUT_SECONDS") < queue
    assert queue == find("_LONGEST_WAIT_SECONDS", "server")
    assert queue < find("proxy_next_upstream_timeout") < find("ML_TIMEOUT_PREDICT")
    assert find("ML_TIMEOUT_PREDICT") <= find("graceful_timeout") < find("TimeoutStopSec")
    assert find("proxy_read_timeout") >= max(find("ML_TIMEOUT_PREDICT"), find("CVAT_NUCLIO_DEFAULT_TIMEOUT"))
    assert find("_LONGEST_BUILD_SECONDS") < queue
    assert find("_LONGEST_STOP_SECONDS") < find("graceful_timeout")


def test_nginx_takes_what_the_server_takes():
    assert find("client_max_body_size") == find("M2N2_MAX_BODY_MIB")
    assert find("client_body_timeout") == find("M2N2_BODY_TIMEOUT_SECONDS")
