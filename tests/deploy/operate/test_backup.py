"""deploy/backup on plain folders: what it saves comes back, and what could be lost by a mistake is refused.

The real Label Studio, volumes and PostgreSQL are in tests/deploy_heavy.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess

import pytest
import yaml

from tests.helpers.paths import ROOT

BACKUP = ROOT / "deploy" / "backup" / "backup.sh"


@pytest.fixture
def data(tmp_path):
    """A folder like Label Studio's, whose data base is being written to."""
    folder = tmp_path / "label-studio"
    (folder / "media" / "upload" / "1").mkdir(parents=True)
    (folder / "media" / "upload" / "1" / "a b.png").write_bytes(b"picture")
    (folder / ".env").write_text("SECRET_KEY=abc\n")
    (folder / ".env").chmod(0o600)
    with contextlib.closing(sqlite3.connect(folder / "label_studio.sqlite3")) as database:
        database.execute("CREATE TABLE task (id INTEGER)")
        database.execute("INSERT INTO task VALUES (7)")
        database.commit()
        database.execute("INSERT INTO task VALUES (8)")
        yield folder


@pytest.fixture
def settings(tmp_path):
    folder = tmp_path / "settings"
    (folder / "secrets").mkdir(parents=True, mode=0o700)
    (folder / "secrets" / "label_studio_api_key").write_text("token")
    (folder / ".env").write_text("LABEL_STUDIO_PASSWORD='pa$$word'\n")
    (folder / "docker-compose.yml").write_text("services: {}\n")
    return folder


@pytest.fixture
def run(data, settings):
    def run(verb, folder, *options):
        command = [BACKUP, verb, folder, "--data", data, "--settings", settings, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, umask=0o022)

    return run


@pytest.fixture
def backup(run, tmp_path):
    saved = run("save", tmp_path / "monday")
    assert saved.returncode == 0, saved.stderr
    return tmp_path / "monday"


def read_tasks(folder):
    with contextlib.closing(sqlite3.connect(folder / "label_studio.sqlite3")) as database:
        return database.execute("SELECT id FROM task").fetchall()


