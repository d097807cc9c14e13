"""pymemcache: one client a node, and the HashClient that spreads keys by a ring of its own."""

from check import BIG, BINARY, MANY, NODES, by_turns, host_and_port, refused, same, soon
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError
from pymemcache.serde import pickle_serde


def basics(at):
    same(at().set("a", "1", noreply=False), True, "set")
    same(at().get("a"), b"1", "get at the next node")
    same(at().add("a", "2", noreply=False), False, "add of what is there")
    same(at().replace("none", "2", noreply=False), False, "replace of what is not")
    same(at().append("a", "2", noreply=False), True, "append")
    same(at().prepend("a", "0", noreply=False), True, "prepend")
    same(at().get("a"), b"012", "after append and prepend")
    same(at().delete("a", noreply=False), True, "delete")
    same(at().delete("a", noreply=False), False, "delete again")
    same(at().get("a", "default"), "default", "get of what is deleted")
    at().set("unanswered", "x")
    at().get("unanswered")
    soon(lambda: at().get("unanswered"), b"x", "a set that waits for no reply")


def numbers(at):
    at().set("n", "10", noreply=False)
    same(at().incr("n", 5), 15, "incr")
    same(at().decr("n", 20), 0, "decr stops at 0")
    same(at().incr("none", 1), None, "incr of what is not there")
    at().set("n", "text", noreply=False)
    refused(lambda: at().incr("n", 1), MemcacheClientError, "incr of a text")


def versions(at):
    at().set("c", "1", noreply=False)
    value, version = at().gets("c")
    same(value, b"1", "gets")
    same(at().cas("c", "2", version, noreply=False), True, "cas")
    same(at().cas("c", "3", version, noreply=False), False, "cas with the version before")
    same(at().cas("none", "3", version, noreply=False), None, "cas of what is not there")
    same(at().get("c"), b"2", "after cas")


def times(at):
    at().set("t", "x", expire=1, noreply=False)
    at().set("kept", "x", expire=1, noreply=False)
    same(at().touch("kept", 600, noreply=False), True, "touch")
    soon(lambda: at().get("t"), None, "an expiry")
    same(at().get("kept"), b"x", "what was touched")


def sizes(at):
    at().set("big", BIG, noreply=False)
    same(at().get("big"), BIG, "500,000 bytes")
    at().set("binary", BINARY, noreply=False)
    same(at().get("binary"), BINARY, "all bytes")
    same(at().set_many(MANY, noreply=False), [], "set_many")
    same(at().get_many(list(MANY)), {key: value.encode() for key, value in MANY.items()}, "get_many")
    at().delete_many(list(MANY), noreply=False)
    same(at().get_many(list(MANY)), {}, "get_many of what is deleted")
    refused(lambda: at().set("k" * 251, "x", noreply=False), MemcacheIllegalInputError, "a key of 251 bytes")


def flush(at):
    at().set("gone", "x", noreply=False)
    at().flush_all(noreply=False)
    same(at().get("gone"), None, "after flush_all")


at = by_turns([Client(host_and_port(node), timeout=10) for node in NODES])
spread = HashClient([host_and_port(node) for node in NODES], timeout=10, use_pooling=True)
for test in (basics, numbers, versions, times, sizes, flush):
    test(at)
    test(lambda: spread)
pickling = by_turns([PooledClient(host_and_port(node), timeout=10, serde=pickle_serde) for node in NODES])
pickling().set("object", {"a": [1, 2]}, noreply=False)
same(pickling().get("object"), {"a": [1, 2]}, "a pickled object")
