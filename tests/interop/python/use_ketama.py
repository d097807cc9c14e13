"""libmemcached's ketama ring, by pylibmc: each key reaches its owner without a hop, and no key is missed after an owner was killed.

Kills the second node of the pool that utils/cluster.sh runs, and revives it.
"""

import os
import socket
import subprocess

import pylibmc
from check import NODES, host_and_port, same

CLUSTER = os.path.join(os.path.dirname(__file__), "..", "..", "..", "utils", "cluster.sh")
KEYS = [f"key:{n}" for n in range(3000)]
BEHAVIOURS = {
    "ketama_weighted": True,
    "tcp_nodelay": True,
    "connect_timeout": 5_000,
    "receive_timeout": 10_000_000,
    "send_timeout": 10_000_000,
    # Who fails is left out at once, and asked again after a while: the dead node's keys go to the next one on the ring.
    "remove_failed": 1,
    "retry_timeout": 1,
    "dead_timeout": 60,
}


def client(nodes, binary=False):
    return pylibmc.Client(nodes, binary=binary, behaviors=BEHAVIOURS)


def counted(name, nodes=NODES):
    """A counter of each node: asked by hand, as pylibmc drops those that it does not know."""
    return [int(stats_of(node)[name]) for node in nodes]


def stats_of(node):
    with socket.create_connection(host_and_port(node), timeout=10) as connection:
        connection.sendall(b"stats\r\nquit\r\n")
        lines = connection.makefile().read().splitlines()
    return dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT "))


def each(act, wanted):
    """Does something with every key, again if the client has lost a connection over it, and says how often it had.

    The first get on a connection that has ended is None in libmemcached, not an error: whether a node has missed a key is for the nodes'
    counters to say.
    """
    failures = 0
    for key in KEYS:
        for _ in range(10):
            try:
                got = act(key)
            except pylibmc.Error:
                got = None
            if got is not None:
                break
            failures += 1
        same(got, wanted(key), key)
    return failures


def without_a_hop(binary):
    before, ring = counted("forwarded"), client(NODES, binary)
    failures = each(lambda key: ring.set(key, key), lambda _: True)
    failures += each(ring.get, str)
    same(ring.get_multi(KEYS), {key: key for key in KEYS}, "get_multi")
    failures += each(lambda key: ring.set(key, 1) and ring.incr(key), lambda _: 2)
    same(failures, 0, "failures")
    same(counted("forwarded"), before, "requests passed on")
    # A client that asks one node for everything does cost hops, so that counter is to be believed.
    one = client(NODES[:1], binary)
    each(one.get, lambda _: 2)
    hops = counted("forwarded")[0] - before[0]
    same(len(KEYS) / 2 < hops < len(KEYS), True, f"about two thirds of {len(KEYS)} passed on by one node, {hops}")


def after_a_kill():
    ring, survivors = client(NODES), NODES[:1] + NODES[2:]
    each(lambda key: ring.set(key, key), lambda _: True)
    before = counted("get_misses", survivors)
    subprocess.run([CLUSTER, "kill", "2"], check=True, stdout=subprocess.DEVNULL)
    failures = each(ring.get, str)
    hops = counted("forwarded", survivors)
    failures += each(ring.get, str)
    failures += each(lambda key: ring.set(key, key[::-1]), lambda _: True)
    same(counted("forwarded", survivors), hops, "requests passed on by the survivors")
    same(failures <= 5, True, f"{failures} lost connections where there was one")
    for node in survivors:
        same(client([node]).get_multi(KEYS), {key: key[::-1] for key in KEYS}, "get_multi at a survivor")
    same(counted("get_misses", survivors), before, "misses")
    subprocess.run([CLUSTER, "revive", "2"], check=True, stdout=subprocess.DEVNULL)
    same(client(NODES).get_multi(KEYS), {key: key[::-1] for key in KEYS}, "get_multi with the node revived")


for binary in (False, True):
    without_a_hop(binary)
after_a_kill()
