#!/bin/sh
# connect.sh FROM_IP FROM_PORT TO_IP TO_PORT: tells the node FROM that the node TO is a new peer. Prints OK.
. "$(dirname "$0")/talk.sh"

[ $# -eq 4 ] || usage "FROM_IP FROM_PORT TO_IP TO_PORT"
check_port "$2"
check_port "$4"

line=$(ask "$1" "$2" "connect $(address "$3" "$4")") || exit
expect OK "$line"
