# Redis.pm.
use strict;
use warnings;
use Redis;

my @clients = map { Redis->new(server => $_) } @ARGV;
my $turn = 0;
sub at { $clients[$turn++ % @clients] }

sub same {
    my ($got, $wanted, $what) = map { defined $_ ? $_ : 'undef' } @_;
    die "$what: " . substr($got, 0, 200) . ' and not ' . substr($wanted, 0, 200) . "\n" unless $got eq $wanted;
}

same at()->set('a', '1', 'EX', 600), 'OK', 'set';
same at()->get('a'), '1', 'get at the next node';
same at()->setnx('a', '2'), 0, 'setnx of what is there';
same join(',', at()->incr('n'), at()->incrby('n', 9), at()->decr('n')), '1,10,9', 'numbers';
at()->mset(map { ("many:$_" => $_) } 0 .. 299);
same join(',', at()->mget(map { "many:$_" } 0 .. 299)), join(',', 0 .. 299), 'mget';
my $one = at;
$one->multi;
$one->set('p', 1);
$one->incr('p');
same join(',', $one->exec), 'OK,2', 'a transaction';
same join(',', sort(at()->keys('many:1?'))), join(',', map { "many:$_" } 10 .. 19), 'keys';
at()->psetex('t', 300, 'x');
my $end = time + 8;
select undef, undef, undef, 0.05 while defined at()->get('t') && time < $end;
same at()->get('t'), undef, 'an expiry';
same at()->info->{redis_mode}, 'standalone', 'info';
at()->flushdb;
same at()->dbsize, 0, 'after flushdb';
