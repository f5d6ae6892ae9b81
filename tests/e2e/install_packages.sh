#!/usr/bin/env bash
# Installs the Debian packages that are named, as root or through sudo.
set -euo pipefail
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
if ! command -v apt-get >/dev/null; then
    echo "there is no apt-get here: install what gives you these programs: $*" >&2
    exit 1
fi
"${as_root[@]}" apt-get update --quiet
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "$@"
