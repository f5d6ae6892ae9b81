"""Downloads that break, are killed, and go on."""

import os
import re
import signal
import subprocess
import sys

import pytest

from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.datasets.download import download

CONTENT = bytes(range(256)) * 40
RUN = """
import sys
from pathlib import Path
from rich.progress import Progress
from m2n2_engine.tools.datasets.download import download
download(sys.argv[1], Path(sys.argv[2]), Progress(disable=True))
"""


@pytest.fixture
def server(release_server):
    release_server.content = CONTENT
    return release_server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "raw" / "release.zip"


@pytest.fixture
def part(target):
    return target.with_name("release.zip.part")


def test_the_bytes_are_the_server_s(server, target, part, progress):
    download(server.url, target, progress)
    assert target.read_bytes() == CONTENT
    assert not part.exists()
    assert server.asked == [None]


def test_a_broken_connection_is_named_and_continued(server, target, part, progress):
    server.cut_at = 4000
    with pytest.raises(DatasetError) as caught:
        download(server.url, target, progress)
    assert re.match(rf"{server.url} could not be downloaded \(.*4000 bytes read, 6240 more", str(caught.value))
    assert f"run the command again, it goes on where it stopped; or put the file at {target}" in str(caught.value)
    assert not target.exists()
    assert part.read_bytes() == CONTENT[:4000]

    server.cut_at = None
    download(server.url, target, progress)
    assert server.asked == [None, "bytes=4000-"]
    assert target.read_bytes() == CONTENT
    assert not part.exists()


def test_a_killed_run_is_continued(release_server, target, part, progress):
    server = release_server
    # More than the sockets' buffers hold: when all of it is sent, the client has written some.
    server.content = os.urandom(24 << 20)
    server.cut_at = 20 << 20
    process = subprocess.Popen([sys.executable, "-c", RUN, server.url, target])
    server.before_cut = process.kill
    assert process.wait(60) == -signal.SIGKILL
    have = part.stat().st_size
    assert 0 < have <= server.cut_at

    server.cut_at = None
    download(server.url, target, progress)
    assert server.asked == [None, f"bytes={have}-"]
    assert target.read_bytes() == server.content


def test_a_server_that_sends_no_parts_sends_all_again(server, target, part, progress):
    part.parent.mkdir()
    part.write_bytes(b"other bytes" * 2000)
    server.knows_parts = False
    download(server.url, target, progress)
    assert target.read_bytes() == CONTENT


def test_a_run_stopped_after_the_last_byte(server, target, part, progress):
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    download(server.url, target, progress)
    assert target.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_given_up(server, target, part, progress):
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    with pytest.raises(DatasetError, match="the 10244 bytes of an earlier run are not the start of it"):
        download(server.url, target, progress)
    download(server.url, target, progress)
    assert target.read_bytes() == CONTENT


def test_an_address_that_has_nothing(server, target, part, progress):
    server.status = 404
    with pytest.raises(DatasetError, match=r"could not be downloaded \(404 .*\): run the command again"):
        download(server.url, target, progress)
    assert not target.exists()
    assert not part.exists()


def test_an_address_that_nobody_answers(target, progress):
    with pytest.raises(DatasetError, match=r"^http://127\.0\.0\.1:1/a could not be downloaded \(.*Connection refused"):
        download("http://127.0.0.1:1/a", target, progress)
