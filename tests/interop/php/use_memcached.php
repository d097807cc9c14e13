<?php
// php-memcached over both protocols; with all nodes in one client it places keys by the ketama ring.
require __DIR__ . '/check.php';

function all_of(Closure $at, array $many, string $big): void
{
    same($at()->set('a', ['x' => [1, 'ä']], 600), true, 'set');
    same($at()->get('a'), ['x' => [1, 'ä']], 'get at the next node');
    same($at()->add('a', 1), false, 'add of what is there');
    same($at()->replace('none', 1), false, 'replace of what is not');
    $client = $at();
    same([$client->get('none'), $client->getResultCode()], [false, Memcached::RES_NOTFOUND], 'get of what is not there');
    $at()->set('n', 10);
    same([$at()->increment('n', 5), $at()->decrement('n', 20), $at()->get('n')], [15, 0, 0], 'numbers');
    $client = $at();
    $got = $client->get('a', null, Memcached::GET_EXTENDED);
    same($client->cas($got['cas'], 'a', 'new'), true, 'cas');
    same($client->cas($got['cas'], 'a', 'newer'), false, 'cas with the version before');
    same($at()->get('a'), 'new', 'after cas');
    same($at()->setMulti($many, 600), true, 'setMulti');
    $got = $at()->getMulti(array_keys($many), Memcached::GET_PRESERVE_ORDER);
    same($got, $many, 'getMulti');
    same($at()->deleteMulti(array_keys($many))['many:1'], true, 'deleteMulti');
    $at()->set('big', $big);
    same($at()->get('big') === $big, true, '500,000 bytes');
    $at()->set('t', 1, 1);
    $at()->set('kept', 1, 1);
    same($at()->touch('kept', 600), true, 'touch');
    soon(fn () => $at()->get('t'), false, 'an expiry');
    same($at()->get('kept'), 1, 'what was touched');
    same([$at()->delete('kept'), $at()->delete('kept')], [true, false], 'delete');
    same($at()->flush(), true, 'flush');
    same($at()->get('big'), false, 'after flush');
}

foreach ([false, true] as $binary) {
    $with = function (array $nodes) use ($binary) {
        $client = new Memcached();
        $client->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
        $client->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
        $client->addServers(array_map(fn ($node) => [$node[0], (int) $node[1]], $nodes));
        return $client;
    };
    all_of(by_turns(array_map(fn ($node) => $with([$node]), $nodes)), $many, $big);
    $spread = $with($nodes);
    all_of(fn () => $spread, $many, $big);
}
