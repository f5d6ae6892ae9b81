#!/usr/bin/env bash
# install.sh FOLDER WEIGHTS_FOLDER: installs or upgrades from the pack that this file is in, without a network.
# install.sh --images: gives the images of the pack to the engine, docker or ENGINE.
# docs/operate/air-gap.md is the operator's guide.
#
# FOLDER gets deploy and docs, and an environment of its own for each version; .venv leads to the one installed last.
# WEIGHTS_FOLDER is what M2N2_CACHE_FOLDER will name. PYTHON: by default python3.
set -euo pipefail

pack=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
engine=${ENGINE:-docker}
python=${PYTHON:-python3}

stop() {
    echo "install: $*" >&2
    exit 1
}

main() {
    # While it is being packed there is no list yet.
    if [ -f "$pack/SHA256SUMS" ]; then
        (cd "$pack" && sha256sum --check --strict --quiet SHA256SUMS) || stop "the pack is damaged: nothing was changed"
    fi
    case "$#:${1:-}" in
        1:--images) load_images ;;
        2:*) install_server "$1" "$2" ;;
        *) stop "say install.sh FOLDER WEIGHTS_FOLDER, or install.sh --images" ;;
    esac
}

load_images() {
    local file found=
    for file in "$pack"/images/*.tar; do
        [ -f "$file" ] || continue
        "$engine" load --input "$file"
        found=yes
    done
    [ -n "$found" ] || stop "the pack has no images: pack.sh --image IMAGE"
}

install_server() {
    local weights=$2 wheel version environment
    [ -d "$pack/wheels" ] || stop "the pack has images alone: install.sh --images"
    mkdir -p "$1"
    local target
    target=$(cd "$1" && pwd)
    wheel=$(find "$pack/wheels" -name 'm2n2_annotation-*.whl')
    # Of its name: m2n2_annotation-VERSION-py3-none-any.whl
    version=$(basename "$wheel" | cut --delimiter=- --fields=2)
    environment=$target/.venv-$version
    if [ -e "$target/.venv" ] && [ ! -L "$target/.venv" ]; then
        stop "$target/.venv was not made by install.sh: move it away first"
    fi
    if [ "$(readlink "$target/.venv")" = ".venv-$version" ]; then
        stop "version $version is installed in $target: to install it anew, delete $target/.venv first"
    fi
    rm -rf "$environment"
    "$python" -m venv "$environment"
    # Whatever indexes this machine's pip is set to use: the pack alone counts.
    local pip=(env PIP_CONFIG_FILE=/dev/null "$environment/bin/python" -m pip --isolated install --quiet
        --disable-pip-version-check --no-index --no-deps --find-links "$pack/wheels")
    "${pip[@]}" --require-hashes --requirement "$pack/requirements.lock" --requirement "$pack/torch.lock"
    "$environment/bin/python" -m pip --disable-pip-version-check check
    # Checked before: the wheel asks for the OpenCV with windows, and the lock has the one without.
    "${pip[@]}" "$wheel"

    if [ -d "$pack/weights" ]; then
        mkdir -p "$weights/weights"
        cp --recursive --no-target-directory "$pack/weights" "$weights/weights"
    fi
    tar --extract --no-same-owner --file "$pack/files.tar" --directory "$target"
    # From here on the next start is the new version's.
    ln --symbolic --force --no-dereference ".venv-$version" "$target/.venv"
    echo "install: version $version is in $target"
}

main "$@"
