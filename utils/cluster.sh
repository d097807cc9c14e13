#!/bin/sh
# cluster.sh start|stop|status|kill N|revive N|clean: the sample pool, three nodes on this machine (conf/node1..3.toml).
#
# What a node leaves (journal, log, pid) lies in CLUSTER_DIR, .cluster if unset. A pid file is believed only if that process is a
# spydercache with that node's configuration and data folder: nothing else is ever taken for a node, or ended. BASE_PORT, 8001 if
# unset, moves the pool to other ports; SPYDERCACHE is the program, target/release/spydercache if unset. CLUSTER_SET is options that all
# nodes are started with, NAME=VALUE and blanks between them.
root=$(cd "$(dirname "$0")/.." && pwd) || exit
. "$root/utils/talk.sh"

NODES="1 2 3"
START_SECONDS=30
STOP_SECONDS=10
TALK_TIMEOUT=2
BASE_PORT=${BASE_PORT:-8001}
SPYDERCACHE=${SPYDERCACHE:-${CARGO_TARGET_DIR:-$root/target}/release/spydercache}
CLUSTER_DIR=${CLUSTER_DIR:-.cluster}
case $CLUSTER_DIR in
/*) ;;
*) CLUSTER_DIR=$root/$CLUSTER_DIR ;;
esac

port() { echo $((BASE_PORT + $1 - 1)); }
conf() { echo "$root/conf/node$1.toml"; }
data() { echo "$CLUSTER_DIR/data/$1"; }
log() { echo "$CLUSTER_DIR/node$1.log"; }
pid_file() { echo "$CLUSTER_DIR/node$1.pid"; }

# pid N: prints the process of node N. Fails if it does not run, or the file names some other process by now.
pid() {
    number=$(cat "$(pid_file "$1")" 2>/dev/null) || return
    case $number in
    '' | *[!0-9]*) return 1 ;;
    esac
    case $(command_of "$number") in
    *spydercache*" $(conf "$1") --data-dir $(data "$1")"*) echo "$number" ;;
    *) return 1 ;;
    esac
}

# command_of PID: the arguments of a process, with blanks between them; nothing if it has ended, even if nobody has reaped it yet.
command_of() {
    if [ -r "/proc/$1/cmdline" ]; then
        tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null
    else
        ps -ww -o args= -p "$1" 2>/dev/null
    fi
}

# stat_of N NAME: one of the node's counters; nothing if it does not answer.
stat_of() {
    printf 'stats\r\nquit\r\n' | talk 127.0.0.1 "$(port "$1")" | tr -d '\r' | awk -v name="$2" '$1 == "STAT" && $2 == name { print $3 }'
}

launch() {
    pid "$1" >/dev/null && return
    [ -x "$SPYDERCACHE" ] || fail "$SPYDERCACHE is not there: make build"
    mkdir -p "$(data "$1")" || exit
    n=$1
    set --
    if [ "$BASE_PORT" -ne 8001 ]; then
        peers=
        for peer in $NODES; do
            peers="$peers${peers:+,}127.0.0.1:$(port "$peer")"
        done
        set -- --port "$(port "$n")" --set "network.peers=$peers"
    fi
    for option in ${CLUSTER_SET-}; do
        set -- "$@" --set "$option"
    done
    cd "$root" || exit
    nohup "$SPYDERCACHE" "$(conf "$n")" --data-dir "$(data "$n")" "$@" >>"$(log "$n")" 2>&1 </dev/null &
    echo $! >"$(pid_file "$n")"
}

# running: the nodes that run, a line.
running() {
    for each in $NODES; do
        ! pid "$each" >/dev/null || printf '%s ' "$each"
    done
}

# wait_whole N...: until each of these nodes sees them all, and no other.
wait_whole() {
    deadline=$(($(date +%s) + START_SECONDS))
    while :; do
        behind=
        for n in "$@"; do
            pid "$n" >/dev/null || tell_log "$n" "ended by itself"
            [ "$(stat_of "$n" nodes_up)" = $# ] || behind=$n
        done
        [ -n "$behind" ] || return 0
        [ "$(date +%s)" -lt "$deadline" ] || tell_log "$behind" "does not see $# nodes after $START_SECONDS seconds"
        sleep 0.2 2>/dev/null || sleep 1
    done
}

# tell_log N WHAT: ends the script with the reason and where to read on.
tell_log() {
    echo "${0##*/}: node $1 $2; its log, $(log "$1"), ends with" >&2
    tail -n 5 "$(log "$1")" | sed 's/^/    /' >&2
    exit 1
}

# await_end N PID SECONDS: fails if the process is still there then.
await_end() {
    deadline=$(($(date +%s) + $3))
    while [ "$(pid "$1")" = "$2" ]; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        sleep 0.1 2>/dev/null || sleep 1
    done
}

# end N SIGNAL: sends it to the node, and waits until the process is gone, if need be by SIGKILL.
end() {
    if process=$(pid "$1"); then
        kill "-$2" "$process" 2>/dev/null
        if ! await_end "$1" "$process" "$STOP_SECONDS"; then
            echo "node $1 does not end after $STOP_SECONDS seconds: killed" >&2
            kill -KILL "$process" 2>/dev/null
            await_end "$1" "$process" "$STOP_SECONDS" || fail "node $1, process $process, cannot be ended"
        fi
        echo "node $1 ended (process $process)"
    fi
    rm -f "$(pid_file "$1")"
}

start() {
    for n in $NODES; do
        launch "$n"
    done
    wait_whole $NODES
    a="127.0.0.1 $(port 1)"
    b="127.0.0.1 $(port 2)"
    c="127.0.0.1 $(port 3)"
    cat <<END
The pool is whole: three nodes on ports $(port 1), $(port 2) and $(port 3). Any of them answers for any key:
    utils/put.sh greeting 'hello world' $a
    utils/get.sh greeting $b
    printf 'get greeting\r\nowner greeting\r\nring\r\nquit\r\n' | nc $c
    curl -X PUT http://127.0.0.1:$(port 1)/city/Paris; curl http://127.0.0.1:$(port 3)/city
Then: make status, make kill-node N=1, make revive N=1, make stop
END
}

stop() {
    for n in $NODES; do
        end "$n" TERM
    done
}

status() {
    down=0
    for n in $NODES; do
        if ! process=$(pid "$n"); then
            echo "node $n  127.0.0.1:$(port "$n")  not running"
            down=1
            continue
        fi
        sees=$(stat_of "$n" nodes_up)
        does="does not answer"
        [ -z "$sees" ] || does="sees $sees of 3 nodes, holds $(stat_of "$n" curr_items) items"
        echo "node $n  127.0.0.1:$(port "$n")  process $process  $does"
        [ "$sees" = 3 ] || down=1
    done
    return $down
}

revive() {
    launch "$1"
    wait_whole $(running)
    echo "node $1 runs (process $(pid "$1")); the nodes that run see each other: $(running)"
}

clean() {
    stop
    [ ! -d "$CLUSTER_DIR" ] || for n in $NODES; do
        rm -rf "$(data "$n")" "$(log "$n")"
    done
    rmdir "$CLUSTER_DIR/data" "$CLUSTER_DIR" 2>/dev/null || :
}

how="start|stop|status|kill N|revive N|clean"
case "$#:${1-}:${2-}" in
1:start: | 1:stop: | 1:status: | 1:clean:) "$1" ;;
2:kill:[123])
    pid "$2" >/dev/null || fail "node $2 does not run"
    end "$2" KILL
    ;;
2:revive:[123]) revive "$2" ;;
*) usage "$how" ;;
esac
