#!/bin/sh
# delete.sh KEY IP PORT: removes a key through the node at IP:PORT. Prints DELETED; if there is no such key, NOT_FOUND and exits with 1.
. "$(dirname "$0")/talk.sh"

[ $# -eq 3 ] || usage "KEY IP PORT"
check_key "$1"
check_port "$3"

line=$(ask "$2" "$3" "delete $1") || exit
[ "$line" != NOT_FOUND ] || {
    echo "$line"
    exit 1
}
expect DELETED "$line"
