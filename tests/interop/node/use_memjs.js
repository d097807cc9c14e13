// memjs, which speaks the binary protocol only. Its prepend, in 1.3, sends what means append, and is left out.
'use strict';
const { Client } = require('memjs');
const { big, byTurns, main, nodes, same, soon } = require('./check');

const text = async (at, key) => {
  const { value } = await at().get(key);
  return value && value.toString();
};

const allOf = async (at) => {
  same(await at().set('a', '1', { expires: 600 }), true);
  same(await text(at, 'a'), '1');
  same(await at().add('a', '2', {}), false);
  same(await at().replace('none', '2', {}), false);
  same(await at().delete('a'), true);
  same(await at().delete('a'), false);
  same(await text(at, 'a'), null);
  same((await at().increment('n', 5, { initial: 10 })).value, 10);
  same((await at().increment('n', 5, { initial: 10 })).value, 15);
  same((await at().decrement('n', 20, { initial: 10 })).value, 0);
  await at().set('big', big, {});
  same((await at().get('big')).value, big);
  await at().set('c', 'x', {});
  await at().append('c', 'y');
  same(await text(at, 'c'), 'xy');
  await at().set('t', 'x', { expires: 1 });
  await at().set('kept', 'x', { expires: 1 });
  same(await at().touch('kept', 600), true);
  await soon(() => text(at, 't'), null, 'an expiry');
  same(await text(at, 'kept'), 'x');
  await Promise.all(Array.from({ length: 300 }, (_, n) => at().set(`many:${n}`, `${n}`, {})));
  const got = await Promise.all(Array.from({ length: 300 }, (_, n) => text(at, `many:${n}`)));
  same(got, Array.from({ length: 300 }, (_, n) => `${n}`));
  await at().flush();
  same(await text(at, 'kept'), null);
};

main(async () => {
  await allOf(byTurns(nodes.map((node) => Client.create(node))));
  const spread = Client.create(nodes.join(','));
  await allOf(() => spread);
});
