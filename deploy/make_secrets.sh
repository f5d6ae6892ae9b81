#!/bin/sh
# make_secrets.sh: the files that docker-compose.yml mounts as secrets. It makes those that are missing, and never
# overwrites or empties one: run it as often as you like. `make_secrets.sh --help` has its options.
set -eu

usage() {
    cat <<'END'
usage: make_secrets.sh [--folder FOLDER] [--basic-auth] [--tls NAME]

Makes the secrets that are missing. What is there stays as it is.

  --folder FOLDER  where they are kept; by default `secrets` beside this script
  --basic-auth     a password for the server too, for M2N2_BASIC_AUTH_USER
  --tls NAME       a certificate for this name or address too, signed by itself
END
}

fail() {
    printf 'make_secrets.sh: %s\n' "$1" >&2
    exit 1
}

# random_hex BYTES. Of 0 to 9 and a to f alone: no program takes such a secret for anything else than what it is.
random_hex() {
    od -An -v -N "$1" -t x1 /dev/urandom | tr -d ' \n'
}

# Containers have users of their own, who read the files by their mode. The folder keeps everybody else out.
prepare_folder() {
    [ -d "$folder" ] || (umask 077 && mkdir -p "$folder") 2>/dev/null ||
        fail "$folder cannot be made: choose another --folder"
    open=$(find -L "$folder" -prune \( -perm -001 -o -perm -002 -o -perm -004 \))
    [ -z "$open" ] || chmod o-rwx "$folder" 2>/dev/null ||
        fail "others may enter $folder: have its owner run \`chmod o-rwx $folder\`"
}

open_to_containers() {
    [ -z "$(find -L "$1" ! -perm -444)" ] || chmod a+r "$1" 2>/dev/null ||
        fail "containers cannot read $1: have its owner run \`chmod a+r $1\`"
}

check_writable() {
    [ -w "$folder" ] ||
        fail "$folder cannot be written to, and $1 is missing there: run this as its owner, or choose another --folder"
}

# keep_or_make NAME BYTES: a random secret. BYTES 0: an empty file, which means that nothing is set.
keep_or_make() {
    file=$folder/$1
    if [ -s "$file" ] || { [ "$2" -eq 0 ] && [ -e "$file" ]; }; then
        printf 'kept %s\n' "$file"
    else
        check_writable "$1"
        # Under another name first: a file that is cut short, as by a full disk, would be kept ever after.
        secret=$(random_hex "$2")
        [ "${#secret}" -eq $(($2 * 2)) ] || fail "/dev/urandom gives nothing: $file cannot be made"
        { printf %s "$secret" >"$new" && mv "$new" "$file"; } 2>/dev/null ||
            fail "$file cannot be written: is the disk full?"
        printf 'made %s\n' "$file"
    fi
    open_to_containers "$file"
}

# make_certificate NAME
make_certificate() {
    certificate=$folder/tls.crt key=$folder/tls.key
    if [ ! -s "$certificate" ] && [ ! -s "$key" ]; then
        check_writable tls.crt
        command -v openssl >/dev/null || fail "a certificate takes openssl, which is not installed here"
        case $1 in
        *[!A-Za-z0-9.:*-]* | '') fail "--tls takes a host name or an address, not '$1'" ;;
        *:*) names=IP:$1 ;;
        *[!0-9.]*) names=DNS:$1 ;;
        *) names=IP:$1 ;;
        esac
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj "/CN=$1" \
            -addext "subjectAltName=$names" -keyout "$new.key" -out "$new" 2>/dev/null ||
            fail "openssl could not make a certificate for '$1'"
        mv "$new.key" "$key"
        mv "$new" "$certificate"
        printf 'made %s\nmade %s\n' "$certificate" "$key"
    elif [ -s "$certificate" ] && [ -s "$key" ]; then
        printf 'kept %s\nkept %s\n' "$certificate" "$key"
    else
        fail "of $certificate and $key one is missing: put both there, or take the other one away and run this again"
    fi
    open_to_containers "$certificate"
    open_to_containers "$key"
}

folder=$(dirname "$0")/secrets basic_auth_bytes=0 name=
while [ $# -gt 0 ]; do
    case $1 in
    --folder | --tls) [ $# -gt 1 ] || fail "$1 takes a value: see --help" ;;
    esac
    case $1 in
    --help) usage && exit ;;
    --folder) folder=$2 && shift ;;
    --basic-auth) basic_auth_bytes=24 ;;
    --tls) name=$2 && shift ;;
    *) fail "unknown option '$1': see --help" ;;
    esac
    shift
done

umask 022
prepare_folder
new=$folder/.new.$$
trap 'rm -f "$new" "$new.key"' EXIT
keep_or_make label_studio_password 12
# Label Studio signs its tokens with it. A key of its own making may begin with $, and is another one after a restart.
keep_or_make label_studio_secret_key 25
keep_or_make postgres_password 24
keep_or_make grafana_admin_password 12
# A token that Label Studio gives out: see docs/operate/containers.md.
keep_or_make label_studio_api_key 0
keep_or_make basic_auth_password "$basic_auth_bytes"
[ -z "$name" ] || make_certificate "$name"
