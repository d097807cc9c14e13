#!/bin/sh
# mirror_cost.sh [SECONDS]: what a mirror costs in CPU and in time, pools of two nodes with `mirrors = 0` and with 1, in turns in one run.
#
# All four nodes run on the first processor and the generator (`spydercache bench`, 50 connections to one node of the pool, so that half of
# the requests take a hop) on the second; each measurement is taken from both pools before the next, ROUNDS times (5 if unset). Shown are, in microseconds, the median of
# the CPU of both nodes together an operation, and the lowest 50th and 99th percentiles of the latency: what else runs on the machine only
# adds to those. Needs taskset.
root=$(cd "$(dirname "$0")/.." && pwd) || exit

SECONDS_EACH=${1:-3}
ROUNDS=${ROUNDS:-5}
KEYS=${KEYS:-1000000}
DEPTHS=${DEPTHS:-1 16}
SPYDERCACHE=${SPYDERCACHE:-${CARGO_TARGET_DIR:-$root/target}/release/spydercache}
PORT=${BASE_PORT:-9401}

case $SECONDS_EACH in
'' | *[!0-9]* | 0) echo "usage: mirror_cost.sh [SECONDS]" >&2; exit 2 ;;
esac
for program in taskset "$SPYDERCACHE"; do
    command -v "$program" >/dev/null || { echo "mirror_cost.sh: $program is not there" >&2; exit 1; }
done

work=$(mktemp -d) || exit
trap 'kill -9 $nodes_0 $nodes_1 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT INT TERM

# node PORT OTHER MIRRORS: starts a node; its process id is in $!.
node() {
    taskset -c 0 "$SPYDERCACHE" --port "$1" --data-dir "$work/$1" --set journal.enabled=false --set local.max_memory=4GiB \
        --set local.cache_size=0 --set log.level=warn --set "local.node_id=$1" --set "network.peers=127.0.0.1:$2" \
        --set "network.mirrors=$3" >"$work/ready.$1" 2>"$work/log.$1" &
}
node "$PORT" $((PORT + 1)) 0; nodes_0=$!
node $((PORT + 1)) "$PORT" 0; nodes_0="$nodes_0 $!"
node $((PORT + 2)) $((PORT + 3)) 1; nodes_1=$!
node $((PORT + 3)) $((PORT + 2)) 1; nodes_1="$nodes_1 $!"

bench() { taskset -c 1 "$SPYDERCACHE" bench --quiet --json --connections 50 --keys "$KEYS" "$@"; }

# ticks PID...: their CPU time so far, user and system, in clock ticks. The name in parentheses holds no blank here.
ticks() { for pid; do cat "/proc/$pid/stat"; done | awk '{ sum += $14 + $15 } END { print sum }'; }

# figure NAME: the first number of this name in bench's report.
figure() { sed -n "s/.*\"operations\".*\"$1\":\([0-9.]*\).*/\1/p" "$work/report"; }

# measure POOL DEPTH MIX: notes CPU an operation, and two percentiles.
measure() {
    pids=$nodes_0; [ "$1" = 1 ] && pids=$nodes_1
    before=$(ticks $pids)
    bench --seconds "$SECONDS_EACH" --depth "$2" --mix "$3" "127.0.0.1:$((PORT + 2 * $1))" >"$work/report" || exit
    after=$(ticks $pids)
    awk -v t=$((after - before)) -v n="$(sed -n 's/.*"operations":\([0-9]*\).*/\1/p' "$work/report")" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.3f\n", t / hz * 1e6 / n }' >>"$work/cpu.$1.$2.$3"
    figure p50 >>"$work/p50.$1.$2.$3"
    figure p99 >>"$work/p99.$1.$2.$3"
}

# shown FIGURE FILE: the median of a file's numbers, or the lowest of latencies.
shown() { sort -n "$2" | awk -v what="$1" '{ v[NR] = $1 } END { print v[what == "cpu" ? int((NR + 1) / 2) : 1] }'; }

sleep 3 # until the mirrored pool has agreed on its view
for pool in 0 1; do
    bench --load --requests 1 --depth 64 "127.0.0.1:$((PORT + 2 * pool))" >/dev/null || { echo "mirror_cost.sh: no answer" >&2; exit 1; }
done

printf '%-22s %12s %12s %8s\n' 'microseconds' without 'one mirror' ratio
for mix in 0:100 100:0; do
    for depth in $DEPTHS; do
        for round in $(seq "$ROUNDS"); do
            measure 0 "$depth" "$mix"
            measure 1 "$depth" "$mix"
        done
        for what in cpu p50 p99; do
            awk -v n="$([ $mix = 0:100 ] && echo set || echo get), depth $depth, $what" -v a="$(shown $what "$work/$what.0.$depth.$mix")" \
                -v b="$(shown $what "$work/$what.1.$depth.$mix")" 'BEGIN { printf "%-22s %12.2f %12.2f %8.2f\n", n, a, b, a ? b / a : 0 }'
        done
    done
done