def test_it_comes_back_somewhere_else(backup, tmp_path):
    command = [BACKUP, "restore", backup, "--data", tmp_path / "new data", "--settings", tmp_path / "new settings"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data, settings = tmp_path / "new data", tmp_path / "new settings"
    assert read_tasks(data) == [(7,)]
    assert (data / "media" / "upload" / "1" / "a b.png").read_bytes() == b"picture"
    assert stat.S_IMODE((data / ".env").stat().st_mode) == 0o600
    assert sorted(path.name for path in settings.iterdir()) == [".env", "secrets"]
    assert (settings / ".env").read_text() == "LABEL_STUDIO_PASSWORD='pa$$word'\n"
    assert stat.S_IMODE((settings / "secrets").stat().st_mode) == 0o700


def test_others_cannot_read_it(backup):
    for path in (backup, *backup.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_restore_deletes_nothing_unasked(run, backup, data, settings):
    refused = run("restore", backup)
    assert (refused.returncode, refused.stderr) == (1, f"backup: {data} has data: --replace deletes it\n")
    (data / "later").write_text("")
    (settings / ".env").write_text("changed\n")
    replaced = run("restore", backup, "--replace")
    assert replaced.returncode == 0, replaced.stderr
    assert not (data / "later").exists()
    assert (settings / ".env").read_text() == "LABEL_STUDIO_PASSWORD='pa$$word'\n"


def test_settings_are_not_overwritten_unasked(backup, settings, tmp_path):
    command = [BACKUP, "restore", backup, "--data", tmp_path / "new", "--settings", settings]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = f"backup: {settings} has .env secrets already: --replace puts the backup's in their place\n"
    assert (refused.returncode, refused.stderr) == (1, expected)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_damaged_backup_changes_nothing(run, backup, data):
    with (backup / "label-studio.tar").open("ab") as file:
        file.write(b"x")
    refused = run("restore", backup, "--replace")
    assert refused.returncode == 1
    assert f"backup: {backup} is damaged: nothing was changed" in refused.stderr
    assert read_tasks(data) == [(7,)]
    assert run("check", backup).returncode == 1


def test_a_sound_backup_is_found_sound(run, backup):
    assert run("check", backup).returncode == 0


def test_no_backup_is_overwritten(run, backup):
    again = run("save", backup)
    assert (again.returncode, again.stderr) == (1, f"backup: {backup} is there already: name a new folder\n")


def test_a_database_that_is_elsewhere_is_not_forgotten(run, data, tmp_path):
    (data / "label_studio.sqlite3").unlink()
    refused = run("save", tmp_path / "monday")
    assert refused.returncode == 1
    assert "for PostgreSQL give --database service or --database here" in refused.stderr
    assert not list(tmp_path.glob("monday*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "./none"], "there is no ./none: name Label Studio's volume or folder with --data"),
        (
            ["--settings", "/dev"],
            "/dev has none of .env m2n2.env label-studio.env secrets: name their folder with --settings",
        ),
        (["--database", "mysql"], "--database is data, service or here, not mysql"),
        (["--force"], "--force is no option: --data, --settings, --database, --replace"),
        (["--data"], "--data needs a value"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, tmp_path, options, message):
    done = run("save", tmp_path / "monday", *options)
    assert (done.returncode, done.stderr) == (1, f"backup: {message}\n")


def test_it_is_told_what_to_do(tmp_path):
    done = subprocess.run([BACKUP], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "backup: say what: backup.sh save FOLDER, check FOLDER or restore FOLDER\n",
    )


@pytest.fixture
def engine(tmp_path):
    """An engine whose volume is the folder ``volume``, and which prints what it is asked into the file ``asked``.

    A container uses the volume while the file ``used`` is there. The service postgres dumps a word, and takes it back.
    """
    program = tmp_path / "engine"
    (tmp_path / "volume").mkdir()
    program.write_text(
        f"""#!/bin/bash
cd {tmp_path}
echo "$*" >> asked
case "$1 $4 $6" in
    "volume "*) [ "$2 $3" != "inspect m2n2_postgres" ] || [ -e postgres ] ;;
    "ps "*) if [ -e used ]; then echo 0123456789ab; fi ;;
    "run "*) exec python3 -c "${{@: -3:1}}" "${{@: -2:1}}" volume ;;
    "compose exec postgres") if [[ "$*" == *pg_dump* ]]; then echo dumped; else cat > restored; fi ;;
esac
"""
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def run_on_volume(engine, settings):
    def run(verb, folder, *options, settings=settings):
        command = [BACKUP, verb, folder, "--settings", settings, *options]
        environ = {**os.environ, "ENGINE": str(engine)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    return run


def test_a_volume_in_use_is_not_written_to(run_on_volume, backup, tmp_path):
    (tmp_path / "used").touch()
    done = run_on_volume("restore", backup, "--replace")
    expected = "backup: a container uses m2n2_label-studio: stop Label Studio first\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert "run" not in (tmp_path / "asked").read_text()


def test_the_service_s_database_is_dumped_and_comes_back_into_a_new_volume(run_on_volume, tmp_path):
    (tmp_path / "volume" / "picture.png").write_bytes(b"picture")
    done = run_on_volume("save", tmp_path / "monday", "--database", "service")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "monday" / "database.dump").read_text() == "dumped\n"
    forgotten = run_on_volume("restore", tmp_path / "monday", "--replace")
    assert "has a PostgreSQL database: give --database service or --database here" in forgotten.stderr

    (tmp_path / "volume" / "picture.png").unlink()
    (tmp_path / "postgres").touch()
    elsewhere = {"settings": tmp_path / "new"}
    refused = run_on_volume("restore", tmp_path / "monday", "--database", "service", **elsewhere)
    assert refused.stderr == "backup: the volume m2n2_postgres is there: --replace deletes it\n"
    assert not (tmp_path / "restored").exists()
    (tmp_path / "asked").unlink()
    done = run_on_volume("restore", tmp_path / "monday", "--database", "service", "--replace", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "restored").read_text() == "dumped\n"
    assert (tmp_path / "volume" / "picture.png").read_bytes() == b"picture"
    asked = [line.split()[-2:] for line in (tmp_path / "asked").read_text().splitlines()]
    made_anew = [["--force", "postgres"], ["rm", "m2n2_postgres"], ["--wait", "postgres"]]
    assert [words for words in asked if words in made_anew] == made_anew


def test_volumes_and_image_are_those_of_compose():
    compose = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text())
    script = BACKUP.read_text()
    assert "label-studio" in compose["volumes"]
    assert f"data={compose['name']}_label-studio\n" in script
    assert compose["services"]["postgres"]["volumes"] == ["postgres:/var/lib/postgresql/data"]
    assert f"POSTGRES_VOLUME={compose['name']}_postgres\n" in script
    for name in ("label-studio", "label-studio-postgres"):
        assert f"image={compose['services'][name]['image']}\n" in script
