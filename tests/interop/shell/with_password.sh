#!/usr/bin/env bash
# with_password.sh PROGRAM...: runs a client program against a node of its own, which wants a password: it is given the node's address. The
# password is in PASSWORD, and has a blank in it.
set -euo pipefail
export PASSWORD='correct horse'
folder=$(mktemp -d)
node=
trap '[ -z "$node" ] || kill "$node" 2>/dev/null; rm -rf "$folder"' EXIT
: >"$folder/ready"
"$SPYDERCACHE" --data-dir "$folder/data" --port 0 --set "security.password=$PASSWORD" >"$folder/ready" 2>"$folder/log" &
node=$!
for _ in $(seq 200); do
    address=$(awk '$1 == "ready" { print $2 }' "$folder/ready")
    [ -z "$address" ] || break
    sleep 0.05
done
[ -n "$address" ] || { cat "$folder/log" >&2; exit 1; }
"$@" "$address"
