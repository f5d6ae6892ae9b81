"""Every way to an image, and every way that is closed."""

from __future__ import annotations

import base64
import io
import os
from urllib.parse import quote, quote_from_bytes

import pytest
from PIL import Image as PillowImage

from backend.errors import ImageRefused, ImageUnavailable
from backend.images.cache import TaskImage
from backend.images.fetcher import create_picture_cache
from backend.settings import load_settings
from m2n2_engine.errors import InvalidImage

TOKEN = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def make_fetcher(server):
    """A fetcher for the Label Studio on loopback, with more settings."""

    def make(prefix="", **environ):
        return create_picture_cache(load_settings({"LABEL_STUDIO_URL": server.url + prefix, **environ}))

    return make


@pytest.fixture
def root(tmp_path, make_png):
    """A folder of local files beside a file that is nobody's business."""
    folder = tmp_path / "root"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a b.png").write_bytes(make_png(30, 20))
    (tmp_path / "secret.png").write_bytes(make_png(9, 9))
    return folder


def fetch_alone(reference, **environ):
    return create_picture_cache(load_settings(environ)).get(TaskImage(reference)).pixels


# data:


def test_data_uri_in_every_encoding(make_png):
    png = make_png(30, 20)
    encoded = base64.b64encode(png).decode()
    broken_up = "\n".join(encoded[start : start + 40] for start in range(0, len(encoded), 40))
    for uri in (
        f"data:image/png;base64,{encoded}",
        f"DATA:;BASE64,{encoded.rstrip('=')}",
        f"data:image/png;base64,{quote(encoded, safe='')}",
        f"data:image/png;base64,{broken_up}",
        f"data:image/png,{quote_from_bytes(png)}",
        f"  data:image/png;base64,{encoded}",
        f"\ndata:image/png;base64,{encoded}\r\n",
    ):
        image = fetch_alone(uri)
        assert image.shape == (20, 30, 3)
        assert image[0, 0].tolist() == [10, 200, 30]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("data:image/png;base64", "needs a comma"),
        ("data:image/png;base64,@@@@", "is damaged"),
        ("data:image/png,\ud800", "is damaged"),
        ("data:image/png,", "empty"),
        ("data:text/plain,hello", "data: URI of 21 characters: .*no image file"),
    ],
)
def test_a_damaged_data_uri_is_named_without_its_payload(uri, message):
    with pytest.raises(InvalidImage, match=message) as caught:
        fetch_alone(uri)
    assert "hello" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["data:;base64," + "A" * 1_500_000, "data:," + "A" * 1_100_000, "data:," + "%41" * 1_100_000]
)
def test_a_large_data_uri_is_refused(uri):
    with pytest.raises(ImageRefused, match="more than 1 MiB: reduce it or raise M2N2_MAX_IMAGE_MIB"):
        fetch_alone(uri, M2N2_MAX_IMAGE_MIB="1")


def test_too_many_pixels_are_refused(make_png):
    uri = "data:image/png;base64," + base64.b64encode(make_png(1200, 1000)).decode()
    with pytest.raises(InvalidImage, match="1200 x 1000"):
        fetch_alone(uri, M2N2_MAX_IMAGE_MEGAPIXELS="1")


def test_images_are_turned_upright():
    file = io.BytesIO()
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.new("RGB", (80, 60)).save(file, "JPEG", exif=exif)
    uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    assert fetch_alone(uri).shape == (80, 60, 3)


# Label Studio


@pytest.mark.parametrize(
    "reference",
    [
        "/data/upload/1/a.png",
        "{url}/data/upload/1/a.png",
        "HTTP://nobody:pw@{host}/data/upload/1/a.png",
        " {url}/data/upload/1/a.png\r\n",
        "/data/upload/1/a.png\n",
    ],
)
def test_uploads_come_from_label_studio_with_the_token(server, make_fetcher, make_png, reference):
    server.answer("/data/upload/1/a.png", make_png(30, 20))
    reference = reference.format(url=server.url, host=server.url.removeprefix("http://"))
    image = make_fetcher(LABEL_STUDIO_API_KEY=TOKEN).get(TaskImage(reference)).pixels
    assert image.shape == (20, 30, 3)
    assert server.seen == [("GET", "/data/upload/1/a.png", f"Token {TOKEN}", b"")]


