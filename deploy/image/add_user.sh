#!/bin/sh
# add_user.sh: the user that serves, and the two folders that it may write to. Nothing else has to be writable but /tmp.
set -eu
groupadd --gid 10001 m2n2
useradd --uid 10001 --gid m2n2 --home-dir /cache --no-create-home --shell /usr/sbin/nologin m2n2
install --directory --owner m2n2 --group m2n2 /cache /weights
