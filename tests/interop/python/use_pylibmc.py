"""pylibmc, which is libmemcached: its text and its binary protocol, with the behaviours that its documentation recommends."""

import pylibmc
from check import BIG, BINARY, MANY, NODES, by_turns, refused, same, soon


def missed(attempt):
    """Is the key not there? pylibmc answers so over the text protocol, and raises it over the binary one."""
    try:
        return not attempt()
    except pylibmc.NotFound:
        return True


def basics(at):
    same(at().set("a", "1"), True, "set")
    same(at().get("a"), "1", "get at the next node")
    same(at().add("a", "2"), False, "add of what is there")
    same(missed(lambda: at().replace("none", "2")), True, "replace of what is not")
    same(at().append("a", "2") and at().prepend("a", "0"), True, "append and prepend")
    same(at().get("a"), "012", "after append and prepend")
    same(at().delete("a"), True, "delete")
    same(at().delete("a"), False, "delete again")
    for value in ("ä", b"\0\r\n" + BINARY, 7, 2**70, True, 1.5, {"a": [None]}):
        at().set("typed", value)
        same(at().get("typed"), value, "a value with its type, kept in the flags")


def numbers(at):
    at().set("n", 10)
    same(at().incr("n", 5), 15, "incr")
    same(at().decr("n", 3), 12, "decr")
    same(at().get("n"), 12, "the number")
    refused(lambda: at().incr("none"), pylibmc.NotFound, "incr of what is not there")


def versions(at):
    one = at()
    one.set("c", "1")
    value, version = one.gets("c")
    same((value, one.cas("c", "2", version)), ("1", True), "gets and cas")
    same(one.cas("c", "3", version), False, "cas with the version before")
    same(at().get("c"), "2", "after cas")


def times(at):
    at().set("t", "x", time=1)
    at().set("kept", "x", time=1)
    same(at().touch("kept", 600), True, "touch")
    soon(lambda: at().get("t"), None, "an expiry")
    same(at().get("kept"), "x", "what was touched")


def sizes(at):
    at().set("big", BIG)
    same(at().get("big"), BIG, "500,000 bytes")
    at().set("text", "spam " * 100_000, min_compress_len=1000)
    same(at().get("text"), "spam " * 100_000, "a compressed value")
    same(at().set_multi(MANY), [], "set_multi")
    same(at().get_multi(list(MANY)), MANY, "get_multi")
    same(at().get_multi(["1", "2"], key_prefix="many:"), {"1": "value 1", "2": "value 2"}, "get_multi with a prefix")
    same(at().delete_multi(list(MANY)), True, "delete_multi")
    same(at().get_multi(list(MANY)), {}, "get_multi of what is deleted")


def flush(at):
    at().set("gone", "x")
    same(at().flush_all(), True, "flush_all")
    same(at().get("gone"), None, "after flush_all")
    same(len(at().get_stats()) > 0, True, "stats")


BEHAVIOURS = {"cas": True, "tcp_nodelay": True, "send_timeout": 10_000_000, "receive_timeout": 10_000_000}
for binary in (False, True):
    clients = [pylibmc.Client([node], binary=binary, behaviors=BEHAVIOURS) for node in NODES]
    spread = pylibmc.Client(NODES, binary=binary, behaviors={**BEHAVIOURS, "ketama": True})
    for test in (basics, numbers, versions, times, sizes, flush):
        test(by_turns(clients))
        test(lambda: spread)
