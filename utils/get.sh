#!/bin/sh
# get.sh KEY IP PORT: prints the key's value, byte for byte, through the node at IP:PORT. A miss prints --null-- and exits with 1.
. "$(dirname "$0")/talk.sh"

[ $# -eq 3 ] || usage "KEY IP PORT"
check_key "$1"
check_port "$3"

# The shell cannot hold zero bytes nor the line breaks at an end: the answer goes by way of a file.
answer=$(mktemp) || fail "no room for a temporary file"
trap 'rm -f "$answer"' EXIT
trap 'exit 1' HUP INT TERM
printf 'get %s\r\nquit\r\n' "$1" | talk "$2" "$3" >"$answer"

line=$(head -n 1 "$answer") || exit
line=$(answer_of "$2" "$3" "$line") || exit
case $line in
"VALUE $1 "*) ;;
END)
    echo "--null--"
    exit 1
    ;;
*) fail "$line" ;;
esac

# VALUE KEY FLAGS BYTES, the bytes, an end of line, and END with its own.
length=${line##* }
begin=$((${#line} + 3))
[ "$(wc -c <"$answer")" -eq $((begin - 1 + length + 7)) ] || fail "the answer was cut short"
tail -c "+$begin" "$answer" | head -c "$length"
[ ! -t 1 ] || echo
