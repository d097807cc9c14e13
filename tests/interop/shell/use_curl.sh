#!/usr/bin/env bash
# curl: keys as paths, conditions by version, times to live, large bodies with and without their length.
set -euo pipefail
a=http://$1 b=http://$2 c=http://$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ask() { curl -sS --max-time 20 -o "$folder/body" -w '%{http_code}' "$@"; }
same() { [ "$1" = "$2" ] || { echo "$3: '$1' and not '$2'" >&2; exit 1; }; }

same "$(ask -X PUT --data-binary hello -H 'Content-Type: text/plain' "$a/greeting")" 201 "a first PUT"
same "$(ask "$b/greeting") $(cat "$folder/body")" "200 hello" "GET at the next node"
same "$(curl -sS -o /dev/null -w '%{content_type}' "$c/greeting")" text/plain "the content type"
same "$(ask -I "$c/greeting")" 200 HEAD
same "$(ask -X PUT --data-binary again "$b/greeting") $(cat "$folder/body")" "200 hello" "a second PUT answers what was there"
same "$(ask "$a/none") $(cat "$folder/body")" "404 --null--" "GET of what is not there"
same "$(ask -X PUT "$a/short/form") $(ask "$b/short") $(cat "$folder/body")" "201 200 form" "the form without a body"

version=$(curl -sS -D - -o /dev/null "$a/greeting" | tr -d '\r' | awk 'tolower($1) == "etag:" { print $2 }')
same "$(ask -H "If-None-Match: $version" "$b/greeting")" 304 "GET of what one has"
same "$(ask -X PUT -H "If-Match: $version" --data-binary new "$c/greeting")" 200 "PUT over the version one has read"
same "$(ask -X PUT -H "If-Match: $version" --data-binary newer "$a/greeting")" 412 "PUT over a version that is gone"
same "$(ask -X PUT -H 'If-None-Match: *' --data-binary newer "$a/greeting")" 412 "PUT only if there is none"

head -c 900000 /dev/urandom >"$folder/large"
same "$(ask -T "$folder/large" "$a/large")" 201 "an upload with its length"
same "$(ask -T - "$b/chunked" <"$folder/large")" 201 "an upload in chunks"
same "$(ask -H 'Expect: 100-continue' --data-binary "@$folder/large" "$c/expected")" 201 "an upload that asks first"
for key in large chunked expected; do
    curl -sS "$c/$key" | cmp - "$folder/large"
done

same "$(ask -X PUT -H 'Cache-Control: max-age=1' --data-binary x "$a/brief")" 201 "PUT with a time to live"
for _ in $(seq 160); do
    [ "$(ask "$b/brief")" = 200 ] || break
    sleep 0.05
done
same "$(ask "$b/brief")" 404 "an expiry"
same "$(ask -X DELETE "$b/greeting") $(ask "$c/greeting")" "200 404" DELETE
same "$(curl -sS --http1.0 "$a/short")" form "HTTP/1.0"
same "$(ask "$a/-/ready")" 200 "/-/ready"
