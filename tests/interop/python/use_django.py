"""Django's cache API over the backend named last on the command line, of these: its own three, and django-redis.

Two configurations stand for two web servers: one talks to the pool's first node, the other to all of them.
"""

from check import BIG, NODES, host_and_port, refused, same, soon

BACKEND = NODES.pop()

REDIS = BACKEND in ("django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache")
LOCATIONS = [f"redis://{node}/1" for node in NODES] if REDIS else NODES

from django.conf import settings

settings.configure(
    CACHES={
        "default": {"BACKEND": BACKEND, "LOCATION": LOCATIONS[0], "KEY_PREFIX": "site"},
        "all": {"BACKEND": BACKEND, "LOCATION": LOCATIONS, "KEY_PREFIX": "site"},
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
)

import django

django.setup()

from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import caches


def basics(a, b):
    a.set("k", {"a": [1, "ä"]}, 60)
    same(b.get("k"), {"a": [1, "ä"]}, "get of the other server's set")
    same(a.add("k", 1), False, "add of what is there")
    same(b.add("new", 1, 60), True, "add of what is not")
    same((a.has_key("k"), "none" in b), (True, False), "has_key")
    same(a.get_or_set("computed", lambda: 42, 60), 42, "get_or_set")
    same(b.get("computed"), 42, "what get_or_set kept")
    same(a.delete("k"), True, "delete")
    same((b.delete("k"), b.get("k", "default")), (False, "default"), "after delete")
    a.set("none", None)
    same(b.get("none", "default"), None, "None is a value")
    a.set("big", BIG)
    same(b.get("big"), BIG, "500,000 bytes")
    a.set("never", 1, timeout=0)
    same(b.get("never"), None, "a timeout of 0")


def numbers(a, b):
    a.set("n", 10, None)
    same(b.incr("n", 5), 15, "incr")
    same(a.decr("n", 3), 12, "decr")
    same(b.get("n"), 12, "the number")
    refused(lambda: a.incr("nothing"), ValueError, "incr of what is not there")
    a.set("k", "value", version=1)
    same(b.incr_version("k"), 2, "incr_version")
    same((a.get("k", version=1), a.get("k", version=2)), (None, "value"), "after incr_version")


def many(a, b):
    items = {f"many:{n}": n for n in range(500)}
    same(list(a.set_many(items, 60) or []), [], "set_many")
    same(b.get_many(list(items)), items, "get_many")
    a.delete_many(list(items)[:250])
    same(len(b.get_many(list(items))), 250, "after delete_many")


def times(a, b):
    a.set("t", 1, 1)
    a.set("kept", 1, 1)
    same(b.touch("kept", 600), True, "touch")
    same(b.touch("nothing", 600), False, "touch of what is not there")
    soon(lambda: b.get("t"), None, "an expiry")
    same(a.get("kept"), 1, "what was touched")


def sessions():
    session = SessionStore()
    session["user"] = 7
    session.save()
    again = SessionStore(session.session_key)
    same(again["user"], 7, "a session")
    again.flush()
    same(SessionStore(session.session_key).get("user"), None, "a session that is over")


def more_of_django_redis(a, b):
    same(a.set("only", 1, nx=True), True, "set nx")
    same(bool(b.set("only", 2, nx=True)), False, "set nx of what is there")
    a.set("p:1", 1, 60), a.set("p:2", 2, 60)
    same(sorted(b.keys("p:*")), ["p:1", "p:2"], "keys")
    same(sorted(b.iter_keys("p:*")), ["p:1", "p:2"], "iter_keys")
    same(55 <= b.ttl("p:1") <= 60, True, "ttl")
    same(a.persist("p:1") and b.ttl("p:1"), None, "persist")
    same(b.delete_pattern("p:*"), 2, "delete_pattern")
    with a.lock("lock", timeout=10):
        same(b.lock("lock", timeout=10).acquire(blocking=False), False, "a lock that is taken")


a, b = caches["default"], caches["all"]
for test in (basics, numbers, many, times):
    a.clear()
    test(a, b)
    b.clear()
    test(b, a)
sessions()
if BACKEND.startswith("django_redis"):
    more_of_django_redis(a, b)
a.clear()
same(b.get("kept"), None, "after clear")
