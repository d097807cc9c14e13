#!/usr/bin/env bash
# Gradle with the pool as its remote build cache, over HTTP: what one machine makes, another one finds at another node.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset GRADLE_OPTS
cd "$folder"
cat >settings.gradle <<'END'
buildCache {
    local { enabled = false }
    remote(HttpBuildCache) { url = "http://$node/cache/"; push = true }
}
END
# The bytes cannot be compressed, and are the same each time.
cat >build.gradle <<'END'
@CacheableTask
class Noise extends DefaultTask {
    @Input Long seed = Long.valueOf(project.property("seed"))
    @OutputFile File file = project.file("build/noise")

    @TaskAction
    void make() {
        byte[] bytes = new byte[700000]
        new Random(seed).nextBytes(bytes)
        file.bytes = bytes
    }
}
task noise(type: Noise)
END

# make MACHINE NODE SEED OPTION...: with nothing of what other machines have made. Prints what was done. Not with --offline, which is without
# remote caches; nothing here asks any other host.
make() {
    rm -rf build .gradle
    gradle --no-daemon --build-cache --console=plain -g "$folder/$1" -Pnode="$2" -Pseed="$3" "${@:4}" noise >log 2>&1 || { cat log >&2; return 1; }
    cp build/noise "$1.noise"
    # What the cache cannot do is a warning, and no failure.
    ! grep -i 'could not .* cache\|cache is now disabled' log >&2 || return
    grep '^:noise\|actionable' log | xargs
}

# same MACHINE NODE SEED RESULT OPTION...
same() {
    result=$(make "$1" "$2" "$3" "${@:5}")
    [ "$result" = "$4" ] || { echo "$1: '$result' and not '$4'" >&2; exit 1; }
}

same first "$1" 7 ":noise 1 actionable task: 1 executed"
same second "$2" 7 ":noise FROM-CACHE 1 actionable task: 1 from cache"
cmp first.noise second.noise
same third "$3" 8 ":noise 1 actionable task: 1 executed"
! cmp -s first.noise third.noise || exit
# What is there already is written again.
same fourth "$1" 7 ":noise 1 actionable task: 1 executed" --rerun-tasks
same fifth "$2" 7 ":noise FROM-CACHE 1 actionable task: 1 from cache"
cmp first.noise fifth.noise
