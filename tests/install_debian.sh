#!/usr/bin/env bash
# Installs packages of Debian, as root or through sudo:  tests/install_debian.sh PACKAGE...
set -euo pipefail
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
if ! command -v apt-get >/dev/null; then
    echo "there is no apt-get here: install what Debian calls $* in this system's own way" >&2
    exit 1
fi
"${as_root[@]}" apt-get update --quiet
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "$@"
