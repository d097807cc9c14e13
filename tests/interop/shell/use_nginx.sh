#!/usr/bin/env bash
# nginx's memcached module: pages that are in the pool are answered by nginx itself, over connections that it keeps.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
same() { [ "$1" = "$2" ] || { echo "$3: '$1' and not '$2'" >&2; exit 1; }; }

cat >"$folder/nginx.conf" <<END
daemon off;
pid $folder/pid;
error_log $folder/error.log;
events {}
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    upstream pool {
        server $1;
        server $2;
        server $3;
        keepalive 8;
    }
    server {
        listen unix:$folder/socket;
        location / {
            set \$memcached_key page:\$uri;
            memcached_pass pool;
            default_type text/html;
            error_page 404 502 504 = @computed;
        }
        location @computed { return 200 "computed"; }
    }
}
END
nginx -c "$folder/nginx.conf" -e "$folder/error.log" &
server=$!
for _ in $(seq 100); do
    [ ! -S "$folder/socket" ] || break
    sleep 0.05
done
page() { curl -sS --max-time 10 --unix-socket "$folder/socket" "http://pool$1"; }

same "$(page /none)" computed "a page that is not in the pool"
curl -sS -o /dev/null --data-binary 'a cached page' "http://$1/page:/cached"
for _ in $(seq 30); do
    same "$(page /cached)" "a cached page" "a page by way of each node"
done
head -c 300000 /dev/urandom >"$folder/large"
curl -sS -o /dev/null --data-binary "@$folder/large" "http://$2/page:/large"
for _ in 1 2 3; do
    page /large | cmp - "$folder/large"
done
same "$(page /none)" computed "a miss over a kept connection"
