#!/usr/bin/env bash
# backup.sh save|check|restore FOLDER [OPTION...]: what cannot be made anew, of the server and of Label Studio.
# docs/operate/backup.md is the operator's guide.
#
#   save FOLDER       makes the folder, with a backup in it; Label Studio may work meanwhile
#   check FOLDER      says whether the backup there is whole
#   restore FOLDER    puts it back, where nothing is yet; Label Studio must not run
#
#   --data PLACE      Label Studio's data: a volume, or a folder with a / in it. Default: the volume m2n2_label-studio
#   --settings PLACE  folder that holds .env, m2n2.env, label-studio.env and secrets, or some of them. Default: deploy
#   --database WHERE  data: SQLite among the data. service: the service `postgres` of docker-compose.yml, which restore
#                     starts. here: the PostgreSQL that PGHOST, PGUSER, PGPASSWORD and PGDATABASE name. Default: data
#   --replace         restore: delete what is there
#
# ENGINE: docker (default) or podman. LABEL_STUDIO_IMAGE: an image with Python, in which volumes are read and written.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
engine=${ENGINE:-docker}
image=${LABEL_STUDIO_IMAGE:-heartexlabs/label-studio:1.23.2}
data=m2n2_label-studio
settings=$(dirname "$here")
database=data
replace=
SETTINGS_FILES=(.env m2n2.env label-studio.env secrets)
POSTGRES_VOLUME=m2n2_postgres

stop() {
    echo "backup: $*" >&2
    exit 1
}

main() {
    [ $# -ge 2 ] || stop "say what: backup.sh save FOLDER, check FOLDER or restore FOLDER"
    local verb=$1 folder=$2
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
            --replace) replace=yes; shift; continue ;;
            --data | --settings | --database) [ $# -ge 2 ] || stop "$1 needs a value" ;;
            *) stop "$1 is no option: --data, --settings, --database, --replace" ;;
        esac
        declare -g "${1#--}=$2"
        shift 2
    done
    [[ $database =~ ^(data|service|here)$ ]] || stop "--database is data, service or here, not $database"
    case $verb in
        save) save "$folder" ;;
        check) check "$folder" ;;
        restore) restore "$folder" ;;
        *) stop "$verb is none of save, check, restore" ;;
    esac
}

save() {
    local target=$1 partial=$1.partial
    [ ! -e "$target" ] || stop "$target is there already: name a new folder"
    local found
    mapfile -t found < <(list_settings)
    [ ${#found[@]} -gt 0 ] || stop "$settings has none of ${SETTINGS_FILES[*]}: name their folder with --settings"
    is_there || stop "there is no $data: name Label Studio's volume or folder with --data"
    rm -rf "$partial"
    mkdir -p "$partial"
    # The database first: what is uploaded after it is too much, and nothing that it names is missing.
    if [ "$database" != data ]; then
        at_database pg_dump --format=custom --no-owner >"$partial/database.dump"
    fi
    on_data save >"$partial/label-studio.tar"
    if [ "$database" = data ] && ! tar --list --file "$partial/label-studio.tar" label_studio.sqlite3 >/dev/null 2>&1; then
        rm -rf "$partial"
        stop "$data has no label_studio.sqlite3: for PostgreSQL give --database service or --database here"
    fi
    tar --create --file "$partial/settings.tar" --directory "$settings" "${found[@]}"
    (cd "$partial" && sha256sum -- * >SHA256SUMS)
    mv "$partial" "$target"
    echo "backup: $target has $(du --summarize --human-readable "$target" | cut --fields=1), readable by you alone"
}

check() {
    [ -f "$1/SHA256SUMS" ] || stop "$1 is no backup: it has no SHA256SUMS"
    (cd "$1" && sha256sum --check --strict --quiet SHA256SUMS) || stop "$1 is damaged: nothing was changed"
}

# All that can be known beforehand is asked before anything is written.
restore() {
    local source=$1
    check "$source"
    if [ -f "$source/database.dump" ]; then
        [ "$database" != data ] || stop "$source has a PostgreSQL database: give --database service or --database here"
    else
        [ "$database" = data ] || stop "$source has no PostgreSQL database: leave --database out"
    fi
    is_idle || stop "a container uses $data: stop Label Studio first"
    make_data
    [ -n "$replace" ] || refuse_to_replace
    mkdir -p "$settings"
    tar --extract --preserve-permissions --file "$source/settings.tar" --directory "$settings"
    on_data restore <"$source/label-studio.tar"
    if [ "$database" != data ]; then
        empty_database
        at_database pg_restore --no-owner --single-transaction --exit-on-error <"$source/database.dump"
    fi
    echo "backup: $source is restored; start Label Studio now"
}

refuse_to_replace() {
    local present
    present=$(on_data count)
    [ "$present" = 0 ] || stop "$data has data: --replace deletes it"
    present=$(list_settings | tr '\n' ' ')
    [ -z "$present" ] || stop "$settings has ${present% } already: --replace puts the backup's in their place"
    case $database in
        here)
            present=$(at_database psql --tuples-only --no-align --command \
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
            [ "$present" = 0 ] || stop "the database $PGDATABASE has tables: --replace deletes them"
            ;;
        service)
            ! has_volume "$POSTGRES_VOLUME" || stop "the volume $POSTGRES_VOLUME is there: --replace deletes it"
            ;;
    esac
}

# The service's volume is made anew, with the password that has just been restored.
empty_database() {
    if [ "$database" = here ]; then
        at_database psql --quiet --set ON_ERROR_STOP=1 --command \
            "SET client_min_messages = warning; DROP SCHEMA public CASCADE; CREATE SCHEMA public" >/dev/null
        return
    fi
    compose rm --stop --force postgres
    if has_volume "$POSTGRES_VOLUME"; then "$engine" volume rm "$POSTGRES_VOLUME" >/dev/null; fi
    compose up --detach --wait postgres
}

# A PostgreSQL program, with the database that is meant as its default.
at_database() {
    if [ "$database" = here ]; then
        "$@" --dbname="${PGDATABASE:?names the database}"
        return
    fi
    # In its container everyone is let in who gives the name of the user and of the database.
    compose exec -T postgres \
        sh -c 'exec "$@" --username="$POSTGRES_USER" --dbname="$POSTGRES_DB"' sh "$@"
}

compose() { "$engine" compose --project-directory "$(dirname "$here")" "$@"; }

has_volume() { "$engine" volume inspect "$1" >/dev/null 2>&1; }

list_settings() {
    local name
    for name in "${SETTINGS_FILES[@]}"; do
        if [ -e "$settings/$name" ]; then echo "$name"; fi
    done
}

is_folder() { [[ $data == */* ]]; }

# data.py with this verb, for the data.
on_data() {
    if is_folder; then
        python3 "$here/data.py" "$1" "$data"
    else
        "$engine" run --rm --interactive --network none --user 0 --volume "$data:/data" --entrypoint python3 "$image" \
            -c "$(cat "$here/data.py")" "$1" /data
    fi
}

is_there() {
    if is_folder; then [ -d "$data" ]; else has_volume "$data"; fi
}

is_idle() {
    is_folder || [ -z "$("$engine" ps --quiet --filter "volume=$data")" ]
}

make_data() {
    if is_folder; then mkdir -p "$data"; else is_there || "$engine" volume create "$data" >/dev/null; fi
}

main "$@"
