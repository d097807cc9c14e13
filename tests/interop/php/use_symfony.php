<?php
// Symfony's cache component: its memcached adapter, which speaks the binary protocol by itself, and its Redis adapter.
require __DIR__ . '/check.php';
require 'Psr/SimpleCache/autoload.php';
require 'Symfony/Component/Cache/autoload.php';

use Symfony\Component\Cache\Adapter\MemcachedAdapter;
use Symfony\Component\Cache\Adapter\RedisAdapter;
use Symfony\Component\Cache\Psr16Cache;

function all_of($a, $b, array $many, string $big): void
{
    $calls = 0;
    $compute = function ($item) use (&$calls) {
        $item->expiresAfter(600);
        return ['computed' => ++$calls];
    };
    same([$a->get('k', $compute), $b->get('k', $compute)], [['computed' => 1], ['computed' => 1]], 'get computes once');
    same([$a->delete('k'), $b->hasItem('k')], [true, false], 'delete');
    $item = $a->getItem('big')->set($big)->expiresAfter(600);
    same($a->save($item), true, 'save');
    same($b->getItem('big')->get() === $big, true, '500,000 bytes');

    [$simple, $other] = [new Psr16Cache($a), new Psr16Cache($b)];
    $many = array_combine(array_map(fn ($key) => strtr($key, ':', '.'), array_keys($many)), $many);
    same($simple->setMultiple($many, 600), true, 'setMultiple');
    $got = iterator_to_array($other->getMultiple(array_keys($many)));
    ksort($got);
    ksort($many);
    same($got, $many, 'getMultiple');
    same($simple->deleteMultiple(array_keys($many)), true, 'deleteMultiple');
    same($other->get('many.1', 'default'), 'default', 'after deleteMultiple');
    $simple->set('t', 1, 1);
    soon(fn () => $other->get('t'), null, 'an expiry');
    same($a->clear(), true, 'clear');
    // What it knows of the other's namespace lasts for one request of PHP; the next one asks again.
    $b->reset();
    same($b->hasItem('big'), false, 'after clear');
}

$of = fn ($node) => "$node[0]:$node[1]";
$redis = array_map(fn ($node) => new RedisAdapter(RedisAdapter::createConnection('redis://' . $of($node)), 'site'), $nodes);
all_of($redis[0], $redis[1], $many, $big);
$one = MemcachedAdapter::createConnection('memcached://' . $of($nodes[0]));
$all = MemcachedAdapter::createConnection(array_map(fn ($node) => 'memcached://' . $of($node), $nodes));
all_of(new MemcachedAdapter($one, 'site'), new MemcachedAdapter($all, 'site'), $many, $big);
