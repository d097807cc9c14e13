// ioredis, with its ready check, its automatic pipelines and its scripts.
'use strict';
const Redis = require('ioredis');
const { assert, big, byTurns, main, many, nodes, same, soon } = require('./check');

const allOf = async (at) => {
  same(await at().set('a', '1'), 'OK');
  same(await at().get('a'), '1');
  same(await at().set('a', '2', 'EX', 60, 'NX'), null);
  same(await at().setnx('b', '2'), 1);
  same(await at().del('a', 'b', 'none'), 2);
  same([await at().incr('n'), await at().incrby('n', 9), await at().decr('n')], [1, 10, 9]);
  await at().mset(many);
  same(await at().mget(Object.keys(many)), Object.values(many));
  await at().set('big', big);
  same(await at().getBuffer('big'), big);
  await at().psetex('t', 300, 'x');
  await soon(() => at().get('t'), null, 'an expiry');
  same(await at().pipeline().set('p', '1').incr('p').get('none').exec(), [[null, 'OK'], [null, 2], [null, null]]);
  same(await at().multi().set('p', '1').incr('p').exec(), [[null, 'OK'], [null, 2]]);
  await assert.rejects(at().lpush('list', 'x'), /unknown command/);
  const found = [];
  for await (const keys of at().scanStream({ match: 'many:1?', count: 100 })) found.push(...keys);
  same(found.sort(), Array.from({ length: 10 }, (_, n) => `many:1${n}`));
  await locks(at);
  await at().flushdb();
  same(await at().dbsize(), 0);
};

// What a lock's owner sends when it lets go: deletes the lock if it is still its own.
const RELEASE = 'if redis.call("get",KEYS[1]) == ARGV[1] then\n    return redis.call("del",KEYS[1])\nelse\n    return 0\nend';

const locks = async (at) => {
  same(await at().set('lock', 'mine', 'PX', 10_000, 'NX'), 'OK');
  same(await at().set('lock', 'yours', 'PX', 10_000, 'NX'), null);
  same(await at().eval(RELEASE, 1, 'lock', 'yours'), 0);
  same(await at().eval(RELEASE, 1, 'lock', 'mine'), 1);
  same(await at().get('lock'), null);
};

main(async () => {
  for (const enableAutoPipelining of [false, true]) {
    const clients = nodes.map((node) => new Redis(`redis://${node}`, { enableAutoPipelining }));
    await allOf(byTurns(clients));
    for (const client of clients) await client.quit();
  }
  const other = new Redis(`redis://${nodes[0]}/2`);
  same(await other.dbsize(), 0);
});
