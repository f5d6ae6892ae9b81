"""Kernels that were kept before an upgrade are not taken for those of now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from m2n2_engine.kernels.cpu.kernel_folder import hash_sources, keeping_kernels
from tests.helpers.paths import ROOT

KERNEL = """
from m2n2_engine.kernels.cpu.matrix_rows import raise_row
from m2n2_engine.kernels.cpu.threads import compiled_fast

@compiled_fast
def raise_values(row, exponent):
    return raise_row(row, exponent)
"""

RAISE = """
import numpy as np
from m2n2_engine.kernels.cpu.kernel import raise_values
print(raise_values(np.linspace(0.01, 1.0, 32, dtype=np.float32), np.float32(1.5)))
"""

COMPILES = f"{RAISE}import sys\nprint('scipy.linalg' in sys.modules)\n"
"""Numba's compiler imports that module, and nothing else of the program does."""

EXACT, COARSE = "np.log2(1 + f) / f, 9,", "np.log2(1 + f) / f, 2,"
"""Of ``simd.py``: a polynomial that kernels of other files are made of."""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The sources that one kernel is made of, and that kernel, in a package that may be changed."""
    folder = tmp_path / "release" / "m2n2_engine" / "kernels" / "cpu"
    folder.mkdir(parents=True)
    for name in ("kernel_folder.py", "kept_kernel.py", "matrix_rows.py", "simd.py", "threads.py"):
        shutil.copy(ROOT / "m2n2_engine" / "kernels" / "cpu" / name, folder)
    shutil.copy(ROOT / "m2n2_engine" / "processors.py", folder.parents[1])
    (folder / "kernel.py").write_text(KERNEL)
    return folder


def run(release: Path, volume: Path, program: str = RAISE) -> str:
    environ = {**os.environ, "PYTHONPATH": str(release), "NUMBA_CACHE_DIR": str(volume)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True, cwd=release).stdout


def test_an_upgrade_over_kept_kernels_computes_what_a_new_installation_does(sources: Path, tmp_path: Path) -> None:
    release, volume = tmp_path / "release", tmp_path / "volume"
    before = run(release, volume)
    kept = sorted(volume.rglob("*.nbc"))
    assert len(kept) == 1
    assert run(release, volume) == before
    assert sorted(volume.rglob("*.nbc")) == kept
    simd = sources / "simd.py"
    assert simd.read_text().count(EXACT) == 1
    simd.write_text(simd.read_text().replace(EXACT, COARSE))
    after = run(release, volume)
    assert after == run(release, tmp_path / "fresh")
    assert after != before


def test_a_kept_kernel_is_loaded_without_the_compiler(sources: Path, tmp_path: Path) -> None:
    outputs = [run(tmp_path / "release", tmp_path / "volume", COMPILES).splitlines() for _ in range(2)]
    assert [output.pop() for output in outputs] == ["True", "False"]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("change", ["simd.py", "new.py"])
def test_every_source_counts(tmp_path: Path, change: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("simd.py", "window_taps.py"):
        for folder in ("a", "b"):
            (tmp_path / folder / name).write_text(name)
    assert hash_sources(tmp_path / "a") == hash_sources(tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    (tmp_path / "c" / change).write_text("changed")
    assert hash_sources(tmp_path / "c") != hash_sources(tmp_path / "a")


def test_the_setting_of_numba_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    with keeping_kernels() as is_kept:
        assert is_kept
        assert Path(numba.config.CACHE_DIR).parent == tmp_path
    assert str(tmp_path) == numba.config.CACHE_DIR


def test_without_a_setting_kernels_are_kept_among_the_package_s_byte_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    with keeping_kernels():
        assert Path(numba.config.CACHE_DIR).parent == ROOT / "m2n2_engine" / "kernels" / "cpu" / "__pycache__"


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    folder = tmp_path / f"kernels-{hash_sources(ROOT / 'm2n2_engine' / 'kernels' / 'cpu')}"
    folder.mkdir()
    folder.chmod(mode)
    with keeping_kernels() as is_kept:
        assert is_kept
        assert Path(numba.config.CACHE_DIR).parent != tmp_path
    assert f"not kept in {folder}: others may write there" in caplog.text


def test_kernels_run_where_there_is_no_place_to_keep_them(sources: Path, tmp_path: Path) -> None:
    for place in (tmp_path / "file", sources / "__pycache__"):
        place.write_text("no folder")
    code = "import numba; numba.config.CACHE_DIR = ''\n" + RAISE
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "release"), "XDG_CACHE_HOME": str(tmp_path / "file")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0
    assert f"{tmp_path / 'file' / 'm2n2' / 'kernels'} can be written to. Set NUMBA_CACHE_DIR" in done.stderr
