"""The table of hostile images and addresses: each is refused by a rule of its own, with a message of its own."""

from __future__ import annotations

import io
import itertools
import struct
import time
import tracemalloc
import zlib
from contextlib import contextmanager

import pytest
from PIL import Image as PillowImage

from backend.errors import ImageRefused, ImageUnavailable
from backend.images.cache import TaskImage
from backend.images.fetcher import create_picture_cache
from backend.settings import load_settings
from m2n2_engine.errors import DeadlineExceeded, InvalidImage
from m2n2_engine.types import Deadline

TOKEN = "0123456789abcdef0123456789abcdef01234567"
MEBIBYTE = 1024 * 1024


def make_fetcher(**environ):
    return create_picture_cache(load_settings({"M2N2_MAX_IMAGE_MIB": "1", **environ}))


@contextmanager
def memory_stays_below(limit_bytes):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit_bytes
    finally:
        tracemalloc.stop()


# Addresses


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("127.0.0.1", "is at 127.0.0.1, a loopback or private address: name the host in M2N2_PRIVATE_IMAGE_HOSTS"),
        ("10.1.2.3", "is at 10.1.2.3, a loopback or private"),
        ("172.16.0.1", "is at 172.16.0.1, a loopback or private"),
        ("192.168.1.1", "is at 192.168.1.1, a loopback or private"),
        ("100.100.100.201", "is at 100.100.100.201, a loopback or private"),
        ("100.100.100.200", "is at 100.100.100.200, a cloud's metadata address: no setting"),
        ("[::1]", "is at ::1, a loopback or private"),
        ("[0:0:0:0:0:0:0:1]", "is at ::1, a loopback or private"),
        ("[fd00:ec2::254]", "is at fd00:ec2::254, a cloud's metadata address: no setting"),
        ("[::ffff:127.0.0.1]", "is at 127.0.0.1, a loopback or private"),
        ("[::ffff:7f00:1]", "is at 127.0.0.1, a loopback or private"),
        ("[64:ff9b::7f00:1]", "is at 127.0.0.1, a loopback or private"),
        ("169.254.169.254", "is at 169.254.169.254, a link-local address: no setting"),
        ("[::ffff:169.254.169.254]", "is at 169.254.169.254, a link-local address: no setting"),
        ("[fe80::1]", "is at fe80::1, a link-local address: no setting"),
        ("0.0.0.0", "is at 0.0.0.0, a special address: no setting"),
        ("[::]", "is at ::, a special address: no setting"),
        ("[::127.0.0.1]", "is at ::7f00:1, a special address: no setting"),
        ("[2002:7f00:1::]", "is at 2002:7f00:1::, a special address: no setting"),
        ("[2001:0:7f00:1::]", "is at 2001:0:7f00:1::, a special address: no setting"),
        ("[fec0::1]", "is at fec0::1, a special address: no setting"),
        ("224.0.0.1", "is at 224.0.0.1, a special address: no setting"),
        ("255.255.255.255", "is at 255.255.255.255, a special address: no setting"),
        ("2130706433", "the host 2130706433 is an IPv4 address in an unusual form"),
        ("0x7f000001", "the host 0x7f000001 is an IPv4 address in an unusual form"),
        ("0177.0.0.1", "the host 0177.0.0.1 is an IPv4 address in an unusual form"),
        ("0x7f.1", "the host 0x7f.1 is an IPv4 address in an unusual form"),
        ("127.1", "the host 127.1 is an IPv4 address in an unusual form"),
        ("127\u30020\u30020\u30021", "no plain name"),
        ("%31%32%37.0.0.1", "no plain name"),
        ("[fe80::1%25eth0]", "is at fe80::1%25eth0, a link-local|no plain name"),
    ],
)
def test_addresses_in_every_form_are_refused_even_where_all_hosts_are_allowed(host, message):
    with pytest.raises(ImageRefused, match=message):
        make_fetcher(M2N2_ALLOWED_IMAGE_HOSTS="*").get(TaskImage(f"http://{host}/a.png"))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://127.0.0.1:{port}/a.png", "redirects: 127.0.0.1 is at 127.0.0.1, a loopback or private address"),
        ("http://169.254.169.254/latest/meta-data/", "redirects: 169.254.169.254 is at 169.254.169.254, a link-local"),
        ("//[::1]:{port}/a.png", "redirects: ::1 is at ::1, a loopback or private address"),
        ("http://2130706433:{port}/a.png", "redirects: the host 2130706433 is an IPv4 address in an unusual form"),
        ("http://images.example.com/a.png", "redirects: http://images.example.com is not among the hosts"),
        ("file:///etc/passwd", "redirects: addresses of the kind 'file' are not fetched"),
    ],
)
def test_redirects_of_label_studio_are_held_to_the_same_rules(make_server, make_png, location, message):
    label_studio, victim = make_server(), make_server()
    victim.answer("/a.png", make_png())
    location = location.format(port=victim.url.rpartition(":")[2])
    label_studio.answer("/data/a.png", status=302, Location=location)
    with pytest.raises(ImageRefused, match=message):
        make_fetcher(LABEL_STUDIO_URL=label_studio.url).get(TaskImage("/data/a.png"))
    assert victim.seen == []


