#!/bin/sh
# install_product.sh [WEIGHTS...]: the product from the sources at hand into /opt/m2n2, everything there compiled, and
# the weights of these names (`m2n2 weights list`) into M2N2_BUNDLED_FOLDER, where the server only reads.
set -eu
bin=/opt/m2n2/bin
# By the setuptools of the lock: pip would fetch another one to build with.
"$bin/python" -m pip install --no-cache-dir --no-compile --disable-pip-version-check --no-deps --no-build-isolation .
install --mode 644 deploy/image/health.py /opt/m2n2/

# Byte code: a container whose file system is read-only would compile every module anew at each start. Unchecked, for
# nobody edits an image. py312_* of torch's own tests is in the language of a later Python.
"$bin/python" -m compileall -q -j 0 -x /py312_ --invalidation-mode unchecked-hash /opt/m2n2/lib

# Kernels of every preset, into NUMBA_CACHE_DIR, for this processor; a container on another one adds its own beside them.
# Layers of an image keep whole seconds, and a kernel whose source seems to have changed since is compiled again.
find /opt/m2n2 -name '*.py' -exec touch --no-create --date=@"${SOURCE_DATE_EPOCH:-0}" {} +
"$bin/python" -P -c '
from backend.engines.load import load_warm
from backend.settings import load_settings
from m2n2_engine.presets import PRESETS

for preset in PRESETS:
    settings = {"M2N2_BACKBONE": "tiny", "M2N2_PRESET": preset, "M2N2_DISK_CACHE_MIB": "0"}
    load_warm(load_settings(settings).engine_config())'

for name in "$@"; do
    M2N2_CACHE_FOLDER=$M2N2_BUNDLED_FOLDER M2N2_BUNDLED_FOLDER= "$bin/m2n2" weights get "$name"
    # Another user serves than the one that installs.
    chmod -R a+rX "$M2N2_BUNDLED_FOLDER"
done