@pytest.mark.parametrize("reference", ["/data/upload/a.png", "/ls/data/upload/a.png", "{url}/ls/data/upload/a.png"])
def test_a_path_in_label_studios_address_is_kept(server, make_fetcher, make_png, reference):
    server.answer("/ls/data/upload/a.png", make_png())
    make_fetcher("/ls").get(TaskImage(reference.format(url=server.url)))
    assert server.seen[0][1] == "/ls/data/upload/a.png"


def test_local_files_come_from_label_studio_where_no_root_is_set(server, make_fetcher, make_png):
    server.answer("/data/local-files/?d=images/a%20b.png", make_png())
    make_fetcher().get(TaskImage("/data/local-files/?d=images/a b.png"))


def test_without_a_key_no_password_of_netrc_is_sent(server, make_fetcher, make_png, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.answer("/data/a.png", make_png())
    make_fetcher().get(TaskImage("/data/a.png"))
    assert server.seen[0][2] is None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("http://other.example.com/a.png", "M2N2_ALLOWED_IMAGE_HOSTS"),
        ("{url}@other.example.com/a.png", "M2N2_ALLOWED_IMAGE_HOSTS"),
        ("https://127.0.0.1/a.png", "M2N2_PRIVATE_IMAGE_HOSTS"),
        ("http://127.0.0.1:1/a.png", "M2N2_PRIVATE_IMAGE_HOSTS"),
        ("//other.example.com/a.png", "without a scheme"),
        ("http:/data/a.png", "no plain name"),
        ("ftp://127.0.0.1/a.png", "kind 'ftp'"),
        ("javascript:alert(1)", "kind 'javascript'"),
        ("file:///etc/passwd", "M2N2_LOCAL_FILES_ROOT"),
    ],
)
def test_other_places_are_refused_by_a_rule_of_their_own(server, make_fetcher, reference, message):
    with pytest.raises(ImageRefused, match=message):
        make_fetcher(LABEL_STUDIO_API_KEY=TOKEN).get(TaskImage(reference.format(url=server.url)))
    assert server.seen == []


@pytest.mark.parametrize("reference", ["/data/upload/a.png", "s3://bucket/a.png"])
def test_without_label_studio_nothing_is_fetched(reference):
    with pytest.raises(ImageRefused, match="set LABEL_STUDIO_URL"):
        create_picture_cache(load_settings({})).get(TaskImage(reference, task_id=1))


@pytest.mark.parametrize(
    "reference",
    [
        "{url}/api/users",
        "{url}/lsx/a.png",
        "{url}/ls/../api",
        "{url}/ls/%2e%2E/api",
        "{url}/ls/api/users",
        "{url}/ls//%61pi/users",
        "/data/../api",
    ],
)
def test_nothing_outside_of_the_path_is_asked(server, make_fetcher, reference):
    with pytest.raises(ImageRefused):
        make_fetcher("/ls").get(TaskImage(reference.format(url=server.url)))
    assert server.seen == []


@pytest.mark.parametrize(
    "reference", ["/data/a\x00.png", "/data/a\nb.png", "/data/\ud800.png", "http://[::1", "http://127.0.0.1:x/a"]
)
def test_what_is_no_address_is_named_in_one_line(make_fetcher, reference):
    with pytest.raises(InvalidImage, match="the reference") as caught:
        make_fetcher().get(TaskImage(reference))
    assert str(caught.value).isprintable()


def test_a_redirect_on_the_same_host_is_followed_with_the_token(server, make_fetcher, make_png):
    server.answer("/data/a.png", status=302, Location="/data/b.png")
    server.answer("/data/b.png", make_png())
    make_fetcher(LABEL_STUDIO_API_KEY=TOKEN).get(TaskImage("/data/a.png"))
    assert [(path, token) for _, path, token, _ in server.seen] == [
        ("/data/a.png", f"Token {TOKEN}"),
        ("/data/b.png", f"Token {TOKEN}"),
    ]


