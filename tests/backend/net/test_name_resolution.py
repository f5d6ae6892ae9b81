"""A name server that does not answer holds nobody up for long, and no thread for every question."""

from __future__ import annotations

import socket
import threading

import pytest

from backend.errors import ImageUnavailable
from backend.images.cache import TaskImage
from backend.images.fetcher import create_picture_cache
from backend.net.name_resolution import NameResolver
from backend.settings import load_settings

HOST = "images.example.com"


@pytest.fixture
def silent_names(monkeypatch):
    """A resolver that answers only at the end of the test; the names that it was asked for."""
    asked, end = [], threading.Event()
    resolve = socket.getaddrinfo

    def hang(host, *arguments, **options):
        if not host.endswith("example.com"):
            return resolve(host, *arguments, **options)
        asked.append(host)
        end.wait(60)
        raise socket.gaierror("no name server")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    end.set()
    for thread in [thread for thread in threading.enumerate() if thread.name == "resolve-name"]:
        thread.join(10)
        assert not thread.is_alive()


def test_a_name_is_given_up_after_the_connect_timeout(silent_names):
    settings = load_settings({"M2N2_ALLOWED_IMAGE_HOSTS": HOST, "M2N2_CONNECT_TIMEOUT_SECONDS": "0.05"})
    with pytest.raises(
        ImageUnavailable, match=f"the name {HOST} is not resolved in time: .* raise M2N2_CONNECT_TIMEOUT_SECONDS"
    ):
        create_picture_cache(settings).get(TaskImage(f"http://{HOST}/a.png"))
    assert silent_names == [HOST]


def test_a_name_counts_for_the_total_time(silent_names):
    settings = load_settings({"M2N2_ALLOWED_IMAGE_HOSTS": HOST, "M2N2_FETCH_TIMEOUT_SECONDS": "0.05"})
    with pytest.raises(ImageUnavailable, match="it takes too long to arrive: raise M2N2_FETCH_TIMEOUT_SECONDS"):
        create_picture_cache(settings).get(TaskImage(f"http://{HOST}/a.png"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_name_of_a_proxy_is_given_up_too(silent_names, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", "http://proxy.example.com:3128")
    settings = load_settings({"M2N2_ALLOWED_IMAGE_HOSTS": HOST, "M2N2_CONNECT_TIMEOUT_SECONDS": "0.05"})
    with pytest.raises(ImageUnavailable, match=r"the name proxy.example.com is not resolved in time"):
        create_picture_cache(settings).get(TaskImage(f"{scheme}://{HOST}/a.png"))


def test_names_that_hang_take_a_bounded_number_of_threads(silent_names):
    resolver = NameResolver(most_questions=2)
    for number in range(4):
        with pytest.raises(TimeoutError):
            resolver.resolve(f"{number}.example.com", 80, 0.01)
    assert len(silent_names) == 2


def test_an_answer_of_either_kind_makes_room(names):
    names[HOST] = [["127.0.0.1"]]
    resolver = NameResolver(most_questions=1)
    for _ in range(3):
        assert resolver.resolve(HOST, 80, 10)[0][4] == ("127.0.0.1", 80)
        with pytest.raises(UnicodeError):
            resolver.resolve(f"{'a' * 64}.example.com", 80, 10)


def test_images_of_other_hosts_are_fetched_while_names_hang(silent_names, server, make_png):
    server.answer("/data/a.png", make_png())
    settings = load_settings(
        {
            "LABEL_STUDIO_URL": server.url,
            "M2N2_ALLOWED_IMAGE_HOSTS": HOST,
            "M2N2_CONNECT_TIMEOUT_SECONDS": "0.05",
        }
    )
    pictures = create_picture_cache(settings)
    for number in range(3):
        with pytest.raises(ImageUnavailable):
            pictures.get(TaskImage(f"http://{HOST}/{number}.png"))
    assert len(silent_names) == 3
    assert pictures.get(TaskImage("/data/a.png")).pixels.shape == (480, 640, 3)
