"""Archives are unpacked whole or not at all, and never outside of their folder."""

import hashlib
import io
import re
import tarfile
import zipfile

import pytest

from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.datasets.archives import check, unpack

FILES = {"Name/img/a.jpg": b"one" * 5000, "Name/gt/a.png": b"two" * 5000}


def write_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path, files=FILES):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_both_kinds_are_unpacked(tmp_path, progress, write):
    folder = tmp_path / "raw" / "Name"
    unpack(write(tmp_path / "release"), folder, progress)
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*g")} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["Name"]


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("damage", ["cut", "changed", "a page", "empty"])
def test_a_broken_archive_is_named(tmp_path, progress, write, damage):
    path, folder = write(tmp_path / "release"), tmp_path / "raw"
    content = path.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:middle],
        "changed": content[:45] + bytes(byte ^ 0x55 for byte in content[45:60]) + content[60:],
        "a page": b"<html>Virus scan warning</html>" * 100,
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(DatasetError) as caught:
        unpack(path, folder, progress)
    remedy = "delete it and run the command again, or put a sound copy in its place"
    assert re.fullmatch(rf"{path} is broken \(.+\): {remedy}", str(caught.value))
    assert not folder.exists()


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ["../outside.txt", "a/../../outside.txt"])
def test_nothing_is_written_outside(tmp_path, progress, write, name):
    with pytest.raises(DatasetError, match=r"release is broken \(.*outside"):
        unpack(write(tmp_path / "release", {name: b"content"}), tmp_path / "raw" / "Name", progress)
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_full_path_is_refused_in_a_zip_and_made_relative_in_a_tar(tmp_path, progress):
    path, content = tmp_path / "outside.txt", {f"{tmp_path}/outside.txt": b"content"}
    with pytest.raises(DatasetError, match=rf"\({path} lies outside of it\)"):
        unpack(write_zip(tmp_path / "release.zip", content), tmp_path / "Zip", progress)
    unpack(write_tar(tmp_path / "release.tgz", content), tmp_path / "Tar", progress)
    assert not path.exists()


def test_a_link_out_of_a_tar_is_refused(tmp_path, progress):
    with tarfile.open(tmp_path / "release", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(member)
    with pytest.raises(DatasetError, match="link"):
        unpack(tmp_path / "release", tmp_path / "raw", progress)


def test_what_a_killed_run_left_is_removed(tmp_path, progress):
    left = tmp_path / ".Name.partial" / "Name" / "img" / "half.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    unpack(write_zip(tmp_path / "release"), tmp_path / "Name", progress)
    assert not list(tmp_path.rglob("half.jpg"))


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_the_checksum_is_compared(tmp_path, algorithm):
    path = tmp_path / "release.zip"
    path.write_bytes(b"content")
    digits = hashlib.new(algorithm, b"content").hexdigest()
    check(path, f"{algorithm}:{digits}")
    path.write_bytes(b"contend")
    with pytest.raises(DatasetError, match=rf"release\.zip is broken \(its {algorithm} should be {digits} but is "):
        check(path, f"{algorithm}:{digits}")
