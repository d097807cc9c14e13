# How the scripts beside this one talk to a node: its text protocol over nc, or over bash's /dev/tcp where there is no nc.
#
# Not run by itself: sourced, after `script`'s arguments are known. A conversation is sent whole and ends with `quit`, so that the node
# closes it; that spares the options for half-closing, which every nc spells differently.
# TALK_TIMEOUT is the most seconds a node may take, 5 if unset.

LC_ALL=C # lengths are bytes
export LC_ALL
TALK_TIMEOUT=${TALK_TIMEOUT:-5}
CR=$(printf '\r')

# usage ARGUMENTS: says how the script is called, and ends it.
usage() {
    echo "usage: ${0##*/} $1" >&2
    exit 2
}

# fail REASON: ends the script.
fail() {
    echo "${0##*/}: $1" >&2
    exit 1
}

# check_port PORT and check_key KEY end the script if it cannot be one. A key with a blank in it would be read as more arguments, and one
# with a line break as another command.
check_port() {
    case $1 in
    '' | *[!0-9]* | ??????*) bad_port "$1" ;;
    esac
    { [ "$1" -ge 1 ] && [ "$1" -le 65535 ]; } || bad_port "$1"
}

bad_port() {
    echo "${0##*/}: $1 is no port: 1 to 65535" >&2
    exit 2
}

check_key() {
    case $1 in
    '' | *[[:space:][:cntrl:]]*) bad_key ;;
    esac
    [ "${#1}" -le 250 ] || bad_key
}

bad_key() {
    echo "${0##*/}: a key is 1 to 250 bytes without blanks and control characters" >&2
    exit 2
}

# address IP PORT: as the node wants to read it.
address() {
    case $1 in
    *:*) echo "[$1]:$2" ;;
    *) echo "$1:$2" ;;
    esac
}

# talk IP PORT: sends standard input to the node and prints what it answers. Fails only if it cannot be tried: what came back tells.
talk() {
    if command -v nc >/dev/null 2>&1; then
        bounded nc -w "$TALK_TIMEOUT" "$1" "$2" 2>/dev/null
    elif command -v bash >/dev/null 2>&1; then
        bounded bash -c 'exec 3<>"/dev/tcp/$1/$2" && cat >&3 && cat <&3' talk "$1" "$2" 2>/dev/null
    else
        fail "needs nc or bash"
    fi
}

# Some nc bound the connecting alone by -w: where there is `timeout`, it bounds the whole.
bounded() {
    if command -v timeout >/dev/null 2>&1; then
        timeout "$TALK_TIMEOUT" "$@"
    else
        "$@"
    fi
}

# ask IP PORT COMMAND: prints the first line of the answer to a command of one line. Ends the script if there is none.
ask() {
    answer_of "$1" "$2" "$(printf '%s\r\nquit\r\n' "$3" | talk "$1" "$2")"
}

# answer_of IP PORT ANSWER: its first line, without the carriage return.
answer_of() {
    line=${3%%"$CR"*}
    [ -n "$line" ] || fail "no answer from $(address "$1" "$2")"
    printf '%s\n' "$line"
}

# expect WORD LINE: prints the node's word if it is this one; else says on standard error what it was, and ends the script.
expect() {
    [ "$2" = "$1" ] || fail "$2"
    printf '%s\n' "$2"
}
