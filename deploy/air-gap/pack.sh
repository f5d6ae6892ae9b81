#!/usr/bin/env bash
# pack.sh FOLDER [OPTION...]: all that a machine without a network needs to install or upgrade the server, in one folder.
# docs/operate/air-gap.md is the operator's guide. Run it in a clone, on a machine of the same kind that has a network.
#
#   --torch LOCK      torch-cpu (default), or torch-cuda for an NVIDIA GPU
#   --weights NAME    of `m2n2 weights list`; may be given several times. Default: dinov2-small
#   --image IMAGE     an image that the engine here has, such as m2n2:cpu; may be given several times. Default: none
#   --wheels FOLDER   take wheels from there before any index is asked, such as those of an earlier pack
#   --images-only     leave wheels and weights out, for machines that run containers alone
#
# ENGINE: docker (default) or podman. PYTHON: that of the machine to install on. Default: python3
# TORCH_INDEX_URL: where torch's CPU build is; empty: pip's own index.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
engine=${ENGINE:-docker}
python=${PYTHON:-python3}
torch_index=${TORCH_INDEX_URL-https://download.pytorch.org/whl/cpu}
torch=torch-cpu
weights=()
images=()
known=()
images_only=

stop() {
    echo "pack: $*" >&2
    exit 1
}

say() { echo "== $*"; }

main() {
    [ $# -ge 1 ] || stop "name the folder to pack into"
    local target=$1
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --images-only) images_only=yes; shift; continue ;;
            --torch | --weights | --image | --wheels) [ $# -ge 2 ] || stop "$1 needs a value" ;;
            *) stop "$1 is no option: --torch, --weights, --image, --wheels, --images-only" ;;
        esac
        case $1 in
            --torch) torch=${2%.lock} ;;
            --weights) weights+=("$2") ;;
            --image) images+=("$2") ;;
            --wheels)
                [ -d "$2" ] || stop "there is no folder $2"
                known+=(--find-links "$(cd "$2" && pwd)")
                ;;
        esac
        shift 2
    done
    [ -f "$root/deploy/image/$torch.lock" ] || stop "there is no deploy/image/$torch.lock: torch-cpu or torch-cuda"
    [ ! -e "$target" ] || stop "$target is there already: name a new folder"
    [ -z "$images_only" ] || [ ${#images[@]} -gt 0 ] || stop "--images-only needs an image: --image m2n2:cpu"
    [ ${#weights[@]} -gt 0 ] || weights=(dinov2-small)

    # Whole, or not there.
    partial=$target.partial
    scratch=$(mktemp --directory)
    trap 'rm -rf "$scratch" "$partial"' EXIT
    rm -rf "$partial"
    mkdir -p "$partial"
    partial=$(cd "$partial" && pwd)
    pack_files
    if [ -z "$images_only" ]; then
        pack_wheels
        pack_product
        # What is packed is installed here once, without an index: the weights are fetched by it.
        try_it
    fi
    for image in "${images[@]}"; do
        pack_image "$image"
    done
    say "Hashes"
    (cd "$partial" && find . -type f ! -name SHA256SUMS -print0 | sort --zero-terminated | xargs -0 sha256sum >SHA256SUMS)
    mv "$partial" "$target"
    say "$target has $(du --summarize --human-readable "$target" | cut --fields=1)"
}

# What an operator reads and deploys. This machine's own settings stay here.
pack_files() {
    say "Files"
    local name own=()
    for name in .env m2n2.env label-studio.env secrets; do own+=(--exclude "deploy/$name"); done
    tar --create --file "$partial/files.tar" --directory "$root" --exclude __pycache__ "${own[@]}" \
        CHANGELOG.md LICENSE README.md deploy docs
    cp "$here/install.sh" "$root/deploy/image/requirements.lock" "$partial/"
    cp "$root/deploy/image/$torch.lock" "$partial/torch.lock"
}

download() {
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --dest "$partial/wheels" "${known[@]}" "$@"
}

# Each file has a sha256 of its lock.
pack_wheels() {
    say "Wheels"
    mkdir "$partial/wheels"
    download --requirement "$partial/requirements.lock"
    local index=()
    if [ "$torch" = torch-cpu ] && [ -n "$torch_index" ]; then index=(--index-url "$torch_index"); fi
    download "${index[@]}" --requirement "$partial/torch.lock"
}

# By the setuptools of the lock, on a copy, for setuptools writes beside what it builds.
pack_product() {
    say "The product's own wheel"
    mkdir "$scratch/sources"
    cp --recursive "$root"/{LICENSE,README.md,backend,m2n2_engine,pyproject.toml,requirements.txt} "$scratch/sources/"
    "$python" -m venv "$scratch/build"
    local pip=(env PIP_CONFIG_FILE=/dev/null "$scratch/build/bin/python" -m pip --isolated --quiet
        --disable-pip-version-check)
    # A new environment has Debian's, which is too old.
    "${pip[@]}" install --upgrade --no-index --find-links "$partial/wheels" setuptools
    "${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$partial/wheels" "$scratch/sources"
}

try_it() {
    say "Installed here once, to see that nothing is missing"
    PYTHON=$python "$partial/install.sh" "$scratch/installed" "$scratch/no-weights"
    local name
    for name in "${weights[@]}"; do
        M2N2_CACHE_FOLDER=$partial "$scratch/installed/.venv/bin/m2n2" weights get "$name"
        M2N2_CACHE_FOLDER=$partial "$scratch/installed/.venv/bin/m2n2" weights verify "$name"
    done
    find "$partial/weights" -name '.*.lock' -delete
}

pack_image() {
    say "Image $1"
    mkdir -p "$partial/images"
    "$engine" save --output "$partial/images/$(tr '/:@' '---' <<<"$1").tar" "$1"
}

main "$@"
