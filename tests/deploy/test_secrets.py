"""deploy/make_secrets.sh makes the secrets that are missing, and leaves all others as they are."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "make_secrets.sh"
NAMES = {
    "label_studio_password",
    "label_studio_secret_key",
    "postgres_password",
    "grafana_admin_password",
    "label_studio_api_key",
    "basic_auth_password",
}
UNSET = {"label_studio_api_key", "basic_auth_password"}
NOBODY = 65534


def make(folder, *options, **others):
    command = ["/bin/sh", SCRIPT, "--folder", folder, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, **others)


def succeed(folder, *options, **others):
    result = make(folder, *options, **others)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def refuse(folder, *options, **others):
    result = make(folder, *options, **others)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    return line


def read(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_run_changes_nothing(tmp_path):
    folder = tmp_path / "secrets"
    first = succeed(folder)
    made = read(folder)
    assert first.count("made ") == len(NAMES)
    assert set(made) == NAMES
    assert {name for name, text in made.items() if not text} == UNSET
    assert succeed(folder).count("kept ") == len(NAMES)
    assert read(folder) == made


def test_every_secret_of_compose_is_made(tmp_path):
    succeed(tmp_path, "--tls", "localhost")
    files = {
        secret["file"] for secret in yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["secrets"].values()
    }
    assert {path.name for path in tmp_path.iterdir()} == {Path(file).name for file in files}


def test_what_is_there_stays_and_the_rest_is_made(tmp_path):
    (tmp_path / "grafana_admin_password").write_text("of the operator's $own\n")
    (tmp_path / "label_studio_api_key").write_text("a token")
    succeed(tmp_path)
    assert set(read(tmp_path)) == NAMES
    assert (tmp_path / "grafana_admin_password").read_text() == "of the operator's $own\n"
    assert (tmp_path / "label_studio_api_key").read_text() == "a token"


def test_an_empty_password_counts_as_missing(tmp_path):
    (tmp_path / "grafana_admin_password").touch()
    succeed(tmp_path)
    assert len((tmp_path / "grafana_admin_password").read_text()) == 24


def test_secrets_are_random_and_are_read_as_they_are_written(tmp_path):
    """Label Studio takes a key that begins with a dollar sign for the name of a variable."""
    succeed(tmp_path / "one", "--basic-auth")
    succeed(tmp_path / "other", "--basic-auth")
    one, other = read(tmp_path / "one"), read(tmp_path / "other")
    filled = NAMES - {"label_studio_api_key"}
    assert all(one[name] != other[name] for name in filled)
    assert all(re.fullmatch(r"[0-9a-f]{24,50}", one[name]) for name in filled)
    assert len(one["label_studio_secret_key"]) == 50


def test_a_password_of_the_server_is_made_where_it_is_asked_for(tmp_path):
    succeed(tmp_path)
    assert (tmp_path / "basic_auth_password").read_text() == ""
    succeed(tmp_path, "--basic-auth")
    password = (tmp_path / "basic_auth_password").read_text()
    assert len(password) == 48
    succeed(tmp_path)
    succeed(tmp_path, "--basic-auth")
    assert (tmp_path / "basic_auth_password").read_text() == password


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_containers_may_read_the_files_and_others_may_not_enter_the_folder(tmp_path, umask):
    folder = tmp_path / "secrets"
    succeed(folder, "--tls", "localhost", umask=umask)
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o644}


def test_modes_of_what_was_there_are_mended(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "label_studio_api_key").write_text("a token")
    (folder / "label_studio_api_key").chmod(0o600)
    succeed(folder)
    assert mode(folder) == 0o750
    assert mode(folder / "label_studio_api_key") == 0o644


@pytest.fixture
def shared_folder():
    """A folder that every user reaches, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="m2n2-secrets-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_is_only_read_is_named(shared_folder):
    folder = shared_folder / "secrets"
    folder.mkdir(mode=0o500)
    reader = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if reader:
        os.chown(folder, NOBODY, NOBODY)
    script = shutil.copy(SCRIPT, shared_folder)
    command = ["/bin/sh", script, "--folder", folder]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **reader)
    assert result.returncode == 1
    assert result.stderr == (
        f"make_secrets.sh: {folder} cannot be written to, and label_studio_password is missing there: "
        "run this as its owner, or choose another --folder\n"
    )
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} cannot be made: choose another --folder" in refuse(tmp_path / "file")


@pytest.mark.parametrize(("name", "kind"), [("labels.example.com", "DNS"), ("10.1.2.3", "IP Address")])
def test_a_certificate_is_for_its_name_and_stays(tmp_path, name, kind):
    succeed(tmp_path, "--tls", name)
    certificate = (tmp_path / "tls.crt").read_text()
    shown = ["openssl", "x509", "-in", tmp_path / "tls.crt", "-noout", "-ext", "subjectAltName"]
    assert f"{kind}:{name}" in subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    succeed(tmp_path, "--tls", "another.example.com")
    assert (tmp_path / "tls.crt").read_text() == certificate


def test_half_a_certificate_is_told(tmp_path):
    (tmp_path / "tls.crt").write_text("of an authority")
    assert "one is missing: put both there" in refuse(tmp_path, "--tls", "localhost")
    assert (tmp_path / "tls.crt").read_text() == "of an authority"
    assert not (tmp_path / "tls.key").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tls"], "--tls takes a value"),
        (["--tls", "a b/CN=c"], "--tls takes a host name or an address, not 'a b/CN=c'"),
        (["--password", "x"], "unknown option '--password': see --help"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, problem):
    assert problem in refuse(tmp_path, *options)


def test_help_names_every_option():
    shown = subprocess.run(["/bin/sh", SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert {"--folder", "--basic-auth", "--tls"} <= set(re.findall(r"--[a-z-]+", shown))
