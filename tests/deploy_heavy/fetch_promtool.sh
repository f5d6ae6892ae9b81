#!/usr/bin/env bash
# fetch_promtool.sh FOLDER: Debian's promtool alone. Installing its package would start a Prometheus on port 9090.
set -euo pipefail
mkdir -p "$1"
cd "$1"
apt-get download prometheus
dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract --strip-components=3 ./usr/bin/promtool
rm prometheus_*.deb
