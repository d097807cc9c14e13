"""What the Python programs here share: the pool's nodes, and how to insist on something."""

import itertools
import os
import sys
import time

NODES = sys.argv[1:]
"""The addresses of the pool's nodes, IP:PORT, as run.sh gives them to each program."""

BIG = os.urandom(500_000)
BINARY = bytes(range(256)) * 4
MANY = {f"many:{n}": f"value {n}" for n in range(1000)}


def host_and_port(node):
    host, port = node.rsplit(":", 1)
    return host, int(port)


def by_turns(clients):
    """A function that returns another of these clients at each call: a write goes to one node, the read after it to the next."""
    turns = itertools.cycle(clients)
    return lambda: next(turns)


def same(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: {str(got)[:200]!r} and not {str(wanted)[:200]!r}")


def refused(attempt, kind, what):
    try:
        got = attempt()
    except kind:
        return
    raise AssertionError(f"{what}: {got!r} and not {kind.__name__}")


def soon(ask, wanted, what, seconds=8):
    """Asks until the answer is the wanted one; for what ends by the clock, such as an expiry."""
    end = time.monotonic() + seconds
    while (got := ask()) != wanted:
        if time.monotonic() > end:
            raise AssertionError(f"{what}: still {str(got)[:200]!r} after {seconds} seconds")
        time.sleep(0.05)
