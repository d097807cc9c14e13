"""The password by redis-py in both of Redis's protocols and by HTTP's Basic; a wrong one, and none, are refused."""

import os
import urllib.error
import urllib.parse
import urllib.request

import redis
from check import NODES, refused, same

PASSWORD = os.environ["PASSWORD"]


def over_redis(node):
    for protocol in (2, 3):
        at = redis.Redis.from_url(f"redis://:{urllib.parse.quote(PASSWORD)}@{node}", protocol=protocol)
        same((at.set("a", "1"), at.get("a")), (True, b"1"), "with the password")
        stranger = redis.Redis.from_url(f"redis://:wrong@{node}", protocol=protocol)
        refused(lambda: stranger.get("a"), redis.AuthenticationError, "a wrong password")
    refused(lambda: redis.Redis.from_url(f"redis://{node}").get("a"), redis.AuthenticationError, "no password")


def status(node, password):
    manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    manager.add_password(None, f"http://{node}/", "any", password)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
    try:
        return opener.open(f"http://{node}/a", timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


over_redis(NODES[0])
same((status(NODES[0], PASSWORD), status(NODES[0], "wrong")), (200, 401), "HTTP's statuses")
