#!/usr/bin/env bash
# memcapable, libmemcached's test of a server: each command of the text and of the binary protocol, at each node. Debian calls it memccapable.
set -euo pipefail
program=$(command -v memccapable || command -v memcapable)
for node; do
    for protocol in -a -b; do
        "$program" -h "${node%:*}" -p "${node#*:}" "$protocol" 2>&1 | tee /dev/stderr | grep -q 'All tests passed'
    done
done
