#!/bin/sh
# install_ray.sh: Ray into /opt/m2n2, beside the product that is there, by the lock file at hand. Each file that pip
# fetches must have a sha256 of it.
set -eu
cd "$(dirname "$0")"
# By the extra's name, m2n2-annotation[ray], pip would also fetch the OpenCV with windows.
/opt/m2n2/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes --no-deps --requirement requirements.lock
# The image has the OpenCV without windows, which the product's own requirement does not name.
broken=$(/opt/m2n2/bin/python -m pip check | grep -v -e '^No broken' -e '^m2n2-annotation .* requires opencv-python,') || true
if [ -n "$broken" ]; then
    echo "$broken" >&2
    exit 1
fi
