"""``m2n2 label-studio`` against the real Label Studio: what it connects works, what it finds is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from backend.tools.studio.processes import make_label_studio
from tests.helpers.label_studio.photographs import read_sample


@pytest.fixture
def m2n2(studio, backend):
    """Runs `m2n2 label-studio` with these arguments; gives exit status and output."""

    def run(*arguments, url=None, token=None):
        environ = {
            **os.environ,
            "LABEL_STUDIO_URL": url or studio.url,
            "LABEL_STUDIO_API_KEY": token or studio.token,
        }
        command = [sys.executable, "-c", "from backend.cli.main import main; main()", "label-studio", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
        assert "Traceback" not in done.stderr
        assert environ["LABEL_STUDIO_API_KEY"] not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


def test_connect_makes_a_project_that_check_finds_nothing_wrong_with(m2n2, studio, backend):
    status, text = m2n2(
        "connect", "--project", "Cars", "--create", "--labels", 'Car,"Big" <car>', "--backend", backend.url
    )
    assert (status, text.count("ok     ")) == (0, 8), text
    project = re.search(r"project (\d+) created", text)[1]
    studio.client.upload(int(project), "coffee.png", read_sample("coffee.png"))

    status, text = m2n2("check", "--project", project)
    assert (status, text.count("ok     ")) == (0, 8), text
    assert re.search(r"click +task \d+ answered in [\d.]+ s: a mask of \d+% of 600 x 400 pixels", text)
    status, text = m2n2("connect", "--project", project, "--labels", "Lorry", "--backend", backend.url)
    assert status == 0, text
    assert "KeyPointLabels 'kp': Lorry" in text


def test_check_names_a_legacy_token(m2n2, studio, project):
    legacy = studio.client.get("/api/current-user/token")["token"]
    status, text = m2n2("check", "--project", str(project), token=legacy)
    assert status == 1
    assert "legacy tokens are off in this organisation: make a personal access token" in text


def test_check_names_an_image_that_is_not_there(m2n2, studio, project):
    studio.client.post(f"/api/projects/{project}/import", [{"image": "/data/upload/1/missing.png"}])
    status, text = m2n2("check", "--project", str(project))
    assert status == 1
    assert "problem click" in text
    assert re.search(r"missing\.png: Label Studio answers with status \d+: open the task", text)


def test_check_names_the_block_of_private_addresses(m2n2, studio, project, request, free_port):
    environment = request.config.getoption("label_studio")
    owner = studio.accounts[0]
    with make_label_studio(environment, studio.folder, owner, free_port, block_private=True) as blocking:
        blocking.wait_ready(300)
        status, text = m2n2("check", "--project", str(project), url=blocking.url)
    assert status == 1
    assert "problem connection" in text
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in text
