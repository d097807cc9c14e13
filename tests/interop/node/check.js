// What the Node.js programs here share: the pool's nodes, and how to insist on something.
'use strict';
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');

const nodes = process.argv.slice(2);
const big = randomBytes(500_000);
const many = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`many:${n}`, `value ${n}`]));

// A function that returns another of these clients at each call: a write goes to one node, the read after it to the next.
const byTurns = (clients) => {
  let turn = 0;
  return () => clients[turn++ % clients.length];
};

// Asks until the answer is the wanted one; for what ends by the clock, such as an expiry.
const soon = async (ask, wanted, what, seconds = 8) => {
  const end = Date.now() + seconds * 1000;
  let got;
  while ((got = await ask()) !== wanted) {
    assert.ok(Date.now() < end, `${what}: still ${got} after ${seconds} seconds`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

// Runs a program to its end. A client that still holds connections then does not keep it from ending.
const main = (program) => program().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});

module.exports = { assert, big, byTurns, main, many, nodes, same: assert.deepEqual, soon };
