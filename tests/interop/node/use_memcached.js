// The package memcached, a client a node and one with its own ketama ring over all.
'use strict';
const { promisify } = require('node:util');
const Memcached = require('memcached');
const { assert, big, byTurns, main, many, nodes, same, soon } = require('./check');

const METHODS = ['set', 'get', 'gets', 'getMulti', 'add', 'replace', 'cas', 'append', 'prepend', 'incr', 'decr', 'del', 'touch', 'version', 'stats', 'flush'];

const promising = (client) => Object.fromEntries(METHODS.map((name) => [name, promisify(client[name]).bind(client)]));

const allOf = async (at) => {
  same(await at().set('a', '1', 600), true);
  same(await at().get('a'), '1');
  await assert.rejects(at().add('a', '2', 600), /not stored/);
  await assert.rejects(at().replace('none', '2', 600), /not stored/);
  same([await at().append('a', '2'), await at().prepend('a', '0')], [true, true]);
  same(await at().get('a'), '012');
  const { cas } = await at().gets('a');
  same(await at().cas('a', 'new', cas, 600), true);
  same(await at().cas('a', 'newer', cas, 600), false);
  same([await at().del('a'), await at().del('a'), await at().get('a')], [true, false, undefined]);
  await at().set('n', '10', 600);
  same([await at().incr('n', 5), await at().decr('n', 20), await at().incr('none', 1)], [15, 0, false]);
  await at().set('object', { a: [1, 'ä'] }, 600);
  same(await at().get('object'), { a: [1, 'ä'] });
  await at().set('big', big, 600);
  same(await at().get('big'), big);
  for (const [key, value] of Object.entries(many)) await at().set(key, value, 600);
  same({ ...(await at().getMulti(Object.keys(many))) }, many);
  await at().set('t', 'x', 1);
  await at().set('kept', 'x', 1);
  same(await at().touch('kept', 600), true);
  await soon(() => at().get('t'), undefined, 'an expiry');
  same(await at().get('kept'), 'x');
  assert.match((await at().version())[0].version, /^1\.\d/);
  assert.ok((await at().stats())[0].curr_items >= 0);
  await at().flush();
  same(await at().get('kept'), undefined);
};

main(async () => {
  const options = { maxValue: 1 << 20, timeout: 10_000, retries: 0 };
  await allOf(byTurns(nodes.map((node) => promising(new Memcached(node, options)))));
  const spread = promising(new Memcached(nodes, options));
  await allOf(() => spread);
});
