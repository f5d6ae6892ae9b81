"""A PostgreSQL of Debian's on loopback, with one empty database."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from backend.tools.local_server import find_port

USER = "postgres"
"""Of the system, too: PostgreSQL refuses to run as root."""

DATABASE = "labelstudio"


def find_programs() -> Path:
    """The folder that Debian keeps initdb and the others in, of the newest release that is installed.

    Raises:
        AssertionError: There is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, "PostgreSQL is missing: tests/install_debian.sh postgresql"
    return found[-1].parent


@contextlib.contextmanager
def run_postgresql() -> Iterator[Mapping[str, str]]:
    """The environment by which its own programs find the database."""
    programs, port, password = find_programs(), find_port(), secrets.token_hex(12)
    # pytest keeps everyone else out of its own folders.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    (folder / "password").write_text(password)
    for path in (folder, folder / "password"):
        shutil.chown(path, USER, USER)
    given = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGPASSWORD": password, "PGDATABASE": DATABASE}
    data = folder / "data"

    def run(program: str, *arguments: str | Path) -> None:
        command = ["runuser", "-u", USER, "--", programs / program, *arguments]
        subprocess.run(command, check=True, cwd=folder, env={**os.environ, **given}, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--no-sync", data)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "--wait", f"--pgdata={data}", f"--log={folder / 'log'}", f"--options={options}", "start")
        try:
            run("createdb", DATABASE)
            yield given
        finally:
            run("pg_ctl", "--wait", "--mode=immediate", f"--pgdata={data}", "stop")
    finally:
        shutil.rmtree(folder)
