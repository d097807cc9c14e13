#!/bin/sh
# compare.sh [SECONDS]: CPU an operation, this server against memcached with one thread, in turns in one run.
#
# Both servers run on the first processor and the generator (`spydercache bench`) on the second; each measurement is taken from both before
# the next, ROUNDS times (3 if unset), and the medians are shown with their ratio. Needs taskset and a memcached (MEMCACHED, or the one
# on the path); its version matters much: before 1.6.19 or so it wrote each pipelined answer by itself.
root=$(cd "$(dirname "$0")/.." && pwd) || exit

SECONDS_EACH=${1:-3}
ROUNDS=${ROUNDS:-3}
KEYS=${KEYS:-1000000}
DEPTHS=${DEPTHS:-1 16 64}
SPYDERCACHE=${SPYDERCACHE:-${CARGO_TARGET_DIR:-$root/target}/release/spydercache}
MEMCACHED=${MEMCACHED:-memcached}
OURS=${BASE_PORT:-9301}
THEIRS=$((OURS + 1))

case $SECONDS_EACH in
'' | *[!0-9]* | 0) echo "usage: compare.sh [SECONDS]" >&2; exit 2 ;;
esac
for program in taskset "$MEMCACHED" "$SPYDERCACHE"; do
    command -v "$program" >/dev/null || { echo "compare.sh: $program is not there" >&2; exit 1; }
done

work=$(mktemp -d) || exit
trap 'kill $ours $theirs 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT INT TERM

taskset -c 0 "$SPYDERCACHE" --port "$OURS" --data-dir "$work/data" --set journal.enabled=false --set local.max_memory=4GiB \
    --set local.cache_size=0 --set log.level=warn >"$work/ready" 2>"$work/log" &
ours=$!
taskset -c 0 "$MEMCACHED" -u "$(id -un)" -l 127.0.0.1 -p "$THEIRS" -t 1 -m 4096 >/dev/null 2>&1 &
theirs=$!

bench() { taskset -c 1 "$SPYDERCACHE" bench --quiet --json --connections 50 --keys "$KEYS" "$@"; }

# ticks PID: its CPU time so far, user and system, in clock ticks. The name in parentheses holds no blank here.
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# measure PID PORT DEPTH MIX: microseconds of CPU an operation.
measure() {
    before=$(ticks "$1")
    done=$(bench --seconds "$SECONDS_EACH" --depth "$3" --mix "$4" "127.0.0.1:$2" | sed -n 's/.*"operations":\([0-9]*\).*/\1/p')
    after=$(ticks "$1")
    awk -v t=$((after - before)) -v n="${done:-0}" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.3f\n", n ? t / hz * 1e6 / n : 0 }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for port in "$OURS" "$THEIRS"; do
    bench --load --requests 1 --depth 64 "127.0.0.1:$port" >/dev/null || { echo "compare.sh: port $port does not answer" >&2; exit 1; }
done

printf '%-18s %12s %12s %8s\n' "us an operation" spydercache memcached ratio
for mix in 100:0 0:100; do
    for depth in $DEPTHS; do
        for round in $(seq "$ROUNDS"); do
            measure $ours "$OURS" "$depth" "$mix" >>"$work/ours.$mix.$depth"
            measure $theirs "$THEIRS" "$depth" "$mix" >>"$work/theirs.$mix.$depth"
        done
        a=$(median <"$work/ours.$mix.$depth") b=$(median <"$work/theirs.$mix.$depth")
        awk -v m="$mix" -v d="$depth" -v a="$a" -v b="$b" \
            'BEGIN { printf "%-18s %12.2f %12.2f %8.2f\n", (m == "100:0" ? "get" : "set") ", depth " d, a, b, b ? a / b : 0 }'
    done
done
awk '/VmRSS/ { printf "resident: %.0f MiB ", $2 / 1024 }' "/proc/$ours/status" "/proc/$theirs/status"
echo "(this server, memcached)"
