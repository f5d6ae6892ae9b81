#!/bin/sh
# install_dependencies.sh: what the product needs, as the virtual environment /opt/m2n2, by the lock files at hand. Each file
# that pip fetches must have a sha256 of its lock.
#
# TORCH_LOCK: lock file of torch. TORCH: requirement of another build, which is fetched without a sha256; empty: that of
# the lock. TORCH_INDEX_URL: where torch is; empty: pip's own index.
set -eu
install() {
    /opt/m2n2/bin/python -m pip install --no-cache-dir --no-compile --disable-pip-version-check "$@"
}

python3 -m venv /opt/m2n2
# A lock is complete: nothing that it does not name may be fetched for what it names.
install --require-hashes --no-deps --requirement requirements.lock
if [ -n "${TORCH:-}" ]; then
    install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$TORCH"
else
    install --require-hashes --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} --requirement "$TORCH_LOCK"
fi
/opt/m2n2/bin/python -m pip check

# Serving never reads test suites, C++ headers and torch's test programs. Licences, in *.dist-info, stay; so does pip,
# by which `m2n2 weights get` fetches.
packages=$(/opt/m2n2/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
rm -rf "$packages/torch/include"
