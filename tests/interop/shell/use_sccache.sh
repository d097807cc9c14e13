#!/usr/bin/env bash
# use_sccache.sh SCCACHE NODE...: sccache with the pool as its storage, over Redis's protocol and over memcached's: what one machine compiles,
# another one finds at another node.
set -euo pipefail
sccache=$1
shift
folder=$(mktemp -d)
# Its server listens at a socket in the folder, so it is nobody else's, and ends by itself if it is forgotten.
trap '"$sccache" --stop-server >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
for each in $(compgen -e SCCACHE_); do
    unset "$each"
done
export SCCACHE_SERVER_UDS=$folder/socket SCCACHE_IDLE_TIMEOUT=60
cd "$folder"

# program NAME: a file of C that no other is like.
program() { seq 1 2000 | sed "s/.*/int $1_&(int n) { return n * & + (n >> 3); }/" >program.c; }

# compile MACHINE STORAGE: with a server and a home of this machine's own. Prints hits, misses, and errors of the storage.
compile() {
    mkdir "$1"
    export HOME=$folder/$1 "${2?}"
    "$sccache" gcc -O0 -c program.c -o "$1.o"
    "$sccache" --show-stats | awk '
        $1 " " $2 == "Cache hits" && NF == 3 { hits = $3 }
        $1 " " $2 == "Cache misses" && NF == 3 { misses = $3 }
        $3 == "errors" || $2 == "errors" { errors += $NF }
        END { print hits, misses, errors }'
    "$sccache" --stop-server >/dev/null
}

# same MACHINE STORAGE RESULT
same() {
    result=$(compile "$1" "$2")
    [ "$result" = "$3" ] || { echo "$1, $2: '$result' and not '$3'" >&2; exit 1; }
}

program first
same first "SCCACHE_REDIS_ENDPOINT=redis://$1" "0 1 0"
same second "SCCACHE_REDIS_ENDPOINT=redis://$2" "1 0 0"
# What was written over one protocol is found over the other.
same third "SCCACHE_MEMCACHED_ENDPOINT=tcp://$3" "1 0 0"
cmp first.o second.o
cmp first.o third.o
program second
same fourth "SCCACHE_MEMCACHED_ENDPOINT=tcp://$1" "0 1 0"
same fifth "SCCACHE_REDIS_ENDPOINT=redis://$2" "1 0 0"
cmp fourth.o fifth.o
