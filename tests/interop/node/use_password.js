// The password by memjs, which shows it by SASL, node-redis and ioredis; a wrong one is refused.
'use strict';
const Redis = require('ioredis');
const { Client } = require('memjs');
const { createClient } = require('redis');
const { assert, main, nodes: [node], same } = require('./check');

const password = process.env.PASSWORD;

const byMemjs = async (password) => {
  const client = Client.create(node, { username: 'any', password, retries: 0, logger: { log() {} } });
  await client.set('a', '1', {});
  return String((await client.get('a')).value);
};

const byRedis = async (password) => {
  const client = createClient({ url: `redis://${node}`, password, socket: { reconnectStrategy: false } });
  await client.on('error', () => {}).connect();
  return client.get('a');
};

main(async () => {
  same(await byMemjs(password), '1');
  same(await byRedis(password), '1');
  same(await new Redis(`redis://${node}`, { password }).get('a'), '1');
  await assert.rejects(byMemjs('wrong'), /authentication/);
  await assert.rejects(byRedis('wrong'), /WRONGPASS/);
});
