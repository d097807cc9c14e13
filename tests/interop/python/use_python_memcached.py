"""python-memcached, with a client a node, and one that spreads keys by a hash of its own."""

import memcache
from check import BIG, MANY, NODES, by_turns, same, soon


def all_of(at):
    same(at().set("a", "1"), True, "set")
    same(at().get("a"), "1", "get at the next node")
    same(bool(at().add("a", "2")), False, "add of what is there")
    same(bool(at().replace("none", "2")), False, "replace of what is not")
    same(at().set("n", 10) and at().incr("n", 5), 15, "incr")
    same(at().decr("n", 20), 0, "decr stops at 0")
    same(at().set_multi(MANY), [], "set_multi")
    same(at().get_multi(list(MANY)), MANY, "get_multi")
    same(at().delete_multi(list(MANY)), 1, "delete_multi")
    same(at().get_multi(list(MANY)), {}, "get_multi of what is deleted")
    at().set("object", {"a": [1, BIG]})
    same(at().get("object"), {"a": [1, BIG]}, "a pickled object of 500,000 bytes")
    at().set("text", "spam " * 10_000, min_compress_len=100)
    same(at().get("text"), "spam " * 10_000, "a compressed value")
    at().set("t", "x", time=1)
    at().set("kept", "x", time=1)
    same(at().touch("kept", 600), 1, "touch")
    soon(lambda: at().get("t"), None, "an expiry")
    same(at().get("kept"), "x", "what was touched")
    at().flush_all()
    same(at().get("kept"), None, "after flush_all")


def versions(client):
    client.set("c", "1")
    same(client.gets("c"), "1", "gets")
    same(client.cas("c", "2"), True, "cas")
    client.gets("c")
    other.set("c", "3")
    same(bool(client.cas("c", "4")), False, "cas after another's write")
    same(client.get("c"), "3", "what the other wrote")


clients = [memcache.Client([node], socket_timeout=10, cache_cas=True) for node in NODES]
other = memcache.Client([NODES[-1]], socket_timeout=10)
all_of(by_turns(clients))
spread = memcache.Client(NODES, socket_timeout=10, cache_cas=True)
all_of(lambda: spread)
versions(clients[0])
same(len(spread.get_stats()), len(NODES), "stats of every node")
