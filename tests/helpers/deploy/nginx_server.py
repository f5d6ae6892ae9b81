"""A real nginx with the files of deploy/nginx, on loopback, in a folder of its own and without root."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tests.helpers.paths import ROOT

_DEPLOY = ROOT / "deploy" / "nginx"
_WAIT_SECONDS = 20.0
_POLL_SECONDS = 0.05
_MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{ }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


def find_nginx() -> str:
    """Debian keeps it where only root looks."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert found is not None, "there is no nginx here: `make deploy-test` installs it"
    return found


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nginx:
    """Serving inside its ``with`` block.

    backends: ``host:port`` of the processes, in place of those of deploy/. label_studio: that of Label Studio; None
    leaves it at its name in compose, which nobody knows here. All else of those files is left as it is but for the
    ports and the place of the certificate. ca_file: what its clients trust.
    """

    def __init__(self, folder: Path, backends: Sequence[str], label_studio: str | None = None) -> None:
        self._folder = folder
        self._port, self.label_studio_port = _find_free_port(), _find_free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        self.label_studio_url = f"https://127.0.0.1:{self.label_studio_port}"
        self.ca_file = folder / "ca.pem"
        self._write_certificate()
        self._write_configuration(backends)
        self._write_label_studio(label_studio)
        self._process: subprocess.Popen[bytes] | None = None

    def check(self) -> subprocess.CompletedProcess[str]:
        """``nginx -t`` of this configuration."""
        return subprocess.run([*self._command, "-t"], capture_output=True, text=True, check=False)

    def read_error_log(self) -> str:
        """What nginx itself had to say."""
        return (self._folder / "error.log").read_text()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._is_listening():
            assert self._process.poll() is None, self.read_error_log()
            assert time.monotonic() < deadline, self.read_error_log()
            time.sleep(_POLL_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(_WAIT_SECONDS)

    @property
    def _command(self) -> list[str]:
        return [find_nginx(), "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]

    def _write_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(self._folder / "m2n2.key")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(self._folder / "m2n2.crt", append=True)

    def _write_configuration(self, backends: Sequence[str]) -> None:
        (self._folder / "nginx.conf").write_text(_MAIN.format(folder=self._folder))
        (self._folder / "conf.d").mkdir()
        self._write_site("m2n2.conf", {"listen 443 ssl": f"listen 127.0.0.1:{self._port} ssl"})
        names = iter(backends)
        upstream = (_DEPLOY / "m2n2-upstream.conf").read_text()
        upstream = re.sub(r"server 127\.0\.0\.1:\d+", lambda match: f"server {next(names)}", upstream)
        (self._folder / "conf.d" / "m2n2-upstream.conf").write_text(upstream)

    def _write_label_studio(self, address: str | None) -> None:
        changes = {"listen 8443 ssl": f"listen 127.0.0.1:{self.label_studio_port} ssl"}
        if address is not None:
            changes["http://label-studio:8080"] = f"http://{address}"
        self._write_site("label-studio.conf", changes)

    def _write_site(self, name: str, changes: Mapping[str, str]) -> None:
        site = (_DEPLOY / name).read_text()
        for old, new in {**changes, "/etc/nginx/tls/": f"{self._folder}/"}.items():
            assert old in site, f"{name} does not say {old}"
            site = site.replace(old, new)
        (self._folder / "conf.d" / name).write_text(site)

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
