#!/bin/sh
# reconstruct.sh IP PORT: lets the node at IP:PORT read its journal again. Prints OK.
. "$(dirname "$0")/talk.sh"

[ $# -eq 2 ] || usage "IP PORT"
check_port "$2"

line=$(ask "$1" "$2" reconstruct) || exit
expect OK "$line"
