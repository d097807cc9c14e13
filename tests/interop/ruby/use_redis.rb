# redis-rb, the client that Sidekiq and older Rails use.
require_relative 'check'
require 'redis'

at = by_turns(NODES.map { |node| Redis.new(url: "redis://#{node}/0") })
same at.call.set('a', '1', ex: 60), 'OK'
same at.call.get('a'), '1'
same at.call.set('a', '2', nx: true), false
same [at.call.incr('n'), at.call.incrby('n', 9), at.call.decrby('n', 15)], [1, 10, -5]
many = (0...300).to_h { |n| ["many:#{n}", n.to_s] }
same at.call.mapped_mset(many), 'OK'
same at.call.mapped_mget(*many.keys), many
same at.call.pipelined { |pipe| pipe.set('p', '1'); pipe.incr('p') }, ['OK', 2]
same at.call.multi { |transaction| transaction.set('p', '1'); transaction.incr('p') }, ['OK', 2]
same at.call.scan_each(match: 'many:1?').to_a.sort, (10..19).map { |n| "many:#{n}" }
at.call.set('big', BIG)
same at.call.get('big').b, BIG
at.call.psetex('t', 300, 'x')
soon(nil) { at.call.get('t') }
same at.call.del(*many.keys), many.size
begin
  at.call.lpush('list', 'x')
  raise 'a list is not refused'
rescue Redis::CommandError => error
  same error.message.start_with?("ERR unknown command 'lpush'"), true
end
same at.call.flushdb, 'OK'
same at.call.dbsize, 0
