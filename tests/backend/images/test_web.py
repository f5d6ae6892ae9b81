"""Hosts that settings allow, and cloud storage behind Label Studio: who is asked, and who sees the token."""

from __future__ import annotations

import base64

import pytest

from backend.errors import ImageRefused, ImageUnavailable
from backend.images.cache import TaskImage
from backend.images.fetcher import create_picture_cache
from backend.settings import load_settings

TOKEN = "0123456789abcdef0123456789abcdef01234567"
CLOUD_URI = "s3://bucket/ein bild?ä.png"
PRESIGN = f"/tasks/7/presign/?fileuri={base64.urlsafe_b64encode(CLOUD_URI.encode()).decode().replace('=', '%3D')}"


def find_host(server):
    return server.url.removeprefix("http://")


@pytest.fixture
def make_fetcher(server):
    def make(prefix="", **environ):
        given = {"LABEL_STUDIO_URL": server.url + prefix, "LABEL_STUDIO_API_KEY": TOKEN, **environ}
        return create_picture_cache(load_settings(given))

    return make


def test_an_allowed_host_is_asked_without_the_token(make_server, make_fetcher, make_png):
    other = make_server()
    other.answer("/a.png?size=full", make_png(30, 20))
    fetcher = make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=find_host(other))
    assert fetcher.get(TaskImage(f"{other.url}/a.png?size=full")).pixels.shape == (20, 30, 3)
    assert other.seen == [("GET", "/a.png?size=full", None, b"")]


def test_the_host_of_label_studio_outside_of_its_path_is_another_host(server, make_fetcher, make_png):
    server.answer("/images/a.png", make_png())
    make_fetcher("/ls", M2N2_PRIVATE_IMAGE_HOSTS=find_host(server)).get(TaskImage(f"{server.url}/images/a.png"))
    assert server.seen[0][2] is None


def test_a_status_of_another_host_names_it(make_server, make_fetcher):
    other = make_server()
    with pytest.raises(ImageUnavailable, match=rf"{other.url} answers with status 404: open the address in a browser"):
        make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=find_host(other)).get(TaskImage(f"{other.url}/a.png"))


def test_another_host_may_send_to_label_studio_which_then_sees_no_token(server, make_server, make_fetcher, make_png):
    other = make_server()
    server.answer("/data/a.png", status=302, Location="/data/b.png")
    server.answer("/data/b.png", make_png())
    other.answer("/a.png", status=302, Location=f"{server.url}/data/a.png")
    make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=find_host(other)).get(TaskImage(f"{other.url}/a.png"))
    assert [(path, token) for _, path, token, _ in server.seen] == [("/data/a.png", None), ("/data/b.png", None)]


def test_label_studio_sees_no_token_after_it_sent_elsewhere(server, make_server, make_fetcher):
    other = make_server()
    server.answer("/data/a.png", status=302, Location=f"{other.url}/b.png")
    other.answer("/b.png", status=302, Location=f"{server.url}/data/c.png")
    server.answer("/data/c.png", status=401)
    fetcher = make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=find_host(other))
    with pytest.raises(ImageUnavailable, match=r"status 401: it sees no token after another host's redirect"):
        fetcher.get(TaskImage("/data/a.png"))
    assert [token for _, _, token, _ in server.seen] == [f"Token {TOKEN}", None]


NO_IMAGES = [
    "/api/users",
    "/./api/users/",
    "/%2e/api/users/",
    "/%2E/api/users/",
    "/%252e/api/users/",
    "/.//api/users/",
    "//api/users/",
    "/data/%2e%2e/api/users/",
    "/data/..%2fapi/users/",
    "/data/%252e%252e%252fapi/users/",
    "/data\\..\\api/users/",
    "/user/account/",
    "/tasks/7/",
    "/tasks/7/presign/../../../api/users/",
    "/data",
    "/",
]