def test_every_hop_after_the_first_is_checked_too(make_server, names):
    first = make_server()
    names["images.example.com"] = [["127.0.0.1"]]
    first.answer("/a.png", status=302, Location="/b.png")
    first.answer("/b.png", status=302, Location="http://169.254.169.254/latest/meta-data/")
    host = f"images.example.com:{first.url.rpartition(':')[2]}"
    with pytest.raises(ImageRefused, match="link-local"):
        make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=host).get(TaskImage(f"http://{host}/a.png"))
    assert [path for _, path, _, _ in first.seen] == ["/a.png", "/b.png"]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"], ["::ffff:10.0.0.1"]])
def test_a_name_for_an_inner_address_is_refused_before_anything_is_sent(server, names, make_png, addresses):
    names["images.example.com"] = [addresses]
    server.answer("/a.png", make_png())
    host = f"images.example.com:{server.url.rpartition(':')[2]}"
    with pytest.raises(ImageRefused, match=r"images.example.com is at .*, a loopback or private address"):
        make_fetcher(M2N2_ALLOWED_IMAGE_HOSTS=host).get(TaskImage(f"http://{host}/a.png"))
    assert server.seen == []


def test_all_addresses_of_a_name_are_checked_before_one_is_connected_to(server, names, make_png):
    names["images.example.com"] = [["127.0.0.1", "0.0.0.0"]]
    server.answer("/a.png", make_png())
    host = f"images.example.com:{server.url.rpartition(':')[2]}"
    with pytest.raises(ImageRefused, match=r"images.example.com is at 0.0.0.0, a special address"):
        make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=host).get(TaskImage(f"http://{host}/a.png"))
    assert server.seen == []


def test_a_rebinding_host_is_resolved_once_and_the_checked_address_is_connected_to(server, names, make_png):
    # Nobody listens at the second address: whoever asked again before connecting would end there.
    names["rebinding.example.com"] = [["127.0.0.1"], ["127.0.0.3"]]
    server.answer("/a.png", make_png())
    host = f"rebinding.example.com:{server.url.rpartition(':')[2]}"
    fetcher = make_fetcher(M2N2_PRIVATE_IMAGE_HOSTS=host, M2N2_IMAGE_RECHECK_SECONDS="0")
    fetcher.get(TaskImage(f"http://{host}/a.png"))
    assert len(server.seen) == 1
    # Each connection is checked anew: now that the name has moved to this machine itself, it is refused.
    names["rebinding.example.com"] = [["0.0.0.0"]]
    with pytest.raises(ImageRefused, match=r"rebinding.example.com is at 0.0.0.0"):
        fetcher.get(TaskImage(f"http://{host}/a.png"))
    assert len(server.seen) == 1


# Bodies


def test_a_large_body_is_refused_by_its_header_before_any_of_it_arrives(make_raw_server):
    def talk(connection, closing):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 314572800\r\n\r\n")
        closing.wait()

    server = make_raw_server(talk)
    with pytest.raises(ImageRefused, match="more than 1 MiB: reduce it or raise M2N2_MAX_IMAGE_MIB"):
        make_fetcher(LABEL_STUDIO_URL=server.url, M2N2_READ_TIMEOUT_SECONDS="2").get(TaskImage("/data/a.png"))


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_body_of_300_mib_is_refused_while_it_arrives(make_raw_server, chunked):
    sent = []

    def talk(connection, closing):
        head = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        sent.extend(send_until_cut(connection, 314572800, b"10000\r\n" + bytes(65536) + b"\r\n"))

    server = make_raw_server(talk)
    with memory_stays_below(8 * MEBIBYTE), pytest.raises(ImageRefused, match="more than 1 MiB: reduce it or raise"):
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.png"))
    server.close()
    assert MEBIBYTE <= sum(sent) < 16 * MEBIBYTE