def test_a_redirect_to_another_host_is_refused_and_never_asked(server, make_server, make_fetcher, make_png):
    other = make_server()
    other.answer("/data/a.png", make_png())
    server.answer("/data/a.png", status=303, Location=f"{other.url}/data/a.png?signature=secret")
    with pytest.raises(ImageRefused, match="switch off pre-signed URLs") as caught:
        make_fetcher(LABEL_STUDIO_API_KEY=TOKEN).get(TaskImage("/data/a.png"))
    assert other.seen == []
    assert "secret" not in str(caught.value)


def test_a_circle_of_redirects_ends(server, make_fetcher):
    server.answer("/data/a.png", status=302, Location="/data/a.png")
    with pytest.raises(ImageUnavailable, match="redirects more than 5 times"):
        make_fetcher().get(TaskImage("/data/a.png"))


def test_a_redirect_to_the_login_asks_for_the_key(server, make_fetcher):
    server.answer("/data/a.png", status=302, Location="/user/login/?next=/data/a.png")
    with pytest.raises(ImageUnavailable, match="set LABEL_STUDIO_API_KEY"):
        make_fetcher().get(TaskImage("/data/a.png"))


@pytest.mark.parametrize(
    ("status", "environ", "remedy"),
    [
        (401, {}, "set LABEL_STUDIO_API_KEY"),
        (401, {"LABEL_STUDIO_API_KEY": TOKEN}, "use a personal access token"),
        (403, {"LABEL_STUDIO_API_KEY": TOKEN}, "may not see this image"),
        (404, {}, "open the task in Label Studio"),
        (500, {}, "open the task in Label Studio"),
    ],
)
def test_a_status_is_named_with_its_remedy(server, make_fetcher, status, environ, remedy):
    server.answer("/data/a.png", b"<html>", status=status)
    with pytest.raises(ImageUnavailable, match=f"image /data/a.png: .* status {status}: .*{remedy}") as caught:
        make_fetcher(**environ).get(TaskImage("/data/a.png"))
    assert TOKEN not in str(caught.value)


def test_a_page_instead_of_an_image_is_no_image(server, make_fetcher):
    server.answer("/data/a.png", b"<html>hello</html>")
    with pytest.raises(InvalidImage, match=r"image /data/a.png: .* no image file"):
        make_fetcher().get(TaskImage("/data/a.png"))


def test_a_large_body_is_refused(server, make_fetcher):
    server.answer("/data/a.png", b"x" * (1024 * 1024 + 1))
    with pytest.raises(ImageRefused, match="more than 1 MiB"):
        make_fetcher(M2N2_MAX_IMAGE_MIB="1").get(TaskImage("/data/a.png"))


def test_a_body_that_ends_early_is_unavailable(server, make_fetcher, make_png):
    server.answer("/data/a.png", make_png(), Content_Length="100000")
    with pytest.raises(ImageUnavailable, match="does not deliver it"):
        make_fetcher(M2N2_FETCH_TIMEOUT_SECONDS="5").get(TaskImage("/data/a.png"))


def test_a_server_that_is_down_is_unavailable(server, make_fetcher):
    fetcher = make_fetcher()
    server.close()
    with pytest.raises(ImageUnavailable, match="ConnectionError"):
        fetcher.get(TaskImage("/data/a.png"))


def test_a_signature_is_not_shown(server, make_fetcher):
    with pytest.raises(ImageUnavailable) as caught:
        make_fetcher().get(TaskImage(f"{server.url}/data/{'a' * 300}.png?signature=secret"))
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 400


# Local files


@pytest.mark.parametrize(
    "reference",
    [
        "/data/local-files/?d=images/a%20b.png",
        "/data/local-files/?d=images/a b.png",
        "/data/local-files/?d=images%5Ca%20b.png",
        "{root}/images/a b.png",
    ],
)
def test_local_files_are_read_below_the_root(root, reference):
    image = fetch_alone(reference.format(root=root), M2N2_LOCAL_FILES_ROOT=str(root))
    assert image.shape == (20, 30, 3)


