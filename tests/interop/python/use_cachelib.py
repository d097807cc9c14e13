"""cachelib, and Flask-Caching on top of it: a Flask application whose views and functions are cached, over memcached and Redis."""

from cachelib import MemcachedCache, RedisCache
from check import BIG, NODES, host_and_port, same, soon
from flask import Flask
from flask_caching import Cache


def all_of(a, b):
    same(a.set("k", {"a": [1]}, 60), True, "set")
    same(b.get("k"), {"a": [1]}, "get at another node")
    same((a.add("k", 1), b.add("new", 1, 60)), (False, True), "add")
    same((a.has("k"), b.has("none")), (True, False), "has")
    a.set("n", 10)
    same((b.inc("n", 5), a.dec("n", 3)), (15, 12), "inc and dec")
    items = {f"many:{n}": n for n in range(300)}
    same(sorted(a.set_many(items, 60)), sorted(items), "set_many")
    same(b.get_many(*items), list(items.values()), "get_many")
    same(b.get_dict("many:1", "none"), {"many:1": 1, "none": None}, "get_dict")
    a.delete_many(*items)
    same(b.get("many:1"), None, "after delete_many")
    a.set("big", BIG)
    same(b.get("big"), BIG, "500,000 bytes")
    same(a.delete("k") and b.get("k"), None, "after delete")
    a.set("t", 1, 1)
    soon(lambda: b.get("t"), None, "an expiry")
    same(a.clear() and b.get("big"), None, "after clear")


def flask(config):
    app = Flask("interop")
    cache = Cache(app, config={"CACHE_DEFAULT_TIMEOUT": 60, "CACHE_KEY_PREFIX": config["CACHE_TYPE"], **config})
    calls = []

    @app.route("/view")
    @cache.cached(timeout=60)
    def view():
        calls.append("view")
        return "shown"

    @cache.memoize(60)
    def square(n):
        calls.append("square")
        return n * n

    browser = app.test_client()
    same([browser.get("/view").data for _ in range(3)], [b"shown"] * 3, "a view")
    with app.app_context():
        same([square(7) for _ in range(3)], [49] * 3, "a memoized function")
        same(calls, ["view", "square"], "calls that were not cached")
        cache.delete_memoized(square)
        same((square(7), len(calls)), (49, 3), "after delete_memoized")
        cache.clear()
    browser.get("/view")
    same(len(calls), 4, "calls after clear")


def redis_at(node):
    host, port = host_and_port(node)
    return RedisCache(host, port, key_prefix="site:")


all_of(redis_at(NODES[0]), redis_at(NODES[1]))
all_of(MemcachedCache([NODES[1]], key_prefix="site:"), MemcachedCache([NODES[2]], key_prefix="site:"))
flask({"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": f"redis://{NODES[2]}/0"})
flask({"CACHE_TYPE": "MemcachedCache", "CACHE_MEMCACHED_SERVERS": NODES})
