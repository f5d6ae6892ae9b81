#!/bin/sh
# install_packages.sh PACKAGE...: Debian packages, without those that they only recommend and without apt's lists.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
