"""redis-py in both of Redis's protocols: strings, expiry, pipelines, transactions, the walk, locks, and coroutines."""

import asyncio
import threading

import redis
import redis.asyncio
from check import BIG, BINARY, MANY, NODES, by_turns, refused, same, soon


def basics(at):
    same(at().set("a", "1"), True, "set")
    same(at().get("a"), b"1", "get at the next node")
    same(at().set("a", "2", nx=True), None, "set nx of what is there")
    same(at().set("none", "2", xx=True), None, "set xx of what is not")
    same(at().set("a", "2", get=True), b"1", "set get")
    same(at().getset("a", "3"), b"2", "getset")
    same(at().append("a", "4"), 2, "append")
    same(at().strlen("a"), 2, "strlen")
    same(at().getdel("a"), b"34", "getdel")
    same(at().exists("a"), 0, "exists")
    same(at().mset(MANY), True, "mset")
    same(at().mget(list(MANY)), [value.encode() for value in MANY.values()], "mget")
    same(at().exists("many:1", "many:2", "none"), 2, "exists of three")
    same(at().unlink(*MANY), len(MANY), "unlink")
    same(at().mget("many:1", "none"), [None, None], "mget of what is not there")
    at().set("big", BIG)
    same(at().get("big"), BIG, "500,000 bytes")
    at().set(b"\xff\0\r\n key", BINARY)
    same(at().get(b"\xff\0\r\n key"), BINARY, "all bytes, in the key too")
    same(at().type("big"), b"string", "type")
    same(at().ping(), True, "ping")


def numbers(at):
    at().delete("n", "f")
    same(at().incr("n"), 1, "incr of nothing")
    same(at().incrby("n", 9), 10, "incrby")
    same(at().decrby("n", 15), -5, "decrby goes below 0")
    same(at().incrbyfloat("f", 1.5), 1.5, "incrbyfloat")
    at().set("n", "text")
    refused(lambda: at().incr("n"), redis.ResponseError, "incr of a text")


def times(at):
    at().set("t", "x", px=300)
    at().set("kept", "x", ex=1)
    same(at().expire("kept", 600), True, "expire")
    same(595 <= at().ttl("kept") <= 600, True, "ttl")
    same(at().pttl("none"), -2, "pttl of what is not there")
    soon(lambda: at().get("t"), None, "an expiry")
    same(at().persist("kept"), True, "persist")
    same(at().ttl("kept"), -1, "ttl of what stays")
    same(at().getex("kept", ex=100), b"x", "getex")
    same(95 <= at().ttl("kept") <= 100, True, "ttl after getex")


def batches(at):
    pipe = at().pipeline(transaction=False)
    for key, value in MANY.items():
        pipe.set(key, value, ex=60)
    same(pipe.execute(), [True] * len(MANY), "a pipeline")
    pipe = at().pipeline(transaction=True)
    pipe.set("a", "1").incr("a").get("a").expire("a", 60)
    same(pipe.execute(), [True, 2, b"2", True], "a transaction")
    same(sorted(at().scan_iter(match="many:1?", count=100)), sorted(b"many:1%d" % n for n in range(10)), "scan of the pool")
    same(sorted(at().keys("many:99?")), sorted(b"many:99%d" % n for n in range(10)), "keys")


def locks(at):
    lock = at().lock("lock", timeout=10)
    same(lock.acquire(blocking=False), True, "acquire")
    same(at().lock("lock", timeout=10).acquire(blocking=False), False, "acquire of what is taken")
    same(lock.extend(10), True, "extend")
    same(lock.reacquire(), True, "reacquire")
    lock.release()
    refused(lambda: lock.release(), redis.exceptions.LockError, "release again")
    lock.acquire()
    at().set("lock", "another's")
    refused(lambda: lock.release(), redis.exceptions.LockNotOwnedError, "release of another's lock")
    at().delete("lock")


def counted_under_a_lock(at):
    at().set("count", 0)

    def add(client):
        for _ in range(10):
            with client.lock("counting", timeout=30, sleep=0.01):
                client.set("count", int(client.get("count")) + 1)

    threads = [threading.Thread(target=add, args=(at(),)) for _ in NODES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(at().get("count"), b"%d" % (10 * len(NODES)), "a count kept by lock from every node at once")


def about_the_server(at):
    same(at().info()["redis_mode"], "standalone", "info")
    refused(lambda: at().lpush("list", "x"), redis.ResponseError, "a list, which there is not")
    same(at().ping(), True, "the connection stays")
    at().flushdb()
    same((at().dbsize(), at().get("big")), (0, None), "after flushdb")


def databases(protocol):
    plain, other = (redis.Redis.from_url(f"redis://{NODES[0]}/{db}", protocol=protocol) for db in (0, 3))
    plain.set("a", "0")
    same(other.get("a"), None, "another database")
    other.set("a", "3")
    other.flushdb()
    same((plain.get("a"), other.get("a")), (b"0", None), "flushdb of one database")


async def coroutines(protocol):
    clients = [redis.asyncio.Redis.from_url(f"redis://{node}", protocol=protocol) for node in NODES]
    await asyncio.gather(*(clients[n % len(clients)].set(f"many:{n}", n) for n in range(300)))
    got = await asyncio.gather(*(clients[(n + 1) % len(clients)].get(f"many:{n}") for n in range(300)))
    same(got, [b"%d" % n for n in range(300)], "gets and sets of coroutines")
    for client in clients:
        await client.aclose()


for protocol in (2, 3):
    at = by_turns([redis.Redis.from_url(f"redis://{node}", protocol=protocol, socket_timeout=10) for node in NODES])
    for test in (basics, numbers, times, batches, locks, counted_under_a_lock, about_the_server):
        test(at)
    databases(protocol)
    asyncio.run(coroutines(protocol))
