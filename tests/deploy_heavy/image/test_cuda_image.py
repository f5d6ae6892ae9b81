"""The target for GPUs, built on this machine, which need not have one: what is in it, and what it says without one."""

from __future__ import annotations

import pytest

from tests.helpers.image.podman import LIMITS
from tests.helpers.paths import ROOT

IMAGE = "localhost/m2n2:cuda"
# What a driver is asked for, by Triton's compiler and by torch.
FOUND = """
import torch, triton
from m2n2_engine.kernels.cuda import attention, balancing, flood_fill, walk
print(torch.version.cuda is not None, torch.cuda.is_available(), triton.__version__ != "")
"""
# What Triton does on the GPU's machine, as the user that serves: its launchers are extensions of Python's, in C.
EXTENSION = """
set -eu
cd /tmp
printf '#include <Python.h>\\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "made", 0, -1, 0};
PyMODINIT_FUNC PyInit_made(void) { return PyModule_Create(&d); }' > made.c
gcc -shared -fPIC "-I$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')" made.c -o made.so
python -c 'import made; print(made.__name__)'
"""


@pytest.fixture(scope="module")
def cuda_image(podman):
    """Its name. It takes gigabytes, and is gone after the tests."""
    built = podman.build(ROOT, "cuda", IMAGE)
    assert built["User"] == "10001:10001"
    yield IMAGE
    podman("image", "rm", "--force", IMAGE)


@pytest.fixture
def run(podman, cuda_image):
    """Runs a program in a container without a GPU, and gives what it prints."""

    def run(program, *arguments):
        options = ["--rm", "--network=host", *LIMITS, f"--entrypoint={program}"]
        return podman("run", *options, cuda_image, *arguments)

    return run


def test_it_has_torch_for_cuda_and_all_that_the_kernels_import(run):
    assert run("python", "-c", FOUND).split() == ["True", "False", "True"]


def test_its_user_can_compile_what_triton_compiles(run):
    assert run("sh", "-c", EXTENSION) == "made"


def test_without_a_gpu_it_ends_and_says_so(run):
    with pytest.raises(RuntimeError) as ended:
        run("gunicorn", "--config", "python:backend.http.gunicorn_conf")
    said = str(ended.value)
    assert "no device 'cuda' on this machine" in said
    assert "Traceback" not in said
