#!/usr/bin/env bash
# redis-cli in both of Redis's protocols and with its walks over all keys, and redis-benchmark.
set -euo pipefail
nodes=("$@")
turn=0
same() { [ "$1" = "$2" ] || { echo "$3: '$1' and not '$2'" >&2; exit 1; }; }
cli() {
    node=${nodes[$((turn % 3))]}
    redis-cli -h "${node%:*}" -p "${node#*:}" "$@"
}

for protocol in -2 -3; do
    same "$(cli "$protocol" set greeting 'hello world' ex 600)" OK set
    turn=$((turn + 1))
    same "$(cli "$protocol" get greeting)" "hello world" "get at the next node"
    same "$(cli "$protocol" getdel greeting) $(cli "$protocol" exists greeting)" "hello world 0" getdel
    same "$(cli "$protocol" lpush list x | head -c 23)" "ERR unknown command 'lp" "a list"
done
same "$(seq 200 | sed 's/.*/set many:& &/' | cli | sort -u)" OK "200 commands on standard input"
same "$(cli --scan --pattern 'many:1??' | sort | head -n 1)" many:100 "--scan"
cli --bigkeys | grep -q '200 strings'
cli --memkeys | grep -q '200 strings'
same "$(cli info server | tr -d '\r' | grep redis_mode)" redis_mode:standalone info
printf '*3\r\n$3\r\nSET\r\n$4\r\nmass\r\n$1\r\n1\r\n' | cli --pipe | grep -q 'errors: 0, replies: 1'
for node in "${nodes[@]}"; do
    redis-benchmark -h "${node%:*}" -p "${node#*:}" -q -n 1000 -c 10 -P 4 -r 100 -t ping,set,get,incr,mset
done
cli flushall
same "$(cli dbsize)" 0 "after flushall"