@pytest.mark.parametrize(
    "reference",
    [
        "/data/local-files/?d=../secret.png",
        "/data/local-files/?d=images/../../secret.png",
        "/data/local-files/?d=/etc/passwd",
        "/data/local-files/?d=..%5Csecret.png",
        "/data/local-files/?d=images%5C..%5C..%5Csecret.png",
        "/data/local-files/?d=link.png",
        "/data/local-files/?d=",
        "/data/local-files/",
        "{root}/../secret.png",
        "/etc/passwd",
        "../secret.png",
    ],
)
def test_nothing_outside_of_the_root_is_read(root, reference):
    (root / "link.png").symlink_to(root.parent / "secret.png")
    with pytest.raises(ImageRefused, match="M2N2_LOCAL_FILES_ROOT"):
        fetch_alone(reference.format(root=root), M2N2_LOCAL_FILES_ROOT=str(root))


def test_links_within_the_root_are_followed(root):
    (root / "link.png").symlink_to(root / "images" / "a b.png")
    assert fetch_alone("/data/local-files/?d=link.png", M2N2_LOCAL_FILES_ROOT=str(root)).shape == (20, 30, 3)


@pytest.mark.parametrize("name", ["images/none.png", "images", "pipe", "x" * 5000, "circle"])
def test_a_local_file_that_cannot_be_read_is_unavailable(root, name):
    os.mkfifo(root / "pipe")
    (root / "circle").symlink_to(root / "circle")
    with pytest.raises(ImageUnavailable) as caught:
        fetch_alone(f"/data/local-files/?d={name}", M2N2_LOCAL_FILES_ROOT=str(root))
    assert type(caught.value) is ImageUnavailable


def swap_folder(root):
    (root / "images").rename(root / "before")
    (root / "images").symlink_to(root.parent / "outside")


def swap_file(root):
    (root / "images" / "a b.png").unlink()
    (root / "images" / "a b.png").symlink_to(root.parent / "outside" / "a b.png")


def swap_for_pipe(root):
    (root / "images" / "a b.png").unlink()
    os.mkfifo(root / "images" / "a b.png")


@pytest.mark.parametrize("swap", [swap_folder, swap_file, swap_for_pipe])
def test_what_is_swapped_after_the_check_leads_nowhere(root, make_png, monkeypatch, swap):
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "a b.png").write_bytes(make_png(7, 7))
    settings = {"M2N2_LOCAL_FILES_ROOT": str(root)}
    fetch_alone("images/a b.png", **settings)
    resolve = os.path.realpath

    def resolve_and_swap(path, **options):
        found = resolve(path, **options)
        if str(found).endswith("a b.png"):
            swap(root)
        return found

    monkeypatch.setattr(os.path, "realpath", resolve_and_swap)
    with pytest.raises(ImageUnavailable, match=r"no such file|cannot be read"):
        fetch_alone("images/a b.png", **settings)


def test_the_root_may_be_a_link(root):
    (root.parent / "link").symlink_to(root)
    found = fetch_alone("/data/local-files/?d=images/a b.png", M2N2_LOCAL_FILES_ROOT=str(root.parent / "link"))
    assert found.shape == (20, 30, 3)


@pytest.mark.parametrize("name", ["pipe", "images", "images/none.png"])
def test_files_that_are_none_leave_no_descriptor_open(root, name):
    os.mkfifo(root / "pipe")
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ImageUnavailable):
        fetch_alone(name, M2N2_LOCAL_FILES_ROOT=str(root))
    assert len(os.listdir("/dev/fd")) == before


def test_a_large_local_file_is_refused(root):
    (root / "large.png").write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(ImageRefused, match="more than 1 MiB"):
        fetch_alone("/data/local-files/?d=large.png", M2N2_LOCAL_FILES_ROOT=str(root), M2N2_MAX_IMAGE_MIB="1")


@pytest.mark.parametrize("reference", ["/etc/passwd", "a.png", ""])
def test_paths_are_refused_where_no_root_is_set(reference):
    with pytest.raises(ImageRefused, match="M2N2_LOCAL_FILES_ROOT"):
        fetch_alone(reference)
