// keyv over Redis and over memcached.
'use strict';
const { default: Keyv } = require('keyv');
const { default: KeyvRedis } = require('@keyv/redis');
const { default: KeyvMemcache } = require('@keyv/memcache');
const { assert, byTurns, main, nodes, same, soon } = require('./check');

const allOf = async (at) => {
  same(await at().set('a', { a: [1, 'ä'] }), true);
  same(await at().get('a'), { a: [1, 'ä'] });
  same(await at().has('a'), true);
  await at().set('t', 'x', 1000);
  same(await at().get('t'), 'x');
  await soon(() => at().get('t'), undefined, 'an expiry');
  same(await at().delete('a'), true);
  same(await at().get('a'), undefined);
  await at().set('b', 1);
  same(await at().get(['b', 'none']), [1, undefined]);
  await at().clear();
  same(await at().get('b'), undefined);
};

main(async () => {
  const failed = (keyv) => keyv.on('error', assert.fail);
  await allOf(byTurns(nodes.map((node) => failed(new Keyv(new KeyvRedis(`redis://${node}`), { namespace: 'site' })))));
  await allOf(byTurns(nodes.map((node) => failed(new Keyv(new KeyvMemcache(node), { namespace: 'site' })))));
});
