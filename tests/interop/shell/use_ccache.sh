#!/usr/bin/env bash
# ccache with the pool as its remote storage, over HTTP and over Redis's protocol: what one machine compiles, another one finds at another node.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset CCACHE_DISABLE CCACHE_CONFIGPATH
export CCACHE_COMPILERCHECK=content CCACHE_NOHASHDIR=1
cd "$folder"
{ seq 1 2000 | sed 's/.*/int f&(int n) { return n * & + (n >> 3); }/'; echo 'int main(void) { return f7(0); }'; } >program.c

# compile MACHINE STORAGE: with nothing in this machine's own cache.
compile() {
    CCACHE_DIR=$folder/$1 CCACHE_REMOTE_STORAGE=$2 ccache gcc -O0 -c program.c -o "$1.o"
    CCACHE_DIR=$folder/$1 ccache --print-stats
}

count() { awk -v name="$2" '$1 == name { print $2 }' <<<"$1"; }

for scheme in http redis; do
    path=
    [ "$scheme" = redis ] || path=/ccache
    first=$(compile "$scheme-first" "$scheme://$1$path")
    second=$(compile "$scheme-second" "$scheme://$2$path")
    cmp "$scheme-first.o" "$scheme-second.o"
    hits="$(count "$first" remote_storage_hit) $(count "$second" remote_storage_hit)"
    errors="$(count "$first" remote_storage_error) $(count "$second" remote_storage_error)"
    [ "$hits" = "0 1" ] && [ "$errors" = "0 0" ] || { echo "$scheme: $hits hits and $errors errors" >&2; exit 1; }
    # The other scheme is to compile it again.
    echo "int g_$scheme;" >>program.c
done
[ "$(curl -sS "http://$3/-/status" | grep -c '{')" -gt 0 ]
