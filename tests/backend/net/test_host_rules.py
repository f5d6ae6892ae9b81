"""The rules for hosts, as far as the table of hostile addresses (test_images_hostile.py) does not hold them."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest

from backend.errors import ImageRefused
from backend.net.host_rules import HostRules, find_origin


@pytest.mark.parametrize(
    ("pattern", "url", "fits"),
    [
        ("images.example.com", "http://images.example.com/a.png", True),
        ("images.example.com", "https://IMAGES.example.com./a.png", True),
        ("images.example.com", "https://images.example.com:443/a.png", True),
        ("images.example.com", "http://images.example.com:8080/a.png", False),
        ("images.example.com", "http://evil-images.example.com/a.png", False),
        ("images.example.com", "http://images.example.com.evil.com/a.png", False),
        ("images.example.com", "http://images.example.com@evil.com/a.png", False),
        ("images.example.com", "http://images.example.com\\@evil.com/a.png", False),
        ("images.example.com:8080", "http://images.example.com:8080/a.png", True),
        ("images.example.com:8080", "http://images.example.com/a.png", False),
        ("*.example.com", "http://a.b.example.com/a.png", True),
        ("*.example.com", "http://example.com/a.png", False),
        ("*.example.com", "http://badexample.com/a.png", False),
        ("*", "http://anything.example.com/a.png", True),
        ("*", "http://anything.example.com:22/a.png", False),
        ("93.184.216.34", "http://93.184.216.34/a.png", True),
        ("[2606:2800:220:1::1]", "http://[2606:2800:220:1:0:0:0:1]/a.png", True),
    ],
)
def test_a_pattern_fits_hosts_and_ports(pattern, url, fits):
    rules = HostRules([pattern], [])
    origin = find_origin(urlsplit(url))
    if fits:
        rules.check_host(origin)
    else:
        with pytest.raises(ImageRefused, match="is not among the hosts"):
            rules.check_host(origin)


def test_a_private_host_is_allowed_at_both_kinds_of_addresses():
    rules = HostRules([], ["minio.example.com:9000", "10.0.0.5"])
    minio = find_origin(urlsplit("http://minio.example.com:9000/a.png"))
    rules.check_host(minio)
    rules.check_host(find_origin(urlsplit("http://10.0.0.5/a.png")))
    for address in ("127.0.0.1", "10.0.0.5", "fd00::1", "93.184.216.34", "2606:2800:220:1::1"):
        rules.check_address(minio, ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"])
def test_no_setting_opens_what_is_no_server_of_images(address):
    rules = HostRules(["*"], ["minio.example.com"])
    with pytest.raises(ImageRefused, match="no setting"):
        rules.check_address(find_origin(urlsplit("http://minio.example.com")), ipaddress.ip_address(address))


PUBLIC_FOR_PYTHON = [
    "168.63.129.16",
    "192.0.0.1",
    "192.0.0.192",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "::ffff:168.63.129.16",
    "64:ff9b::192.0.0.192",
    "2001:1::1",
    "2001:20::1",
    "2002:a9fe:a9fe::1",
    "2620:4f:8000::1",
    "3fff::1",
    "3fff:fff::1",
]
METADATA_OF_CLOUDS = ["100.100.100.200", "fd00:42::42", "fd00:ec2::253", "fd00:ec2::254", "fd20:ce::254"]


@pytest.mark.parametrize("address", [*PUBLIC_FOR_PYTHON, *METADATA_OF_CLOUDS])
def test_metadata_of_clouds_and_special_addresses_are_refused_whatever_is_allowed(address):
    rules = HostRules(["*"], ["images.example.com", "*.example.com"])
    origin = find_origin(urlsplit("http://images.example.com"))
    with pytest.raises(ImageRefused, match=r"a (cloud's metadata|special) address: no setting"):
        rules.check_address(origin, ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["192.0.1.1", "192.88.98.1", "192.88.100.1", "168.63.129.17", "2001:4860:4860::8888", "2620:4f:8001::1"]
)
def test_their_neighbours_are_public(address):
    rules = HostRules(["*"], [])
    rules.check_address(find_origin(urlsplit("http://images.example.com")), ipaddress.ip_address(address))