def test_the_body_of_a_redirect_is_not_read(make_raw_server, make_server, make_png):
    image, sent = make_server(), []
    image.answer("/a.png", make_png())

    def talk(connection, closing):
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {image.url}/a.png\r\n\r\n".encode())
        sent.extend(send_until_cut(connection, 314572800))

    server = make_raw_server(talk)
    fetcher = make_fetcher(LABEL_STUDIO_URL=server.url, M2N2_PRIVATE_IMAGE_HOSTS=image.url.removeprefix("http://"))
    with memory_stays_below(8 * MEBIBYTE):
        fetcher.get(TaskImage("/data/a.png"))
    server.close()
    assert sum(sent) < 16 * MEBIBYTE


@pytest.mark.parametrize("location", ["http://[::1", "http://127.0.0.1:x/a.png", "http://a\tb/"])
def test_a_redirect_to_what_is_no_address_is_named_in_one_line(server, location):
    server.answer("/data/a.png", status=302, Location=location)
    with pytest.raises(InvalidImage, match="the reference") as caught:
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.png"))
    assert str(caught.value).isprintable()


def send_until_cut(connection, most_bytes, block=bytes(65536)):
    """Yield the bytes that were sent, until the other side hangs up."""
    try:
        for _ in range(most_bytes // len(block)):
            connection.sendall(block)
            yield len(block)
    except OSError:
        return


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "many", "5, 6"])
def test_a_length_that_is_none_is_no_way_past_the_limit(make_raw_server, length):
    def talk(connection, closing):
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        list(send_until_cut(connection, 314572800))

    server = make_raw_server(talk)
    with memory_stays_below(8 * MEBIBYTE), pytest.raises(ImageUnavailable):
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.png"))


def test_a_compressed_bomb_is_refused_while_it_unpacks(server):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(MEBIBYTE)) for _ in range(100)) + packer.flush()
    assert len(bomb) < MEBIBYTE
    server.answer("/data/a.png", bomb, Content_Encoding="gzip")
    with memory_stays_below(8 * MEBIBYTE), pytest.raises(ImageRefused, match="more than 1 MiB: reduce it or raise"):
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.png"))


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: ", b""])
def test_a_slow_drip_ends_in_time(make_raw_server, head):
    def talk(connection, closing):
        connection.sendall(head)
        for byte in itertools.cycle(b"HTTP"):
            connection.sendall(bytes([byte]))
            if closing.wait(0.01):
                return

    server = make_raw_server(talk)
    started = time.monotonic()
    with pytest.raises(ImageUnavailable, match="it takes too long to arrive: raise M2N2_FETCH_TIMEOUT_SECONDS"):
        make_fetcher(LABEL_STUDIO_URL=server.url, M2N2_FETCH_TIMEOUT_SECONDS="0.2").get(TaskImage("/data/a.png"))
    assert time.monotonic() - started < 5


def test_a_silent_server_is_left(make_raw_server):
    server = make_raw_server(lambda connection, closing: closing.wait())
    with pytest.raises(ImageUnavailable, match=r"falls silent: .* raise M2N2_READ_TIMEOUT_SECONDS"):
        make_fetcher(LABEL_STUDIO_URL=server.url, M2N2_READ_TIMEOUT_SECONDS="0.1").get(TaskImage("/data/a.png"))


def test_a_click_without_time_does_not_say_that_the_image_is_unavailable(make_raw_server):
    # Other clicks that wait for the same image would believe it.
    server = make_raw_server(lambda connection, closing: closing.wait())
    with pytest.raises(DeadlineExceeded, match="no time is left to fetch the image"):
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.png"), Deadline.after(0.1))


# Images


