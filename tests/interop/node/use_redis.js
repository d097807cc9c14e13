// node-redis in both of Redis's protocols.
'use strict';
const { createClient, RESP_TYPES } = require('redis');
const { assert, big, byTurns, main, many, nodes, same, soon } = require('./check');

const allOf = async (at, bytes) => {
  same(await at().set('a', '1'), 'OK');
  same(await at().get('a'), '1');
  same(await at().set('a', '2', { NX: true }), null);
  same(await at().set('a', '2', { XX: true, GET: true }), '1');
  same(await at().getDel('a'), '2');
  same(await at().get('a'), null);
  same([await at().incr('n'), await at().incrBy('n', 9), await at().decrBy('n', 15)], [1, 10, -5]);
  await assert.rejects(at().lPush('list', 'x'), /unknown command/);
  same(await at().mSet(many), 'OK');
  same(await at().mGet([...Object.keys(many), 'none']), [...Object.values(many), null]);
  same(await at().set('big', big), 'OK');
  same(await bytes.get('big'), big);

  same(await at().set('t', 'x', { PX: 300 }), 'OK');
  same(await at().set('kept', 'x', { EX: 1 }), 'OK');
  same(await at().expire('kept', 600), 1);
  const ttl = await at().ttl('kept');
  assert.ok(ttl > 590 && ttl <= 600, `a ttl of ${ttl}`);
  await soon(() => at().get('t'), null, 'an expiry');

  same(await at().multi().set('a', '1').incr('a').get('a').exec(), ['OK', 2, '2']);
  const answers = await Promise.all(Object.keys(many).map((key) => at().get(key)));
  same(answers, Object.values(many));
  const found = [];
  for await (const keys of at().scanIterator({ MATCH: 'many:1?', TYPE: 'string', COUNT: 100 })) found.push(...keys);
  same(found.sort(), Array.from({ length: 10 }, (_, n) => `many:1${n}`));
  same(await at().unlink(Object.keys(many)), Object.keys(many).length);
  same(await at().exists('many:1'), 0);
  await at().flushDb();
  same(await at().dbSize(), 0);
};

main(async () => {
  for (const RESP of [2, 3]) {
    const clients = nodes.map((node) => createClient({ url: `redis://${node}`, RESP }));
    for (const client of clients) await client.on('error', console.error).connect();
    await allOf(byTurns(clients), clients[0].withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }));
    for (const client of clients) await client.close();
  }
});
