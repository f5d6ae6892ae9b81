"""What an image installs has one version and a sha256 for each file, and the versions are those of requirements.txt."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.helpers.deploy.lock import (
    PRODUCT_LOCK,
    RAY_LOCK,
    TORCH_CPU_LOCK,
    TORCH_CUDA_LOCK,
    list_direct,
    read_lock,
)
from tests.helpers.deploy.pins import EXTRAS
from tests.helpers.paths import ROOT

LOCKS = {path.relative_to(ROOT).as_posix(): path for path in (PRODUCT_LOCK, TORCH_CPU_LOCK, TORCH_CUDA_LOCK, RAY_LOCK)}
TORCH_LOCKS = [TORCH_CPU_LOCK, TORCH_CUDA_LOCK]
HASH = "0" * 64
INSTALL = re.compile(r"(RUN .*pip install|\S+ -m pip install|install --req|install \$)")
DIGEST = re.compile(r"[a-z0-9./-]+:[a-z0-9.-]+@sha256:[0-9a-f]{64}")


def versions(path):
    return {package.name: package.version for package in read_lock(path.read_text())}


def normalize(name):
    return re.sub(r"\[.*\]", "", name).lower().replace("_", "-")


def split(requirements):
    pairs = [requirement.split("==") for requirement in requirements]
    return {normalize(name): version for name, version in pairs}


@pytest.mark.parametrize("path", LOCKS.values(), ids=LOCKS)
def test_every_package_has_a_version_and_hashes(path):
    packages = read_lock(path.read_text())
    assert packages
    for package in packages:
        assert package.hashes, package.name
        assert len(set(package.hashes)) == len(package.hashes), package.name


@pytest.mark.parametrize("path", LOCKS.values(), ids=LOCKS)
def test_a_lock_names_no_place_to_fetch_from(path):
    """Where packages come from is the business of whoever builds."""
    assert "//" not in path.read_text()
    assert "index" not in "".join(line for line in path.read_text().splitlines() if not line.startswith("#"))


def test_the_lock_has_the_versions_of_the_plain_list():
    direct = split(list_direct())
    torch = direct.pop("torch")
    locked = versions(PRODUCT_LOCK)
    assert {name: locked.get(name) for name in direct} == direct
    assert "torch" not in locked
    for path in TORCH_LOCKS:
        assert versions(path)["torch"].removesuffix("+cpu") == torch


def test_the_cpu_build_has_a_hash_for_each_kind_of_processor_and_no_package_of_cuda():
    (torch,) = read_lock(TORCH_CPU_LOCK.read_text())
    assert (torch.version.endswith("+cpu"), len(torch.hashes)) == (True, 2)
    assert not [name for name in versions(PRODUCT_LOCK) if name.startswith(("nvidia", "cuda", "triton"))]


def test_the_lock_of_ray_adds_to_the_image_and_changes_nothing_of_it():
    locked = versions(RAY_LOCK)
    assert not set(locked) & {*versions(PRODUCT_LOCK), *versions(TORCH_CUDA_LOCK)}
    assert locked["ray"] == split(EXTRAS["ray"])["ray"]


@pytest.mark.parametrize(
    "line",
    [
        "numpy==2.4.6",
        f"numpy --hash=sha256:{HASH}",
        f"numpy>=2 --hash=sha256:{HASH}",
        f"numpy==2.4.6 --hash=md5:{HASH}",
        f"numpy==2.4.6 --hash=sha256:{HASH[1:]}",
        f"numpy @ file:///wheel --hash=sha256:{HASH}",
        "--extra-index-url somewhere",
    ],
)
def test_a_line_without_version_or_hash_is_found(line):
    good = f"rich==15.0.0 \\\n    --hash=sha256:{HASH}\n"
    assert [package.name for package in read_lock(good)] == ["rich"]
    with pytest.raises(ValueError, match="no package with version and hashes"):
        read_lock(f"{good}{line}\n{good}")


def logical_lines(path):
    return path.read_text().replace("\\\n", " ").splitlines()


def test_whatever_an_image_installs_is_checked_by_its_hash():
    """But for a torch of the operator's own choice, and the product itself, which is here."""
    files = [ROOT / "Dockerfile", *sorted((ROOT / "deploy/image").glob("*.sh"))]
    steps = [line.strip() for path in files for line in logical_lines(path)]
    installs = [step for step in steps if INSTALL.match(step)]
    checked = [step for step in installs if "--require-hashes" in step]
    assert len(checked) == 3
    assert all("--no-deps" in step for step in checked)
    others = [step for step in installs if step not in checked]
    assert len(others) == 3
    assert all(step.endswith(('"$@"', '"$TORCH"', "--no-build-isolation .")) for step in others)


def test_the_locks_that_the_image_installs_from_are_copied_to_it():
    dockerfile = (ROOT / "Dockerfile").read_text()
    for path in LOCKS:
        assert path in dockerfile
    assert set(re.findall(r"^ARG TORCH_LOCK=(.*)$", dockerfile, re.MULTILINE)) == {path.name for path in TORCH_LOCKS}


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_ray_s_image_is_the_server_s_and_ray(kind):
    """So that what the cluster runs is built by the same steps, and from the same sources."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    (stage,) = re.findall(rf"^FROM {kind} AS ray-{kind}$((?:\n\S.*)+)", dockerfile, re.MULTILINE)
    assert "install_ray.sh" in stage
    assert stage.index("USER 0") < stage.index("USER 10001:10001")


def test_a_build_without_a_target_makes_the_server_for_processors():
    assert re.findall(r"^FROM (\S+) AS", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1] == "cpu"


def test_base_images_are_named_by_their_digest():
    dockerfile = (ROOT / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG DEBIAN=(.*)$", dockerfile, re.MULTILINE)
    assert DIGEST.fullmatch(base)
    # Nothing else is built upon: every other stage is of this file.
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)
    assert len(stages) == dockerfile.count("\nFROM ")
    assert {name for name, _ in stages} <= {"${DEBIAN}", *(stage for _, stage in stages)}
    function = yaml.safe_load((ROOT / "deploy/cvat/nuclio/function.yaml").read_text())
    assert DIGEST.fullmatch(function["spec"]["build"]["baseImage"])


def test_images_of_others_are_named_by_their_digest():
    """But for Label Studio's, whose tag the operator can put a digest to."""
    services = yaml.safe_load((ROOT / "deploy/docker-compose.yml").read_text())["services"]
    images = {name: service["image"] for name, service in services.items() if "build" not in service}
    assert set(images) == {"label-studio", "label-studio-postgres", "postgres", "nginx", "prometheus", "grafana"}
    for name in ("label-studio", "label-studio-postgres"):
        assert images.pop(name) == "${LABEL_STUDIO_IMAGE:-heartexlabs/label-studio:1.23.2}"
    for name, image in images.items():
        assert DIGEST.fullmatch(image), name
