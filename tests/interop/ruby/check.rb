# What the Ruby programs here share: the pool's nodes, and how to insist on something.
NODES = ARGV.freeze
BIG = Random.bytes(500_000).freeze

# A function that returns another of these clients at each call: a write goes to one node, the read after it to the next.
def by_turns(clients)
  turns = clients.cycle
  -> { turns.next }
end

def same(got, wanted)
  raise "#{got.inspect[0, 200]} and not #{wanted.inspect[0, 200]}" unless got == wanted
end

# Asks until the answer is the wanted one; for what ends by the clock, such as an expiry.
def soon(wanted, seconds = 8)
  stop = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
  until (got = yield) == wanted
    raise "still #{got.inspect[0, 200]} after #{seconds} seconds" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > stop

    sleep 0.05
  end
end
