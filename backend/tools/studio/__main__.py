"""``make studio``: a real Label Studio with a ready project, connected to this backend. One command, then click.

Everything lives below out/studio in the folder that it is started in. The next start there goes on with it. Delete it
to begin anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from backend.label_studio.client import LabelStudioClient
from backend.label_studio.project_setup import Attachment, attach_backend, create_project
from backend.settings import load_settings
from backend.tools.studio.processes import Account, Server, create_token, make_backend, make_label_studio
from m2n2_engine.errors import M2N2Error
from m2n2_engine.tools.context import output, working_on
from m2n2_engine.tools.optional_packages import SCIKIT_IMAGE

_FOLDER = Path("out/studio").absolute()
_SAMPLES = Path(__file__).with_name("sample_images.json")
_PROJECT_TITLE = "M2N2 samples"
_LABELS = ("Person", "Cat", "Cup")
_EMAIL = "annotator@example.com"
# The first start makes the data base: half a minute, more on a busy machine.
_LABEL_STUDIO_SECONDS = 300.0
_BACKEND_SECONDS = 300.0


def main() -> None:
    """Start both, prepare the project, and serve until Ctrl+C."""
    options = _parse_options()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        SCIKIT_IMAGE.require("the sample project")
        _serve(options.label_studio, options.port, load_settings().port)
    except KeyboardInterrupt:
        output.print("stopped; `make studio` goes on where you left off", highlight=False)
    except M2N2Error as error:
        output.print(f"studio: {error}", markup=False, highlight=False)
        sys.exit(1)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--label-studio", type=Path, required=True, help="virtual environment of Label Studio")
    parser.add_argument("--port", type=int, default=8080, help="port of Label Studio")
    return parser.parse_args()


def _serve(environment: Path, port: int, backend_port: int) -> None:
    account = _load_account()
    label_studio = make_label_studio(environment, _FOLDER / "label-studio", account, port)
    # The backend starts with Label Studio's token, but a port that is taken should be known now.
    _make_backend(label_studio.url, "", backend_port).check_port()
    with contextlib.ExitStack() as running:
        with _phase(f"Label Studio starts at {label_studio.url}, which takes a minute the first time"):
            running.enter_context(label_studio)
            label_studio.wait_ready(_LABEL_STUDIO_SECONDS)
        token = _load_token(label_studio.url, account)
        backend = _make_backend(label_studio.url, token, backend_port)
        with _phase(f"the server starts at {backend.url} and loads its model"):
            running.enter_context(backend)
            backend.wait_ready(_BACKEND_SECONDS)
        with _phase("the sample project is made and connected"):
            project = _prepare_project(LabelStudioClient(label_studio.url, SecretStr(token)), backend.url)
        address = f"{label_studio.url}/projects/{project}/data"
        output.print(render_greeting(address, account, backend.url), markup=False, highlight=False)
        signal.pause()


@contextlib.contextmanager
def _phase(description: str) -> Iterator[None]:
    """Say what happens now, and afterwards how long it took; a clock runs meanwhile where that is a terminal."""
    started = time.monotonic()
    output.print(f"{description} ...", markup=False, highlight=False)
    with working_on("working"):
        yield
    output.print(f"    done after {time.monotonic() - started:.0f} s", highlight=False)


def _make_backend(label_studio_url: str, token: str, port: int) -> Server:
    environ = {"LABEL_STUDIO_URL": label_studio_url, "LABEL_STUDIO_API_KEY": token}
    return make_backend(environ, port, _FOLDER / "backend.log")


def _load_account() -> Account:
    file = _FOLDER / "password"
    if not file.exists():
        _write_secret(file, secrets.token_urlsafe(9))
    return Account(_EMAIL, file.read_text())


def _load_token(url: str, account: Account) -> str:
    file = _FOLDER / "token"
    if not file.exists():
        _write_secret(file, create_token(url, account))
    return file.read_text()


def _write_secret(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)


def _prepare_project(client: LabelStudioClient, backend_url: str) -> int:
    """The id of the sample project, made where it is not there yet, with this backend as its model."""
    projects = client.get("/api/projects/", page_size=100)["results"]
    project = next((found["id"] for found in projects if found["title"] == _PROJECT_TITLE), None)
    if project is None:
        project = create_project(client, _PROJECT_TITLE, _LABELS, backend_url)
        for image in _write_samples():
            client.upload(project, image.name, image.read_bytes())
    attach_backend(client, project, Attachment(backend_url))
    return int(project)


def _write_samples() -> list[Path]:
    """The sample images as files, beside a note of their licences; scikit-image brings them."""
    import skimage

    folder = _FOLDER / "images"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_SAMPLES, folder / "LICENCES.json")
    names = [sample["file"] for sample in json.loads(_SAMPLES.read_text(encoding="utf-8"))]
    source = Path(skimage.__file__).parent / "data"
    return [Path(shutil.copy(source / name, folder / name)) for name in names]


def render_greeting(address: str, account: Account, backend_url: str) -> str:
    """Address, what to try next, and where the guide is, in three lines."""
    return (
        f"\nOpen {address} and log in as {account.email} with the password {account.password}\n"
        "Try next:  open a task, turn on Auto-Annotation at the bottom, take Auto-Detect (M), choose a label, click\n"
        f"Guide:     {backend_url}/guide (Ctrl+C stops both; `make studio` then goes on here)\n"
    )


if __name__ == "__main__":
    main()
