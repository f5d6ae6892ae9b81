"""A real Label Studio is backed up while it works, destroyed and restored by deploy/backup: nothing of it is lost.

Its data is a plain folder, a volume of podman's, and a folder with a PostgreSQL beside it. The server's settings and
secrets go with it. docs/operate/backup.md is followed to the letter; pages.py says what is typed otherwise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.label_studio.client import LabelStudioClient
from backend.label_studio.project_setup import create_project
from backend.tools.local_server import find_port
from backend.tools.studio.processes import Account, create_token, make_backend, make_label_studio
from tests.deploy_heavy.pages import RESTORE, SAVE
from tests.helpers.deploy.postgresql import run_postgresql
from tests.helpers.image.container import IMAGE
from tests.helpers.image.label_studio import VOLUME, run_service, write_docker
from tests.helpers.label_studio.photographs import find_newest_task, read_sample
from tests.helpers.paths import ROOT

BACKUP = ROOT / "deploy" / "backup" / "backup.sh"
STUDIO = ROOT / ".venv-label-studio"
START_SECONDS = 600
OWNER = Account("owner@example.com", "what-no-restore-may-change")
KEY = "0123456789abcdef" * 3
RESULT = [
    {
        "from_name": "brush",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": 600,
        "original_height": 400,
        "value": {"format": "rle", "rle": [0, 3, 169, 128, 3], "brushlabels": ["Cup"]},
    }
]


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclasses.dataclass(frozen=True)
class Place:
    """Where Label Studio keeps what it has. data: its folder on this machine. options: of backup.sh, for the same.
    environ: what finds its database, and the engine whose volume the folder is."""

    data: Path
    settings: Path
    options: tuple[str, ...]
    environ: Mapping[str, str]

    def destroy(self) -> None:
        shutil.rmtree(self.settings)
        empty(self.data)
        if "PGHOST" in self.environ:
            self.ask_database("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def ask_database(self, statement: str) -> None:
        command = ["psql", "--quiet", f"--command={statement}"]
        subprocess.run(command, check=True, env={**os.environ, **self.environ}, stderr=subprocess.DEVNULL)

    def back_up(self, verb: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [BACKUP, verb, folder, "--settings", self.settings, *self.options, *options]
        environ = {**os.environ, **self.environ}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    @contextlib.contextmanager
    def run_label_studio(self) -> Iterator[str]:
        """Its address. The key that it signs tokens with is one of the secrets."""
        server = make_label_studio(STUDIO, self.data, OWNER, find_port())
        (self.data / "secret_key").unlink()
        server.environ |= {"SECRET_KEY": (self.settings / "secrets" / "label_studio_secret_key").read_text()}
        if "PGHOST" in self.environ:
            server.environ |= {
                "DJANGO_DB": "default",
                **{
                    f"POSTGRE_{name}": self.environ[variable]
                    for name, variable in (
                        ("HOST", "PGHOST"),
                        ("PORT", "PGPORT"),
                        ("USER", "PGUSER"),
                        ("PASSWORD", "PGPASSWORD"),
                        ("NAME", "PGDATABASE"),
                    )
                },
            }
        with server:
            server.wait_ready(START_SECONDS)
            yield server.url


def make_folder(stack: contextlib.ExitStack, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    data = tmp_path / "label-studio"
    data.mkdir()
    return Place(data, tmp_path / "settings", ("--data", str(data)), {})


def make_volume(stack: contextlib.ExitStack, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    podman = request.getfixturevalue("podman")
    request.getfixturevalue("image")
    engine = podman.write_program(tmp_path / "podman")
    podman("volume", "create", VOLUME)
    stack.callback(podman, "volume", "rm", "--force", VOLUME)
    data = Path(podman.inspect("volume", VOLUME)["Mountpoint"])
    return Place(data, tmp_path / "settings", (), {"ENGINE": str(engine), "LABEL_STUDIO_IMAGE": IMAGE})


def make_postgresql(stack: contextlib.ExitStack, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    environ = stack.enter_context(run_postgresql())
    plain = make_folder(stack, request, tmp_path)
    return dataclasses.replace(plain, options=(*plain.options, "--database", "here"), environ=environ)


@pytest.fixture(params=[make_folder, make_volume, make_postgresql], ids=["folder", "volume", "postgresql"])
def place(request, tmp_path):
    with contextlib.ExitStack() as stack:
        place = request.param(stack, request, tmp_path)
        (place.settings / "secrets").mkdir(parents=True)
        (place.settings / ".env").write_text("LABEL_STUDIO_HOST=https://labels.example\n")
        (place.settings / "m2n2.env").write_text("M2N2_GRID=32\n")
        (place.settings / "secrets" / "label_studio_secret_key").write_text(KEY)
        yield place


def make_work(url: str) -> tuple[str, int, int]:
    """What a team has: a token, a project with an uploaded image, and an annotation of it. Token, project, task."""
    token = create_token(url, OWNER)
    client = LabelStudioClient(url, SecretStr(token))
    project = create_project(client, "Cups", ("Cup",), "")
    client.upload(project, "coffee.png", read_sample("coffee.png"))
    task = find_newest_task(client, project)
    client.post(f"/api/tasks/{task}/annotations/", {"result": RESULT})
    return token, project, task


def test_what_is_destroyed_comes_back(place, tmp_path):
    backup = tmp_path / "backups" / "monday"
    with place.run_label_studio() as url:
        token, project, task = make_work(url)
        (place.settings / "secrets" / "label_studio_api_key").write_text(token)
        saved = place.back_up("save", backup)
        assert saved.returncode == 0, saved.stderr
    assert backup.stat().st_mode & 0o077 == 0
    refused = place.back_up("restore", backup)
    assert (refused.returncode, "--replace deletes" in refused.stderr) == (1, True), refused.stderr

    place.destroy()
    restored = place.back_up("restore", backup)
    assert restored.returncode == 0, restored.stderr
    assert (place.settings / "m2n2.env").read_text() == "M2N2_GRID=32\n"
    token_file = place.settings / "secrets" / "label_studio_api_key"
    assert token_file.read_text() == token
    with place.run_label_studio() as url:
        client = LabelStudioClient(url, SecretStr(token))
        (annotation,) = client.get(f"/api/tasks/{task}/")["annotations"]
        assert annotation["result"][0]["value"] == RESULT[0]["value"]
        check_a_click(url, token_file, project, tmp_path / "server.log")


def check_a_click(url: str, token_file: Path, project: int, log: Path) -> None:
    """This server fetches the uploaded image with the token of the backup, and answers."""
    environ = {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY_FILE": str(token_file), "M2N2_DISK_CACHE_MIB": "0"}
    with make_backend(environ, find_port(), log) as backend:
        backend.wait_ready(START_SECONDS)
        command = [ROOT / ".venv" / "bin" / "m2n2", "label-studio"]
        for arguments in (("connect", "--backend", backend.url), ("check",)):
            asked = [*command, arguments[0], "--project", str(project), *arguments[1:]]
            done = subprocess.run(
                asked, env={**os.environ, **environ}, capture_output=True, text=True, cwd=ROOT, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert "a mask of" in done.stdout, done.stdout


@pytest.fixture
def project(tmp_path):
    """What an operator has in /opt/m2n2, with the secrets of compose."""
    shutil.copytree(ROOT / "deploy", tmp_path / "project" / "deploy", ignore=shutil.ignore_patterns("secrets", ".env"))
    subprocess.run([tmp_path / "project" / "deploy" / "make_secrets.sh"], check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "project" / "deploy" / ".env").write_text("COMPOSE_PROFILES=cpu,label-studio\n")
    return tmp_path / "project"


@pytest.fixture
def follow(podman, project, tmp_path):
    """Page -> what its script said. It finds podman, and what stands for docker, as an operator's shell does."""
    programs = tmp_path / "bin"
    programs.mkdir()
    podman.write_program(programs / "podman")

    def follow(page, url):
        write_docker(programs / "docker", url)
        script = page.make_script(project=str(project), backups=str(tmp_path))
        environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LABEL_STUDIO_IMAGE": IMAGE}
        done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return follow


def test_the_page_is_followed(podman, image, project, follow, tmp_path):
    """Between the two sections all that the backup has is lost, and Label Studio still runs."""
    settings = project / "deploy"
    with run_service(podman, STUDIO, settings, OWNER) as service:
        token, number, task = make_work(service.url)
        token_file = settings / "secrets" / "label_studio_api_key"
        token_file.write_text(token)
        assert "m2n2-monday has" in follow(SAVE, service.url)

        empty(service.data)
        for name in (".env", "secrets/label_studio_secret_key", "secrets/label_studio_api_key"):
            (settings / name).write_text("lost")
        assert "m2n2-monday is restored" in follow(RESTORE, service.url)

        assert (settings / ".env").read_text() == "COMPOSE_PROFILES=cpu,label-studio\n"
        client = LabelStudioClient(service.url, SecretStr(token))
        (annotation,) = client.get(f"/api/tasks/{task}/")["annotations"]
        assert annotation["result"][0]["value"] == RESULT[0]["value"]
        check_a_click(service.url, token_file, number, tmp_path / "server.log")
