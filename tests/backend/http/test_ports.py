"""Ports are looked at before anything is downloaded or loaded, also by a Python that has none of our packages."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from backend.http.ports import PortTaken, check_port, is_loopback, main, render_bind, render_url
from tests.helpers.paths import ROOT


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_is_taken_is_told_with_the_variable_of_another_one(taken):
    with pytest.raises(PortTaken) as caught:
        check_port(taken, "M2N2_PORT")
    assert str(caught.value) == (
        f"port {taken} cannot be used (Address already in use): stop what uses it, or choose another one, for example "
        f"M2N2_PORT={taken + 1}"
    )


def test_a_port_that_is_left_is_free_again(taken):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        answered, _ = server.accept()
        answered.close()
        client.close()
    check_port(port, "M2N2_PORT")
    # Another address of this machine is not taken with it.
    check_port(taken, "M2N2_PORT", "127.0.0.2")


def test_an_address_of_another_machine_is_told():
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1 is no address of this machine \(.*\): correct M2N2_HOST"):
        check_port(9090, "M2N2_PORT", "192.0.2.1")


def test_addresses_are_those_that_a_browser_of_this_machine_takes():
    assert render_url("0.0.0.0", 9090) == "http://127.0.0.1:9090"
    assert render_url("::", 9090) == "http://[::1]:9090"
    assert render_url("192.168.1.7", 9090) == "http://192.168.1.7:9090"
    assert render_bind("::1", 9090) == "[::1]:9090"
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.7", "host")))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["M2N2_HOST=127.0.0.1", "M2N2_PORT={taken}"], "port {taken} cannot be used"),
        (["STUDIO_PORT={taken}"], "STUDIO_PORT="),
        (["M2N2_PORT=http"], "M2N2_PORT=http is no port: give a number from 1 to 65535"),
        (["M2N2_PORT=0"], "M2N2_PORT=0 is no port"),
    ],
)
def test_the_file_is_a_program_that_needs_nothing_installed(taken, arguments, said):
    words = [argument.format(taken=taken) for argument in arguments]
    # -I, as in the Makefile: neither the folder, nor the environment, nor the user's packages.
    command = [sys.executable, "-I", "-S", ROOT / "backend" / "http" / "ports.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said.format(taken=taken) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_free_ports_are_no_news():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert main([f"M2N2_PORT={port}"]) is None
