"""nginx serves annotators Label Studio by TLS, by deploy/nginx/label-studio.conf."""

from __future__ import annotations

import http.client
import ssl

import pytest
import requests

from tests.helpers.deploy.nginx_server import Nginx
from tests.helpers.deploy.stub_backend import serve

MEBIBYTE = 1024 * 1024
SECONDS = 20


@pytest.fixture
def studio():
    with serve(1) as backend:
        yield backend


@pytest.fixture
def nginx(tmp_path, studio):
    with Nginx(tmp_path, ["127.0.0.1:9"] * 2, studio.address) as nginx:
        yield nginx


def test_an_annotator_s_request_arrives_with_its_address(nginx, studio):
    answer = requests.get(f"{nginx.label_studio_url}/projects/?page=2", verify=nginx.ca_file, timeout=SECONDS)
    assert (answer.status_code, answer.text) == (200, "1")
    ((path, headers, _),) = studio.asked
    assert path == "/projects/?page=2"
    assert headers["Host"] == f"127.0.0.1:{nginx.label_studio_port}"
    assert (headers["X-Forwarded-Proto"], headers["X-Forwarded-For"]) == ("https", "127.0.0.1")


def test_plain_http_is_sent_to_tls(nginx, studio):
    plain = nginx.label_studio_url.replace("https:", "http:")
    answer = requests.get(f"{plain}/projects/7", allow_redirects=False, timeout=SECONDS)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{nginx.label_studio_url}/projects/7")
    assert studio.asked == []


@pytest.mark.parametrize(("mebibytes", "status"), [(250, 100), (251, 413)])
def test_files_of_annotators_are_taken_up_to_label_studio_s_own_limit(nginx, mebibytes, status):
    context = ssl.create_default_context(cafile=str(nginx.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", nginx.label_studio_port, timeout=SECONDS, context=context)
    connection.putrequest("POST", "/api/projects/1/import")
    connection.putheader("Content-Length", str(mebibytes * MEBIBYTE))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    # The answer to the head alone: none of the body is sent.
    assert connection.sock.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())
    connection.close()


def test_the_server_is_served_where_no_label_studio_runs(tmp_path):
    """Its name in compose is not known then, nor is it here."""
    with serve(2) as server, Nginx(tmp_path, [server.address] * 2) as nginx:
        assert requests.get(f"{nginx.url}/health", verify=nginx.ca_file, timeout=SECONDS).text == "2"
