"""The ports of this machine: is one free, what is its address. Needs nothing but Python itself.

``make run`` runs this file before anything is installed: ``python3 backend/http/ports.py M2N2_PORT=9090``.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys

_ANY_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""That mean all of the machine -> the one under which it reaches itself."""


class PortTaken(Exception):
    """A port that cannot be listened on; the message says why, and which variable names another one."""


def check_port(port: int, variable: str, host: str = "127.0.0.1") -> None:
    """Raise PortTaken where nothing can listen on the port.

    Args:
        port: Of TCP.
        variable: The setting that names it, for the message.
        host: The address to listen on.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As gunicorn does: connections of a server that has ended must not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # On some systems two may bind, but only one may listen.
            probe.listen(1)
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise PortTaken(f"{host} is no address of this machine ({reason}): correct M2N2_HOST") from None
        raise PortTaken(
            f"port {port} cannot be used ({reason}): stop what uses it, or choose another one, for example "
            f"{variable}={port + 1 if port < 65535 else port - 1}"
        ) from None


def render_bind(host: str, port: int) -> str:
    """What a server is told to listen on, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def render_url(host: str, port: int) -> str:
    """The address under which this machine reaches a server that listens on ``host``."""
    return f"http://{render_bind(_ANY_ADDRESSES.get(host, host), port)}"


def is_loopback(host: str) -> bool:
    """Whether a server that listens on ``host`` is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main(arguments: list[str]) -> str | None:
    """Check ports that are given as ``NAME=PORT``; what is wrong with the first that is taken."""
    host = "127.0.0.1"
    for argument in arguments:
        variable, _, value = argument.partition("=")
        if variable == "M2N2_HOST":
            host = value
            continue
        if not (value.isdecimal() and 0 < int(value) < 65536):
            return f"{variable}={value} is no port: give a number from 1 to 65535"
        try:
            check_port(int(value), variable, host)
        except PortTaken as problem:
            return str(problem)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
