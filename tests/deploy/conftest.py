"""The files of deploy/ as a real compose client sees them."""

from __future__ import annotations

import functools
import json
import shutil

import pytest

from tests.helpers.deploy.compose import ALL, DEPLOY, EXAMPLE, run_compose


@pytest.fixture(scope="session")
def render():
    """Profiles -> the project as the client sees it, with .env as it is copied."""

    @functools.cache
    def render(profiles):
        result = run_compose("--env-file", EXAMPLE, "config", "--format=json", COMPOSE_PROFILES=profiles)
        assert (result.returncode, result.stderr) == (0, "")
        return json.loads(result.stdout)

    return render


@pytest.fixture
def deployment(tmp_path):
    """A copy of deploy/ as an operator has it. Files -> the project as the client sees it with these in place."""
    folder = tmp_path / "deploy"
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns("secrets", ".env", "*.env"))
    shutil.copytree(DEPLOY / "defaults", folder / "defaults", dirs_exist_ok=True)

    def render(**files):
        for name, text in files.items():
            (folder / name).write_text(text)
        result = run_compose("config", "--format=json", folder=folder, COMPOSE_PROFILES=ALL)
        assert (result.returncode, result.stderr) == (0, "")
        return json.loads(result.stdout)

    return render
