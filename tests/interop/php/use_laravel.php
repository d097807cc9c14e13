<?php
// Laravel's cache stores, without the rest of Laravel: Redis over phpredis, and memcached, with their locks.
require __DIR__ . '/check.php';
require 'Illuminate/Cache/autoload.php';
require 'Illuminate/Redis/autoload.php';

use Illuminate\Cache\MemcachedConnector;
use Illuminate\Cache\MemcachedStore;
use Illuminate\Cache\RedisStore;
use Illuminate\Cache\Repository;
use Illuminate\Redis\RedisManager;

function all_of(Repository $a, Repository $b, string $big): void
{
    same($a->put('k', ['a' => [1, 'ä']], 60), true, 'put');
    same($b->get('k'), ['a' => [1, 'ä']], 'get at another node');
    same([$a->add('k', 1, 60), $b->add('new', 1, 60)], [false, true], 'add');
    same([$a->remember('computed', 60, fn () => 'x'), $b->remember('computed', 60, fn () => 'y')], ['x', 'x'], 'remember');
    $a->forever('n', 10);
    same([(int) $b->increment('n', 5), (int) $a->decrement('n', 3)], [15, 12], 'numbers');
    same($a->putMany(['m1' => 1, 'm2' => 2], 60), true, 'putMany');
    same(array_map('intval', $b->many(['m1', 'm2'])), ['m1' => 1, 'm2' => 2], 'many');
    $a->put('big', $big, 60);
    same($b->get('big') === $big, true, '500,000 bytes');
    same([$a->pull('k'), $b->has('k')], [['a' => [1, 'ä']], false], 'pull');
    $lock = $a->getStore()->lock('lock', 60);
    same([$lock->get(), $b->getStore()->lock('lock', 60)->get()], [true, false], 'a lock');
    same([$lock->release(), $b->getStore()->lock('lock', 60)->get()], [true, true], 'a lock that was released');
    $a->put('t', 1, 1);
    soon(fn () => $b->get('t'), null, 'an expiry');
    same([$a->flush(), $b->get('big')], [true, null], 'flush');
}

$redis = array_map(function ($node) {
    $default = ['host' => $node[0], 'port' => (int) $node[1], 'database' => 0];
    return new Repository(new RedisStore(new RedisManager(null, 'phpredis', compact('default')), 'site'));
}, $nodes);
all_of($redis[0], $redis[1], $big);
$memcached = array_map(function ($node) {
    $servers = [['host' => $node[0], 'port' => (int) $node[1], 'weight' => 100]];
    return new Repository(new MemcachedStore((new MemcachedConnector())->connect($servers), 'site'));
}, $nodes);
all_of($memcached[1], $memcached[2], $big);
