"""What a value of the configuration stands for, as Label Studio's page reads it; `tests/e2e` asks the page itself."""

from __future__ import annotations

import pytest

from backend.errors import InvalidRequest
from backend.label_studio.configuration.values import ImageTag, clean_reference, describe, resolve_value

DATA = {
    "image": {"url": "/data/upload/1.png", "size": 5},
    "image.jpg": "/data/upload/dotted.png",
    "images": ["/data/upload/2.png", "/data/upload/3.png"],
    "pages": [{"page": "/data/upload/4.png"}],
    "file": "a b.png",
    "number": 7,
    "half": 0.5,
    "whole": 2.0,
    "none": None,
    "empty": " \n",
}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("$image.url", "/data/upload/1.png"),
        ("$image.jpg", "/data/upload/dotted.png"),
        ("$images[1]", "/data/upload/3.png"),
        ("$images.1", "/data/upload/3.png"),
        ("$pages[0].page", "/data/upload/4.png"),
        ("$images", DATA["images"]),
        ("$images[2]", None),
        ("$images[99999999999]", None),
        ("$file[0]", None),
        ("$missing", None),
        ("$missing.url", None),
        ("$none.url", None),
        ("/data/local-files/?d=$file", "/data/local-files/?d=a b.png"),
        ("https://x/$number/$whole-$half", "https://x/7/2-0.5"),
        ("$file$file", "a b.pnga b.png"),
        ("https://x/a.png", "https://x/a.png"),
        ("", ""),
    ],
)
def test_a_value_stands_for_what_the_page_shows(value, found):
    assert resolve_value(value, DATA) == found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("https://x/$missing", r"\$missing within a value of the configuration stands for nothing"),
        ("https://x/$images", "stands for a list of 2"),
        ("https://x/$image", "stands for an object with the keys 'url', 'size'"),
        ("$my-image", r"\$my within a value"),
        ("https://x/$number.png", r"\$number\.png within a value"),
    ],
)
def test_text_around_what_is_no_text_is_named(value, message):
    with pytest.raises(InvalidRequest, match=message):
        resolve_value(value, DATA)


def test_a_long_part_may_stand_in_a_value_once():
    data = {"b64": "A" * 2**21}
    assert len(resolve_value("data:image/png;base64,$b64", data)) == 2**21 + 22
    with pytest.raises(InvalidRequest, match="more than 1048576 characters around"):
        resolve_value("$b64" * 2, data)


def find_reference(value, page=0, *, is_list=False):
    return ImageTag("image", value, is_list).find_reference(DATA, page)


def test_of_a_list_that_is_no_value_list_the_first_is_shown():
    assert find_reference("$images") == "/data/upload/2.png"
    assert find_reference("$images", 1, is_list=True) == "/data/upload/3.png"
    assert find_reference("$file", is_list=True) == "a b.png"


@pytest.mark.parametrize(
    ("value", "page", "message"),
    [
        ("$image", 0, r"under '\$image', the value of Image 'image': there is an object with the keys 'url', 'size'; "),
        ("$image", 0, r"name the one with the address, as in \$image\.url$"),
        ("$pages", 0, "there is an object with the keys 'page'"),
        ("$images", 2, r"no list with a page 2 \(counted from 0\), only 2"),
        ("$number", 0, "there is 7, which is no text"),
        ("$empty", 0, "there is an empty text"),
        ("$missing", 0, "the fields of the task are 'image', 'image.jpg', 'images', .* and more: the configuration"),
        ("https://x/$missing", 0, "stands for nothing"),
    ],
)
def test_what_cannot_be_used_is_named(value, page, message):
    with pytest.raises(InvalidRequest, match=message):
        find_reference(value, page)


@pytest.mark.parametrize(
    ("reference", "cleaned"),
    [("  data:image/png,x", "data:image/png,x"), ("a b.png\r\n", "a b.png"), ("\x00htt\nps://x\t/\x1f ", "https://x/")],
)
def test_browsers_drop_blanks_around_an_address(reference, cleaned):
    assert clean_reference(reference) == cleaned


def test_a_message_holds_no_picture():
    assert describe("data:image/png;base64," + "A" * 1000) == f"the text 'data:image/png;base64,{'A' * 18}...'"


@pytest.mark.parametrize("value", ["data:image/png;base64," + "A" * 1000 + "$missing", "$" + "a" * 1000])
def test_a_message_shows_the_head_of_a_value_alone(value):
    with pytest.raises(InvalidRequest) as caught:
        find_reference(value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "shows_task"),
    [("$image", True), ("https://x/a.png", True), ("/data/x.png", True), ("image", False), ("", False), ("$", False)],
)
def test_a_value_without_a_field_and_without_an_address_shows_nothing(value, shows_task):
    assert ImageTag("image", value, is_list=False).shows_task == shows_task
