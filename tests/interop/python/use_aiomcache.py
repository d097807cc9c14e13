"""aiomcache: the coroutines of one event loop, many under way on one connection pool."""

import asyncio

import aiomcache
from aiomcache.exceptions import ClientException
from check import BIG, BINARY, MANY, NODES, by_turns, host_and_port, same


async def gone(at, key):
    for _ in range(160):
        if await at().get(key) is None:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{key} does not expire")


async def all_of(at):
    same(await at().set(b"a", b"1"), True, "set")
    same(await at().get(b"a"), b"1", "get at the next node")
    same(await at().add(b"a", b"2"), False, "add of what is there")
    same(await at().replace(b"none", b"2"), False, "replace of what is not")
    same(await at().append(b"a", b"2") and await at().prepend(b"a", b"0"), True, "append and prepend")
    same(await at().get(b"a"), b"012", "after append and prepend")
    value, version = await at().gets(b"a")
    same(await at().cas(b"a", b"2", version), True, "cas")
    same(await at().cas(b"a", b"3", version), False, "cas with the version before")
    same(await at().delete(b"a"), True, "delete")
    await at().set(b"n", b"10")
    same(await at().incr(b"n", 5), 15, "incr")
    same(await at().decr(b"n", 3), 12, "decr")
    await at().set(b"big", BIG)
    same(await at().get(b"big"), BIG, "500,000 bytes")
    await at().set(b"binary", BINARY)
    same(await at().get(b"binary"), BINARY, "all bytes")
    await asyncio.gather(*(at().set(key.encode(), value.encode()) for key, value in MANY.items()))
    got = await at().multi_get(*(key.encode() for key in MANY))
    same(got, tuple(value.encode() for value in MANY.values()), "multi_get")
    await at().set(b"t", b"x", exptime=1)
    await at().set(b"kept", b"x", exptime=1)
    same(await at().touch(b"kept", 600), True, "touch")
    await gone(at, b"t")
    same(await at().get(b"kept"), b"x", "what was touched")
    same(b"version" in await at().stats(), True, "stats")
    await at().flush_all()
    same(await at().get(b"kept"), None, "after flush_all")


async def main():
    clients = [aiomcache.Client(*host_and_port(node), pool_size=4) for node in NODES]
    await all_of(by_turns(clients))
    try:
        await clients[0].set(b"n", b"text")
        await clients[0].incr(b"n", 1)
    except ClientException:
        pass
    else:
        raise AssertionError("incr of a text is not refused")
    for client in clients:
        await client.close()


asyncio.run(main())
