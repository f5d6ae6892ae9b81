"""Certificates, proxies, several addresses, time: what a download keeps to whatever it is asked for."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
import trustme

from backend.errors import ImageUnavailable
from backend.images.cache import TaskImage
from backend.images.fetcher import create_picture_cache
from backend.settings import load_settings

HOST = "images.example.com"


def read_head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(1024)
        if not part:
            raise OSError("hung up")
        head += part
    return head


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def heads():
    """What the servers were sent before any body."""
    return []


@pytest.fixture
def answer_with_tls(authority, make_png, heads):
    """Take over a connection as HOST, with its certificate, and send an image."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    context.sni_callback = lambda connection, name, _: heads.append(name)
    png = make_png(30, 20)

    def answer(connection, closing):
        with context.wrap_socket(connection, server_side=True) as secure:
            heads.append(read_head(secure))
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(png) + png)

    return answer


def test_the_checked_address_is_asked_by_the_name_of_its_host(
    make_raw_server, names, answer_with_tls, heads, ca_file, monkeypatch
):
    server = make_raw_server(answer_with_tls)
    names[HOST] = [["127.0.0.1"]]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    pictures = create_picture_cache(load_settings({"M2N2_PRIVATE_IMAGE_HOSTS": f"{HOST}:{server.port}"}))
    assert pictures.get(TaskImage(f"https://{HOST}:{server.port}/a.png")).pixels.shape == (20, 30, 3)
    assert heads[0] == HOST
    assert f"Host: {HOST}:{server.port}\r\n".encode() in heads[1]


@pytest.mark.parametrize(("host", "trusted"), [(HOST, False), ("other.example.com", True)])
def test_a_certificate_that_does_not_fit_is_refused(
    make_raw_server, names, answer_with_tls, heads, ca_file, monkeypatch, host, trusted
):
    server = make_raw_server(answer_with_tls)
    names[host] = [["127.0.0.1"]]
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    pictures = create_picture_cache(load_settings({"M2N2_PRIVATE_IMAGE_HOSTS": f"*.example.com:{server.port}"}))
    with pytest.raises(ImageUnavailable, match=r"no certificate that is trusted here: .* in REQUESTS_CA_BUNDLE"):
        pictures.get(TaskImage(f"https://{host}:{server.port}/a.png"))
    assert heads == [host]


def test_label_studio_is_reached_with_a_private_ca(make_raw_server, names, answer_with_tls, ca_file, monkeypatch):
    server = make_raw_server(answer_with_tls)
    names[HOST] = [["127.0.0.1"]]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    settings = load_settings({"LABEL_STUDIO_URL": f"https://{HOST}:{server.port}"})
    assert create_picture_cache(settings).get(TaskImage("/data/a.png")).pixels.shape == (20, 30, 3)


def test_the_next_address_is_tried_where_one_does_not_answer(server, names, monkeypatch, make_png):
    server.answer("/data/a.png", make_png())
    names[HOST] = [["127.0.0.2", "127.0.0.1"]]
    port = server.url.rpartition(":")[2]
    create_picture_cache(load_settings({"LABEL_STUDIO_URL": f"http://{HOST}:{port}"})).get(TaskImage("/data/a.png"))


def test_an_http_proxy_resolves_and_connects(server, names, monkeypatch, make_png):
    names[HOST] = [[]]
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.answer(f"http://{HOST}/a.png", make_png())
    create_picture_cache(load_settings({"M2N2_ALLOWED_IMAGE_HOSTS": HOST})).get(TaskImage(f"http://{HOST}/a.png"))
    assert len(server.seen) == 1


def test_a_tunnel_through_a_proxy_keeps_the_certificate_check(
    make_raw_server, names, answer_with_tls, heads, ca_file, monkeypatch
):
    names[HOST] = [[]]

    def tunnel(connection, closing):
        heads.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        answer_with_tls(connection, closing)

    proxy = make_raw_server(tunnel)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    pictures = create_picture_cache(load_settings({"M2N2_ALLOWED_IMAGE_HOSTS": HOST}))
    assert pictures.get(TaskImage(f"https://{HOST}/a.png")).pixels.shape == (20, 30, 3)
    assert heads[0].startswith(f"CONNECT {HOST}:443 ".encode())
    assert heads[1] == HOST


def test_a_proxy_that_is_down_is_named_and_no_proxy_goes_round_it(server, make_server, monkeypatch, make_png):
    proxy = make_server()
    proxy.close()
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    server.answer("/data/a.png", make_png())
    pictures = create_picture_cache(load_settings({"LABEL_STUDIO_URL": server.url}))
    with pytest.raises(ImageUnavailable, match=r"Label Studio is not reached through the proxy: .* NO_PROXY"):
        pictures.get(TaskImage("/data/a.png"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pictures.get(TaskImage("/data/a.png"))


@pytest.fixture
def full_port():
    """A port that lets no further connection in: nobody takes those that wait there."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(16):
            one = waiting.enter_context(socket.socket())
            one.settimeout(0.05)
            try:
                one.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()[1]


def test_a_host_that_does_not_answer_is_told_from_one_that_is_silent(full_port):
    settings = {"LABEL_STUDIO_URL": f"http://127.0.0.1:{full_port}", "M2N2_CONNECT_TIMEOUT_SECONDS": "0.1"}
    with pytest.raises(ImageUnavailable, match=r"cannot be reached in time: .* M2N2_CONNECT_TIMEOUT_SECONDS"):
        create_picture_cache(load_settings(settings)).get(TaskImage("/data/a.png"))


@pytest.mark.parametrize("host", [HOST, f"{'a' * 64}.example.com"])
def test_a_name_without_an_address_is_unavailable(names, host):
    names[HOST] = [[]]
    with pytest.raises(ImageUnavailable, match="Label Studio does not deliver it"):
        create_picture_cache(load_settings({"LABEL_STUDIO_URL": f"http://{host}"})).get(TaskImage("/data/a.png"))


def test_no_watch_outlives_its_download(server, make_png):
    server.answer("/data/a.png", make_png())
    settings = load_settings({"LABEL_STUDIO_URL": server.url, "M2N2_FETCH_TIMEOUT_SECONDS": "90"})
    create_picture_cache(settings).get(TaskImage("/data/a.png"))
    for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
        timer.join(10)
        assert not timer.is_alive()
