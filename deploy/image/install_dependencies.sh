#!/bin/sh
# install_dependencies.sh: what the product needs, as the virtual environment /opt/m2n2, by the requirements.txt at hand.
#
# TORCH: requirement of torch. TORCH_INDEX_URL: where that build of it is; empty: pip's own index.
set -eu
install() {
    /opt/m2n2/bin/python -m pip install --no-cache-dir --no-compile --disable-pip-version-check "$@"
}

python3 -m venv /opt/m2n2
install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$TORCH"
# The same release of OpenCV without its windows, and so without X, Qt and libGL's drivers.
sed 's/^opencv-python==/opencv-python-headless==/' requirements.txt > /tmp/requirements.txt
install --requirement /tmp/requirements.txt

# Serving never reads test suites, C++ headers and torch's test programs. Licences, in *.dist-info, stay; so does pip,
# by which `m2n2 weights get` fetches.
packages=$(/opt/m2n2/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
rm -rf "$packages/torch/include"
