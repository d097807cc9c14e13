#!/bin/sh
# put.sh KEY VALUE IP PORT: stores a value, any text, through the node at IP:PORT. Prints STORED.
. "$(dirname "$0")/talk.sh"

[ $# -eq 4 ] || usage "KEY VALUE IP PORT"
check_key "$1"
check_port "$4"

length=$(printf '%s' "$2" | wc -c)
answer=$(printf 'set %s 0 0 %d\r\n%s\r\nquit\r\n' "$1" "$length" "$2" 2>/dev/null | talk "$3" "$4")
line=$(answer_of "$3" "$4" "$answer") || exit
expect STORED "$line"
