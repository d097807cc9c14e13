#!/usr/bin/env bash
# Bazel with the pool as its remote cache, over HTTP: what one machine builds, another one finds at another node.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HOME=$folder
mkdir "$folder/workspace"
cd "$folder/workspace"
touch WORKSPACE
# The numbers are some 800,000 bytes.
cat >BUILD <<'END'
genrule(name = "words", outs = ["words.txt"], cmd = "seq 1 1000 | sed 's/^/word /' > $@")
genrule(name = "numbers", srcs = ["words.txt", "more.txt"], outs = ["numbers.txt"], cmd = "cat $(SRCS) > $@; seq 1 130000 >> $@")
END
echo first >more.txt

# build MACHINE NODE OPTION...: with nothing of what other machines have built, and no server that stays. Prints what was done.
build() {
    machine=$1 node=$2
    shift 2
    bazel --batch --output_user_root="$folder/$machine" build --remote_cache="http://$node" --spawn_strategy=local \
        --symlink_prefix=/ --color=no --curses=no "$@" //:numbers >"$folder/log" 2>&1 || { cat "$folder/log" >&2; return 1; }
    # What the cache cannot do is a warning, and no failure.
    ! grep -A 9 '^WARNING: .*Remote Cache' "$folder/log" >&2 || return
    cp "$folder/$machine"/*/execroot/__main__/bazel-out/*/bin/numbers.txt "$folder/$machine.txt"
    sed -n 's/^INFO: [0-9]* process[es]*: \(.*\)\.$/\1/p' "$folder/log"
}

# same MACHINE NODE RESULT OPTION...
same() {
    result=$(build "$1" "$2" "${@:4}")
    [ "$result" = "$3" ] || { echo "$1: '$result' and not '$3'" >&2; exit 1; }
}

same first "$1" "1 internal, 2 local"
same second "$2" "2 remote cache hit, 1 internal"
cmp "$folder/first.txt" "$folder/second.txt"
echo second >more.txt
same third "$3" "1 remote cache hit, 1 internal, 1 local"
! cmp -s "$folder/first.txt" "$folder/third.txt" || exit
# What is there already is written again.
same fourth "$1" "1 internal, 2 local" --noremote_accept_cached
same fifth "$2" "2 remote cache hit, 1 internal"
cmp "$folder/third.txt" "$folder/fifth.txt"
