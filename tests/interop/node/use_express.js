// Express with its sessions in the pool: express-session over connect-redis over node-redis; two servers, each at another node.
'use strict';
const express = require('express');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const { createClient } = require('redis');
const { main, nodes, same } = require('./check');

const serve = async (node) => {
  const client = createClient({ url: `redis://${node}` });
  await client.connect();
  const store = new RedisStore({ client, prefix: 'session:', ttl: 600 });
  const app = express();
  app.use(session({ store, secret: 'interop', resave: false, saveUninitialized: false }));
  app.get('/', (request, response) => {
    request.session.views = (request.session.views ?? 0) + 1;
    response.send(String(request.session.views));
  });
  app.get('/out', (request, response) => request.session.destroy(() => response.send('out')));
  const server = await new Promise((resolve) => { const server = app.listen(0, '127.0.0.1', () => resolve(server)); });
  return { page: `http://127.0.0.1:${server.address().port}`, store };
};

main(async () => {
  const [a, b] = [await serve(nodes[0]), await serve(nodes[1])];
  const first = await fetch(a.page);
  const headers = { cookie: first.headers.get('set-cookie').split(';')[0] };
  const views = [await first.text()];
  for (const { page } of [b, a, b]) views.push(await (await fetch(page, { headers })).text());
  same(views, ['1', '2', '3', '4']);
  same(await b.store.length(), 1);
  await fetch(`${b.page}/out`, { headers });
  same(await (await fetch(a.page, { headers })).text(), '1');
  await a.store.clear();
  same(await b.store.length(), 0);
});
