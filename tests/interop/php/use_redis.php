<?php
// phpredis.
require __DIR__ . '/check.php';

$at = by_turns(array_map(function ($node) {
    $client = new Redis();
    $client->connect($node[0], (int) $node[1]);
    $client->select(0);
    return $client;
}, $nodes));

same($at()->set('a', '1', ['ex' => 600]), true, 'set');
same($at()->get('a'), '1', 'get at the next node');
same($at()->set('a', '2', ['nx', 'ex' => 600]), false, 'set nx of what is there');
same($at()->setnx('b', '2'), true, 'setnx');
same([$at()->incr('n'), $at()->incrBy('n', 9), $at()->decrBy('n', 15)], [1, 10, -5], 'numbers');
same($at()->mset($many), true, 'mset');
same($at()->mget(array_keys($many)), array_values($many), 'mget');
same($at()->multi()->set('p', '1')->incr('p')->get('p')->exec(), [true, 2, '2'], 'a transaction');
same($at()->pipeline()->set('p', '1')->incr('p')->exec(), [true, 2], 'a pipeline');
$client = $at();
$client->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
$cursor = null;
$found = [];
while ($keys = $client->scan($cursor, 'many:1?', 100)) {
    array_push($found, ...$keys);
}
sort($found);
same($found, array_map(fn ($n) => "many:$n", range(10, 19)), 'scan');
$at()->set('big', $big);
same($at()->get('big') === $big, true, '500,000 bytes');
$at()->psetex('t', 300, 'x');
soon(fn () => $at()->get('t'), false, 'an expiry');
$at()->setex('kept', 1, 'x');
same($at()->expire('kept', 600), true, 'expire');
same($at()->ttl('kept') > 590, true, 'ttl');
same($at()->unlink(array_keys($many)), count($many), 'unlink');
$release = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end';
$at()->set('lock', 'mine', ['nx', 'px' => 10_000]);
same([$at()->eval($release, ['lock', 'yours'], 1), $at()->eval($release, ['lock', 'mine'], 1)], [0, 1], 'a lock');
same($at()->flushDB(), true, 'flushDB');
same($at()->dbSize(), 0, 'after flushDB');
