# Cache::Memcached::Fast, a client a node and one with its own ketama points over all.
use strict;
use warnings;
use Cache::Memcached::Fast;

my @nodes = @ARGV;
my $big = join '', map { chr int rand 256 } 1 .. 500_000;
my %many = map { ("many:$_" => "value $_") } 0 .. 499;
my $turn = 0;

sub same {
    my ($got, $wanted, $what) = map { defined $_ ? $_ : 'undef' } @_;
    die "$what: " . substr($got, 0, 200) . ' and not ' . substr($wanted, 0, 200) . "\n" unless $got eq $wanted;
}

# Asks until the answer is nothing; for what ends by the clock.
sub ended {
    my ($ask, $what) = @_;
    my $end = time + 8;
    while (defined $ask->()) {
        die "$what: still there after 8 seconds\n" if time > $end;
        select undef, undef, undef, 0.05;
    }
}

sub all_of {
    my ($at) = @_;
    same $at->()->set('a', '1', 600), 1, 'set';
    same $at->()->get('a'), '1', 'get at the next node';
    same $at->()->add('a', '2'), '', 'add of what is there';
    same $at->()->replace('none', '2'), '', 'replace of what is not';
    same $at->()->append('a', '2') && $at->()->prepend('a', '0'), 1, 'append and prepend';
    same $at->()->get('a'), '012', 'after append and prepend';
    my ($version, $value) = @{ $at->()->gets('a') };
    same $at->()->cas('a', $version, 'new'), 1, 'cas';
    same $at->()->cas('a', $version, 'newer'), '', 'cas with the version before';
    $at->()->set('n', 10);
    same $at->()->incr('n', 5), 15, 'incr';
    same $at->()->decr('n', 20) + 0, 0, 'decr stops at 0';
    $at->()->set('object', { a => [1, 2] });
    same $at->()->get('object')->{a}[1], 2, 'a stored object';
    $at->()->set('big', $big);
    same $at->()->get('big'), $big, '500,000 bytes';
    $at->()->set_multi(map { [$_, $many{$_}] } keys %many);
    my $got = $at->()->get_multi(keys %many);
    same join(',', map { $got->{$_} } sort keys %many), join(',', map { $many{$_} } sort keys %many), 'get_multi';
    $at->()->set('t', 'x', 1);
    $at->()->set('kept', 'x', 1);
    same $at->()->touch('kept', 600), 1, 'touch';
    ended sub { $at->()->get('t') }, 'an expiry';
    same $at->()->get('kept'), 'x', 'what was touched';
    same $at->()->delete('kept') && !$at->()->delete('kept'), 1, 'delete';
    $at->()->flush_all;
    same scalar $at->()->get('object'), undef, 'after flush_all';
}

my @clients = map { Cache::Memcached::Fast->new({ servers => [$_], io_timeout => 10 }) } @nodes;
all_of sub { $clients[$turn++ % @clients] };
my $spread = Cache::Memcached::Fast->new({ servers => \@nodes, io_timeout => 10, ketama_points => 150, nowait => 0 });
all_of sub { $spread };