@pytest.mark.parametrize("path", NO_IMAGES)
def test_only_addresses_of_images_are_asked_of_label_studio(server, make_server, make_fetcher, path):
    other = make_server()
    other.answer("/a.png", status=302, Location=f"{server.url}{path}")
    fetcher = make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=find_host(other))
    for reference in (f"{server.url}{path}", f"{other.url}/a.png"):
        with pytest.raises(ImageRefused, match=r"Label Studio gives images below|climbs with '\.\.'"):
            fetcher.get(TaskImage(reference))
    assert server.seen == []


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/data/./upload/a.png", "/data/upload/a.png"),
        ("/./data/upload/a.png", "/data/upload/a.png"),
        ("/data/upload/100%25.png", "/data/upload/100%25.png"),
        ("/data/upload/a%2eb.png", "/data/upload/a.b.png"),
        ("/data/upload/..a/b...png", "/data/upload/..a/b...png"),
        ("/static/samples/a.jpg", "/static/samples/a.jpg"),
        ("/storage-data/uploaded/?filepath=upload/1/a.png", "/storage-data/uploaded/?filepath=upload/1/a.png"),
        ("/tasks/7/resolve/?fileuri=czM", "/tasks/7/resolve/?fileuri=czM"),
        ("/projects/7/presign/?fileuri=czM", "/projects/7/presign/?fileuri=czM"),
    ],
)
def test_addresses_of_images_are_sent_as_they_were_checked(server, make_fetcher, make_png, path, sent):
    server.answer(sent, make_png())
    make_fetcher().get(TaskImage(f"{server.url}{path}"))
    assert [(path, token) for _, path, token, _ in server.seen] == [(sent, f"Token {TOKEN}")]


@pytest.mark.parametrize("prefix", ["", "/ls"])
def test_cloud_storage_is_read_through_the_task(server, make_fetcher, make_png, prefix):
    server.answer(prefix + PRESIGN, make_png(30, 20))
    assert make_fetcher(prefix).get(TaskImage(CLOUD_URI, task_id=7)).pixels.shape == (20, 30, 3)
    assert server.seen == [("GET", prefix + PRESIGN, f"Token {TOKEN}", b"")]


def test_a_pre_signed_address_is_followed_to_an_allowed_host_without_the_token(
    server, make_server, make_fetcher, make_png
):
    storage = make_server()
    storage.answer("/bucket/a.png?X-Amz-Signature=secret", make_png())
    server.answer(PRESIGN, status=303, Location=f"{storage.url}/bucket/a.png?X-Amz-Signature=secret")
    make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=find_host(storage)).get(TaskImage(CLOUD_URI, task_id=7))
    assert storage.seen == [("GET", "/bucket/a.png?X-Amz-Signature=secret", None, b"")]


def test_a_storage_that_is_not_allowed_is_refused_with_both_remedies(server, make_fetcher):
    server.answer(PRESIGN, status=303, Location="https://bucket.s3.amazonaws.com/a.png?X-Amz-Signature=secret")
    with pytest.raises(ImageRefused, match=r"s3://bucket.*M2N2_ALLOWED_IMAGE_HOSTS.*switch off pre-signed") as caught:
        make_fetcher().get(TaskImage(CLOUD_URI, task_id=7))
    assert "https://bucket.s3.amazonaws.com" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_cloud_storage_needs_the_task(make_fetcher):
    with pytest.raises(ImageUnavailable, match="the request gives no task id"):
        make_fetcher().get(TaskImage(CLOUD_URI))


def test_one_cloud_address_of_two_tasks_is_asked_for_each(server, make_fetcher, make_png):
    server.answer(PRESIGN, make_png())
    fetcher = make_fetcher()
    fetcher.get(TaskImage(CLOUD_URI, task_id=7))
    with pytest.raises(ImageUnavailable, match="status 404"):
        fetcher.get(TaskImage(CLOUD_URI, task_id=8))


def test_parallel_and_later_clicks_on_one_image_share_the_download(server, make_fetcher, make_png):
    server.answer("/data/a.png", make_png())
    fetcher = make_fetcher()
    assert fetcher.get(TaskImage("/data/a.png", task_id=1)) is fetcher.get(TaskImage("/data/a.png", task_id=1))
    assert len(server.seen) == 1