def make_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png_file(width, height, *chunks):
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + make_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (9_000, 8_000, "9000 x 8000 pixels, more than the 50000000 allowed: .* raise M2N2_MAX_IMAGE_MEGAPIXELS"),
        (60_000, 60_000, "too large for any setting"),
        (2_000_000_000, 2_000_000_000, "too large for any setting"),
    ],
)
def test_a_bomb_of_pixels_is_refused_by_its_header(server, width, height, message):
    pixels = make_chunk(b"IDAT", zlib.compress(bytes(30 * MEBIBYTE), 9))
    server.answer("/data/a.png", make_png_file(width, height, pixels))
    with memory_stays_below(4 * MEBIBYTE), pytest.raises(InvalidImage, match=message):
        make_fetcher(LABEL_STUDIO_URL=server.url, M2N2_MAX_IMAGE_MEGAPIXELS="50").get(TaskImage("/data/a.png"))


def test_a_bomb_of_text_is_refused_while_it_unpacks(server):
    text = make_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 * MEBIBYTE), 9))
    pixels = make_chunk(b"IDAT", zlib.compress(bytes(4)))
    server.answer("/data/a.png", make_png_file(1, 1, text, pixels))
    with memory_stays_below(8 * MEBIBYTE), pytest.raises(InvalidImage, match="Decompressed data too large"):
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.png"))


def test_pixels_beyond_the_header_are_not_unpacked(server):
    pixels = make_chunk(b"IDAT", zlib.compress(bytes(100 * MEBIBYTE), 9))
    server.answer("/data/a.png", make_png_file(1, 1, pixels))
    with memory_stays_below(8 * MEBIBYTE):
        assert make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.png")).pixels.shape == (1, 1, 3)


@pytest.mark.parametrize(
    "drawing",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- by hand -->\n<SVG><image href="file:///etc/passwd"/></SVG>',
    ],
)
def test_svg_is_refused_with_its_remedy(server, drawing):
    server.answer("/data/a.svg", drawing)
    with pytest.raises(InvalidImage, match="SVG is a drawing and has no pixels to segment: export it as PNG"):
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.svg"))


def test_a_format_that_starts_other_programs_is_not_opened(server):
    file = io.BytesIO()
    PillowImage.new("RGB", (8, 8)).save(file, "EPS")
    server.answer("/data/a.eps", file.getvalue())
    with pytest.raises(InvalidImage, match="no image file: use JPEG"):
        make_fetcher(LABEL_STUDIO_URL=server.url).get(TaskImage("/data/a.eps"))


# Paths


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("file:///etc/passwd", "file: addresses are never read"),
        ("FILE:/etc/passwd", "file: addresses are never read"),
        ("/data/local-files/?d=../secret.png", "the path leads out of the folder of M2N2_LOCAL_FILES_ROOT"),
        ("/data/local-files/?d=%2e%2e%2fsecret.png", "the path leads out of the folder"),
        ("/data/local-files/?d=images/..%2F../secret.png", "the path leads out of the folder"),
        ("/data/local-files/?d=/etc/passwd", "the path leads out of the folder"),
        ("/etc/passwd", "the path leads out of the folder"),
        ("{root}/../secret.png", "the path leads out of the folder"),
        ("/data/local-files/?d=link.png", "a symbolic link leads out of the folder"),
        ("/data/local-files/?d=folder/secret.png", "a symbolic link leads out of the folder"),
        ("/data/upload/../../api/users", "the path climbs with '..'"),
        ("/data/upload/%2e%2e/%2E%2e/api/users", "the path climbs with '..'"),
    ],
)
def test_nothing_outside_of_the_root_is_read(tmp_path, make_png, server, reference, message):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(make_png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path)
    fetcher = make_fetcher(M2N2_LOCAL_FILES_ROOT=str(root), LABEL_STUDIO_URL=server.url)
    with pytest.raises(ImageRefused, match=message):
        fetcher.get(TaskImage(reference.format(root=root)))
    assert server.seen == []


def test_a_twice_encoded_path_is_no_way_out(tmp_path, make_png):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(make_png())
    with pytest.raises(ImageUnavailable, match="no such file"):
        make_fetcher(M2N2_LOCAL_FILES_ROOT=str(root)).get(TaskImage("/data/local-files/?d=%252e%252e%252fsecret.png"))
