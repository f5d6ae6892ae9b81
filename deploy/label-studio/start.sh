#!/bin/sh
# start.sh COMMAND...: Label Studio with its secrets out of files, which it cannot read by itself, and behind TLS where its
# address says so. Of `sh` alone, for it runs in an image of others.
set -eu

fail() {
    printf 'label-studio/start.sh: %s\n' "$1" >&2
    exit 1
}

# read_secret NAME: export NAME with what the file NAME_FILE holds, unless NAME is given or there is no NAME_FILE.
read_secret() {
    eval "given=\${$1:-} file=\${$1_FILE:-}"
    if [ -n "$given" ] || [ -z "$file" ]; then
        return
    fi
    [ -r "$file" ] || fail "$file cannot be read: run deploy/make_secrets.sh, which makes it and lets containers read it"
    secret=$(cat "$file")
    [ -n "$secret" ] || fail "$file is empty: run deploy/make_secrets.sh"
    export "$1=$secret"
}

read_secret LABEL_STUDIO_PASSWORD
read_secret POSTGRE_PASSWORD
read_secret SECRET_KEY
case ${SECRET_KEY:-} in
\$*) fail "SECRET_KEY begins with \$, which Label Studio takes for the name of a variable: take another key" ;;
esac

# Behind a proxy with TLS it sees plain HTTP: it must be told that cookies are for HTTPS, and where forms come from.
case ${LABEL_STUDIO_HOST:-} in
https://*)
    origin=${LABEL_STUDIO_HOST#https://}
    export CSRF_TRUSTED_ORIGINS="${CSRF_TRUSTED_ORIGINS:-https://${origin%%/*}}"
    # A number, for it reads this as one too.
    export SESSION_COOKIE_SECURE="${SESSION_COOKIE_SECURE:-1}"
    ;;
esac

# The image's own entry point, where this runs in the image.
image=/label-studio/deploy
if [ -x "$image/docker-entrypoint.sh" ]; then
    exec "$image/docker-entrypoint.sh" "$@"
fi
exec "$@"
