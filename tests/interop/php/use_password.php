<?php
// The password by php-memcached, which is libmemcached's SASL; a wrong one is refused.
require __DIR__ . '/check.php';

$with = function (string $password) use ($nodes) {
    $client = new Memcached();
    $client->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
    $client->setSaslAuthData('any', $password);
    $client->addServer($nodes[0][0], (int) $nodes[0][1]);
    return $client;
};
$right = $with(getenv('PASSWORD'));
same([$right->set('a', 1), $right->get('a')], [true, 1], 'with the password');
same([$with('wrong')->set('a', 2), $with('wrong')->get('a'), $right->get('a')], [false, false, 1], 'a wrong password');
