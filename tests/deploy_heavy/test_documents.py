"""Two pages of docs/operate, followed to the letter: their blocks are run in order on a clean Debian 12 with systemd.

pages.py says what is typed otherwise than it is written, and what is left out.
"""

from __future__ import annotations

import sys

import pytest

from tests.deploy_heavy.pages import BARE_METAL, UPGRADES
from tests.helpers.image.container import measure_prediction
from tests.helpers.image.machine import start_machine


@pytest.fixture(scope="module")
def machine(podman, clone, tmp_path_factory):
    """A certificate of its own is in /root."""
    with start_machine(podman, tmp_path_factory.mktemp("machine"), clone) as machine:
        certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2"
        machine.run(f"{certificate} -keyout certificate.key -out certificate.crt")
        yield machine


def test_bare_metal_ends_with_two_processes_behind_tls_that_answer_a_click(machine, click):
    machine.follow(BARE_METAL)
    for stopped in ("9090", "9091"):
        machine.run(f"systemctl stop m2n2@{stopped}")
        assert measure_prediction(machine.post("https://127.0.0.1/predict", click)) > 0.9
        machine.run(f"systemctl start m2n2@{stopped}")
    sys.stdout.write(machine.run("systemd-analyze security m2n2@9090 --no-pager | tail -n 1") + "\n")

    assert "dinov2-small" in machine.follow(UPGRADES)
