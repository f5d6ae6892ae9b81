"""``m2n2 datasets prepare``, from the options to the files."""

import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from filelock import FileLock
from scipy.io import savemat

from m2n2_engine.tools.datasets import catalogue
from m2n2_engine.tools.datasets.catalogue import DATASETS, Archive, Dataset
from m2n2_engine.tools.datasets.coco import read_dataset
from m2n2_engine.tools.datasets.sbd import read_instances


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "datasets"


@pytest.fixture
def prepare(m2n2, folder):
    """Run the command; whether it ended well, standard output, standard error without its frame."""

    def run(*arguments):
        result = m2n2("--folder", folder, *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result.exit_code, result.stdout, re.sub(r"[\s│]+", " ", result.stderr).strip()

    return run


@pytest.fixture
def serve(release_server, monkeypatch):
    """Have a data set's archive come from the server on loopback."""

    def serve(name, content, checksum=None):
        release_server.content = content
        dataset = DATASETS[name.lower()]
        archive = Archive(release_server.url, dataset.archive.file_name, checksum)
        entry = Dataset(dataset.name, dataset.read_objects, archive, split=dataset.split)
        monkeypatch.setattr(catalogue, "DATASETS", {**DATASETS, name.lower(): entry})
        return release_server

    return serve


def pack_zip(folder):
    """The folder's files as a zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder.parent))
    return packed.getvalue()


# --- from what is on disk


def test_the_f_brs_layout_keeps_its_band(prepare, folder, make_source, labels):
    assert prepare("--grabcut", "--source", make_source()) == (
        0,
        f"GrabCut: 2 images, 2 objects, 2 with an unknown band, in {folder}/coco/GrabCut\n",
        "",
    )
    first, second = read_dataset(folder / "coco" / "GrabCut")
    assert (first.name, second.name) == ("a", "b")
    np.testing.assert_array_equal(first.sure(), labels == 255)
    np.testing.assert_array_equal(first.unknown(), labels == 128)


def test_a_plain_layout_knows_no_band(prepare, folder, make_source, labels):
    source = make_source("images", "masks")
    assert prepare("--davis", "--source", source) == (0, f"DAVIS: 2 images, 2 objects, in {folder}/coco/DAVIS\n", "")
    first, _ = read_dataset(folder / "coco" / "DAVIS")
    np.testing.assert_array_equal(first.sure(), labels > 0)
    assert not first.unknown().any()


def test_every_value_of_one_s_own_masks_is_an_object(prepare, folder, make_source, labels):
    source = make_source("images", "masks")
    printed = f"Mine-2.0: 2 images, 4 objects, in {folder}/coco/Mine-2.0\n"
    assert prepare("--name", "Mine-2.0", "--source", source) == (0, printed, "")
    first, second, *_ = read_dataset(folder / "coco" / "Mine-2.0")
    np.testing.assert_array_equal(first.sure(), labels == 128)
    np.testing.assert_array_equal(second.sure(), labels == 255)


def test_jpeg_masks_of_one_s_own_are_refused(prepare, folder, make_source, labels, write_picture):
    source = make_source("images", "masks", names=("a",))
    (source / "masks" / "a.png").unlink()
    path = write_picture(source / "masks" / "a.jpg", labels)
    status, printed, problem = prepare("--name", "Mine", "--source", source)
    assert (status, printed) == (1, "")
    assert problem == f"Mine: {path} is a JPEG, which changes the values of a mask: save it as PNG"


# --- COCO of one's own


def write_coco(path, annotations, images=None):
    listed = [{"id": 5, "file_name": "b.png", "width": 8, "height": 6}] if images is None else images
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": []}))
    return path


SQUARE = [[1, 1, 5, 1, 5, 4, 1, 4]]


def test_coco_of_one_s_own_is_converted(prepare, folder, tmp_path, make_source):
    images = make_source("images", "masks") / "images"
    annotations = [
        {"id": 1, "image_id": 5, "segmentation": SQUARE},
        {"id": 2, "image_id": 5, "segmentation": {"size": [6, 8], "counts": [0, 6, 42]}},
        {"id": 3, "image_id": 5, "segmentation": {"size": [6, 8], "counts": [0, 48]}, "iscrowd": 1},
        {"id": 4, "image_id": 5, "segmentation": []},
    ]
    path = write_coco(tmp_path / "instances.json", annotations)
    status, printed, said = prepare("--coco", path, "--images", images)
    assert (status, printed) == (0, f"instances: 1 images, 2 objects, in {folder}/coco/instances\n")
    assert said == f"{path}: left out 1 crowds (iscrowd) and 1 annotations without a pixel"
    square, column = (instance.sure() for instance in read_dataset(folder / "coco" / "instances"))
    expected = np.zeros((6, 8), bool)
    expected[1:4, 1:5] = True
    np.testing.assert_array_equal(square, expected)
    np.testing.assert_array_equal(column, np.arange(8)[None] + np.zeros((6, 1)) == 0)
    assert prepare("--coco", path, "--images", images, "--name", "Mine")[1].startswith("Mine: 1 images, 2 objects")
    again = folder / "coco" / "Mine" / "gt.json"
    assert "Copy: 1 images, 2 objects" in prepare("--coco", again, "--images", images, "--name", "Copy")[1]
    assert "give it another --name" in prepare("--coco", again, "--images", images, "--name", "Mine")[2]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no JSON: "),
        ("[]", "is no COCO of instances: it is a list"),
        ('{"images": []}', "is no COCO of instances: it lacks 'annotations'"),
        ('{"images": [], "annotations": [{"id": 1, "image_id": 3}]}', "is no COCO of instances: it lacks 3"),
        ('{"images": [{"id": 1, "file_name": "no.png"}], "annotations": []}', "no.png is missing: --images names"),
        (
            '{"images": [{"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "./../images/b.png"}],'
            '"annotations": []}',
            "2 images are named b.png: give them different names",
        ),
        (
            '{"images": [{"id": 1, "file_name": "b.png", "width": 8, "height": 6}],'
            '"annotations": [{"id": 9, "image_id": 1, "segmentation": [[1, 2]]}]}',
            "annotation 9: no mask can be made of its segmentation",
        ),
        (
            '{"images": [{"id": 1, "file_name": "b.png", "width": 4, "height": 3}],'
            '"annotations": [{"id": 9, "image_id": 1, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]]}]}',
            "b.png has 8 x 6 pixels, its mask 4 x 3",
        ),
    ],
)
def test_coco_that_cannot_be_used(prepare, folder, tmp_path, make_source, content, told):
    path = tmp_path / "Mine.json"
    path.write_text(content)
    status, printed, problem = prepare("--coco", path, "--images", make_source("images", "masks") / "images")
    assert (status, printed) == (1, "")
    assert told in problem
    assert not (folder / "coco" / "Mine").exists()


def test_a_source_is_converted_anew_each_time(prepare, folder, make_source, write_picture):
    source = make_source("images", "masks")
    prepare("--name", "Mine", "--source", source)
    write_picture(source / "masks" / "a.png", np.zeros((6, 8), np.uint8))
    printed = f"Mine: 2 images, 2 objects, 1 images without an object, in {folder}/coco/Mine\n"
    assert prepare("--name", "Mine", "--source", source) == (0, printed, "")


def test_the_instances_of_sbd_are_objects(prepare, folder, make_source, write_picture):
    source = make_source("img", "gt", names=("x", "y"))
    segmentation = np.zeros((6, 8), np.uint8)
    segmentation[0], segmentation[5] = 1, 2
    (source / "inst").mkdir()
    savemat(source / "inst" / "y.mat", {"GTinst": {"Segmentation": segmentation}})
    (source / "gt").rename(source / "other")
    (source / "val.txt").write_text("y\n")
    assert prepare("--sbd", "--source", source)[:2] == (0, f"SBD: 1 images, 2 objects, in {folder}/coco/SBD\n")
    instances = read_dataset(folder / "coco" / "SBD")
    assert [instance.name for instance in instances] == ["y#1", "y#2"]
    np.testing.assert_array_equal(instances[1].sure(), segmentation == 2)


def test_a_source_that_cannot_be_used_is_named(prepare, folder, tmp_path, make_source):
    (tmp_path / "empty").mkdir()
    status, printed, problem = prepare("--grabcut", "--source", tmp_path / "empty")
    assert (status, printed) == (1, "")
    assert problem.startswith(f"GrabCut: {tmp_path}/empty has none of the known layouts (")
    prepare("--name", "Mine", "--source", make_source())
    status, _, problem = prepare("--name", "Mine", "--source", folder / "coco" / "Mine" / "images")
    assert (status, problem.partition(" lies ")[2]) == (
        1,
        f"where the converted data set goes, {folder}/coco/Mine: move it elsewhere",
    )
    assert len(read_dataset(folder / "coco" / "Mine")) == 4


# --- from the web


def test_a_release_is_downloaded_unpacked_and_converted(prepare, folder, make_source, serve):
    server = serve("GrabCut", pack_zip(make_source(root="GrabCut")))
    status, printed, _ = prepare("--grabcut")
    assert (status, printed[:19]) == (0, "GrabCut: 2 images, ")
    assert (folder / "raw" / "GrabCut" / "GrabCut" / "data_GT" / "a.png").is_file()
    assert (folder / "raw" / "GrabCut.zip").read_bytes() == server.content
    assert prepare("--grabcut") == (0, f"GrabCut: ready since an earlier run, in {folder}/coco/GrabCut\n", "")
    assert len(server.asked) == 1


def test_a_compressed_tar_with_its_checksum(prepare, folder, make_source, serve):
    source = make_source("img", "inst", names=("y",), root="dataset")
    (source / "inst" / "y.png").unlink()
    savemat(source / "inst" / "y.mat", {"GTinst": {"Segmentation": np.eye(6, 8, dtype=np.uint8)}})
    (source / "val.txt").write_text("y\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(source, "benchmark_RELEASE/dataset")
    serve("SBD", packed.getvalue(), f"md5:{hashlib.md5(packed.getvalue()).hexdigest()}")
    assert prepare("--sbd")[1].startswith("SBD: 1 images, 1 objects, ")


def test_an_interrupted_download_goes_on(prepare, folder, make_source, serve):
    server = serve("DAVIS", pack_zip(make_source("img", "gt", root="DAVIS")))
    server.cut_at = 200
    status, _, problem = prepare("--davis")
    assert status == 1
    assert problem.startswith(f"DAVIS: {server.url} could not be downloaded (")
    server.cut_at = None
    assert prepare("--davis")[0] == 0
    assert server.asked == [None, "bytes=200-"]


def test_after_unpacking_nothing_is_downloaded_again(prepare, folder, make_source, serve):
    server = serve("DAVIS", b"")
    make_source("img", "gt", root="datasets/raw/DAVIS")
    assert prepare("--davis")[0] == 0
    assert server.asked == []


@pytest.mark.parametrize("checksum", [None, "sha256:" + "0" * 64])
def test_a_broken_archive_is_named_and_fetched_again_once_deleted(prepare, folder, make_source, serve, checksum):
    content = pack_zip(make_source(root="GrabCut"))
    server = serve("GrabCut", content[:-50] if checksum is None else content, checksum)
    archive = folder / "raw" / "GrabCut.zip"
    for _ in range(2):
        status, _, problem = prepare("--grabcut")
        assert status == 1
        assert problem.startswith(f"GrabCut: {archive} is broken (")
        assert problem.endswith(": delete it and run the command again, or put a sound copy in its place")
    assert len(server.asked) == 1
    archive.unlink()
    serve("GrabCut", content)
    assert prepare("--grabcut")[0] == 0


def test_another_archive_than_the_first_is_refused_until_its_record_is_deleted(prepare, folder, make_source, serve):
    content = pack_zip(make_source(root="GrabCut"))
    serve("GrabCut", content)
    assert prepare("--grabcut")[0] == 0
    archive, recorded = folder / "raw" / "GrabCut.zip", folder / "raw" / "GrabCut.zip.sha256"
    assert recorded.read_text() == f"{hashlib.sha256(content).hexdigest()}  GrabCut.zip\n"
    for made in (folder / "raw" / "GrabCut", folder / "coco" / "GrabCut"):
        shutil.rmtree(made)
    archive.unlink()
    serve("GrabCut", pack_zip(make_source(names=("c",), root="other/GrabCut")))
    status, _, problem = prepare("--grabcut")
    assert status == 1
    assert problem.startswith(f"GrabCut: {archive} is another file than the one that was unpacked before")
    assert problem.endswith(f"put that one in its place, or delete {recorded.name} to take this one")
    assert not (folder / "raw" / "GrabCut").exists()
    recorded.unlink()
    archive.write_bytes(content)
    assert prepare("--grabcut")[0] == 0


def test_an_archive_put_there_by_hand_is_used_offline(prepare, folder, make_source, monkeypatch):
    monkeypatch.setenv("M2N2_OFFLINE", "true")
    status, _, problem = prepare("--berkeley")
    assert status == 1
    assert problem == (
        "Berkeley: offline mode forbids downloading https://github.com/saic-vul/fbrs_interactive_segmentation/releases/"
        f"download/v1.0/Berkeley.zip: unset M2N2_OFFLINE, put the file at {folder}/raw/Berkeley.zip, or give --source"
    )
    (folder / "raw").mkdir()
    (folder / "raw" / "Berkeley.zip").write_bytes(pack_zip(make_source("images", "masks", root="Berkeley")))
    assert prepare("--berkeley")[0] == 0


def test_oai_zib_is_unpacked_by_hand(prepare, folder, make_source):
    status, _, problem = prepare("--oaizib")
    assert status == 1
    assert problem == (
        f"OAIZIB: it is unpacked by hand: fetch {DATASETS['oaizib'].by_hand}, unpack it into {folder}/raw/OAIZIB "
        "and run this again"
    )
    make_source("image", "annotations", root="datasets/raw/OAIZIB/test")
    assert prepare("--oaizib")[1].startswith("OAIZIB: 2 images, 4 objects, ")


def test_one_that_fails_leaves_the_others(prepare, folder, make_source):
    make_source("img", "gt", root="datasets/raw/DAVIS")
    status, printed, problem = prepare("--davis", "--oaizib")
    assert status == 1
    assert printed.startswith("DAVIS: 2 images, ")
    assert problem.startswith("OAIZIB: it is unpacked by hand")


def test_two_runs_do_not_write_the_same_folder(prepare, folder, make_source):
    folder.mkdir()
    with FileLock(folder / ".lock"):
        status, _, problem = prepare("--grabcut", "--source", make_source())
    assert (status, problem) == (1, f"GrabCut: another run is preparing data sets in {folder}: wait for its end")


def test_a_folder_that_cannot_be_written_is_named(prepare, folder, make_source):
    folder.mkdir()
    (folder / "coco").write_text("a file")
    status, _, problem = prepare("--grabcut", "--source", make_source())
    assert status == 1
    assert problem.endswith("cannot be used (Not a directory): make it usable, or give another --folder")


# --- options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            [],
            "say which data sets: --grabcut, --berkeley, --davis, --sbd, --brats, --oaizib, or --name NAME",
        ),
        (["--name", "Mine"], "--name NAME is of a data set of your own: give the --source that it is made from"),
        (["--source", "."], "--source holds one data set: give one of --grabcut, "),
        (["--source", ".", "--grabcut", "--davis"], "--source holds one data set: give one of --grabcut, "),
        (["--source", ".", "--grabcut", "--name", "Mine"], "--source holds one data set: give one of --grabcut, "),
        (["--source", ".", "--name", "grabCut"], "grabCut is a published data set: give --grabcut instead of --name"),
        (["--source", ".", "--name", "../up"], "'../up' is no name of a folder: use letters, digits, '-', '_' and '.'"),
        (["--source", "/nowhere", "--grabcut"], "'/nowhere' does not exist"),
        (["--images", "."], "--coco FILE and --images FOLDER belong together: give both"),
        (["--coco", "pyproject.toml"], "--coco FILE and --images FOLDER belong together: give both"),
        (["--coco", "pyproject.toml", "--images", ".", "--davis"], "leave the published ones and --source away"),
        (["--coco", "pyproject.toml", "--images", ".", "--name", "sbd"], "sbd is a published data set: give --sbd"),
    ],
)
def test_options_that_do_not_go_together(prepare, folder, options, problem):
    status, _, printed = prepare(*options)
    assert status == 2
    assert problem in printed
    assert not folder.exists()


def test_every_published_data_set_has_its_option(m2n2):
    printed = m2n2("--help").stdout
    for name, dataset in DATASETS.items():
        assert f"--{name} " in printed
        assert (dataset.archive is None) == (dataset.by_hand is not None)
    assert DATASETS["sbd"].read_objects is read_instances
