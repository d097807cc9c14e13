#!/bin/sh
# monitor.sh [-i SECONDS] [ADDR|FILE...]: says of each node whether it is alive or dead; exits with 1 if one is dead. With -i it looks
# again every so many seconds, for ever. FILE is a node's configuration or a list of addresses, one a line; without any argument
# it is conf/node1.toml. `spydercache monitor` shows more, and needs the program; this needs only a shell.
here=$(dirname "$0")
. "$here/talk.sh"

# addresses_in FILE: those of a list; or, of a configuration, its own and its peers'.
addresses_in() {
    [ -r "$1" ] || fail "$1: neither an address nor a file that can be read"
    awk '
        { sub(/#.*/, "") }
        /^[ \t]*node_address[ \t]*=/ { ip = $0; gsub(/.*=|[" \t]/, "", ip) }
        /^[ \t]*node_port[ \t]*=/ { port = $0; gsub(/[^0-9]/, "", port) }
        /^[ \t]*peers[ \t]*=/ { listing = 1 }
        listing || /^[ \t]*[^ \t="]+:[0-9]+[ \t]*$/ {
            rest = $0
            while (match(rest, /[^][", \t=]+:[0-9]+/)) {
                others = others substr(rest, RSTART, RLENGTH) "\n"
                rest = substr(rest, RSTART + RLENGTH)
            }
        }
        listing && (/\]/ || /peers[ \t]*=[ \t]*"/) { listing = 0 }
        END {
            if (port != "") print (ip == "" ? "127.0.0.1" : ip) ":" port
            printf "%s", others
        }' "$1"
}

# look: a line for each node; fails if one is dead.
look() {
    dead=0
    for node in $nodes; do
        ip=${node%:*}
        ip=${ip#[}
        answer=$(printf 'stats\r\nquit\r\n' | talk "${ip%]}" "${node##*:}" | tr -d '\r')
        case $answer in
        *END) echo "$node alive $(echo "$answer" | awk '
            { name = $2; sub(/^STAT [^ ]* /, ""); stat[name] = $0 }
            END { printf "node %s, sees %s of %s nodes, %s items", stat["node_id"], stat["nodes_up"], stat["nodes"], stat["curr_items"] }')" ;;
        *)
            echo "$node dead"
            dead=1
            ;;
        esac
    done
    return $dead
}

interval=
if [ "${1-}" = -i ]; then
    case ${2-} in
    '' | *[!0-9]*) usage "[-i SECONDS] [ADDR|FILE...]" ;;
    esac
    interval=$2
    shift 2
fi
case ${1-} in
-*) usage "[-i SECONDS] [ADDR|FILE...]" ;;
esac
[ $# -gt 0 ] || set -- "$here/../conf/node1.toml"

nodes=
for argument in "$@"; do
    case ${argument##*:} in
    "$argument" | '' | *[!0-9]*) found=$(addresses_in "$argument") || exit ;;
    *) found=$argument ;;
    esac
    nodes="$nodes $found"
done
[ -n "$(echo $nodes)" ] || fail "no addresses in $*"

[ -n "$interval" ] || { look; exit; }
while :; do
    look
    sleep "$interval"
done
