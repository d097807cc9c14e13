<?php
// What the PHP programs here share: the pool's nodes, and how to insist on something.
declare(strict_types=1);
error_reporting(E_ALL & ~E_DEPRECATED);
set_error_handler(function (int $level, string $text) {
    if ($level & ~(E_DEPRECATED | E_USER_DEPRECATED)) {
        throw new ErrorException($text);
    }
    return true;
});

$nodes = array_map(fn ($node) => explode(':', $node), array_slice($argv, 1));
$big = random_bytes(500_000);
$many = [];
for ($n = 0; $n < 300; $n++) {
    $many["many:$n"] = "value $n";
}

/** A function that returns another of these clients at each call: a write goes to one node, the read after it to the next. */
function by_turns(array $clients): Closure
{
    $turn = 0;
    return function () use ($clients, &$turn) {
        return $clients[$turn++ % count($clients)];
    };
}

function same(mixed $got, mixed $wanted, string $what): void
{
    if ($got !== $wanted) {
        $brief = fn ($value) => substr(var_export($value, true), 0, 200);
        throw new Exception("$what: {$brief($got)} and not {$brief($wanted)}");
    }
}

/** Asks until the answer is the wanted one; for what ends by the clock, such as an expiry. */
function soon(Closure $ask, mixed $wanted, string $what, int $seconds = 8): void
{
    $end = microtime(true) + $seconds;
    while (($got = $ask()) !== $wanted) {
        if (microtime(true) > $end) {
            same($got, $wanted, "$what, after $seconds seconds");
        }
        usleep(50_000);
    }
}
