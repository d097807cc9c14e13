#!/bin/sh
# fake_death.sh FROM_IP FROM_PORT TO_IP TO_PORT: tells the node FROM that its peer TO is dead; the pool believes it until `connect.sh`
# names TO again or TO restarts. Prints OK.
. "$(dirname "$0")/talk.sh"

[ $# -eq 4 ] || usage "FROM_IP FROM_PORT TO_IP TO_PORT"
check_port "$2"
check_port "$4"

line=$(ask "$1" "$2" "dead $(address "$3" "$4")") || exit
expect OK "$line"
