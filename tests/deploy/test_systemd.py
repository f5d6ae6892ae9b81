"""systemd takes the unit, and it lets the server work: its folders, its end, what it may and may not do."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "m2n2@.service"
# systemd's own measure, 0 (locked up) to 100 (unsafe).
MOST_EXPOSURE = 20

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd here; .ci/run installs it"
)


def read_unit():
    """Directive -> all its values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def installed(tmp_path):
    """The unit with its drop-in, as they lie in /etc/systemd/system, with this Python in place of /opt/m2n2."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/m2n2/.venv/bin/gunicorn", sys.executable))
    drop_ins = tmp_path / f"{UNIT.name}.d"
    drop_ins.mkdir()
    shutil.copy(DEPLOY / "systemd" / "gpu.conf", drop_ins)
    return unit


def verify(unit):
    command = ["systemd-analyze", "verify", "--man=no", unit]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, result.stderr


@needs_systemd
def test_systemd_takes_the_unit_and_the_drop_in(installed):
    assert verify(installed) == (0, "")


@needs_systemd
@pytest.mark.parametrize("wrong", ["RestartSecs=2", "KillMode=mix"])
def test_what_systemd_does_not_know_is_noticed(installed, wrong):
    for file in (installed, installed.with_name(f"{installed.name}.d") / "gpu.conf"):
        text = file.read_text()
        file.write_text(text.replace("[Service]", f"[Service]\n{wrong}"))
        assert verify(installed)[1]
        file.write_text(text)


@needs_systemd
def test_the_unit_is_locked_up():
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSURE}", "--no-pager", UNIT]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_systemd_waits_longer_than_gunicorn():
    config = runpy.run_module("backend.http.gunicorn_conf")
    (seconds,) = read_unit()["TimeoutStopSec"]
    assert int(seconds) > config["graceful_timeout"]


def test_it_may_open_all_files_that_its_connections_need():
    (files,) = read_unit()["LimitNOFILE"]
    most = load_settings({}).max_connections
    assert int(files) > 2 * most


def test_its_environment_is_settings_of_ours_and_lies_in_its_own_folder():
    environ = dict(one.split("=", 1) for one in read_unit()["Environment"])
    settings = load_settings(
        {name: value.replace("%C", "/var/cache").replace("%i", "9090") for name, value in environ.items()}
    )
    assert (settings.host, settings.port) == ("127.0.0.1", 9090)
    # What listens on loopback behind nginx is reached by everyone.
    assert settings.playground == "off"
    (folder,) = read_unit()["CacheDirectory"]
    assert settings.cache_folder == Path("/var/cache") / folder
    assert settings.disk_cache_folder.is_relative_to(settings.cache_folder)


def test_the_example_of_its_environment_file_starts(caplog):
    lines = (DEPLOY / "systemd" / "m2n2.env.example").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert "M2N2_PORT" not in environ
    load_settings(environ)
    assert caplog.text == ""
