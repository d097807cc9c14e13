# dalli, which speaks the binary protocol before its version 3.2, and that or the text protocol's meta commands since.
require_relative 'check'
require 'dalli'

PROTOCOLS = Gem::Version.new(Dalli::VERSION) < Gem::Version.new('3.2') ? %i[binary] : %i[binary meta]

def basics(at)
  same at.call.set('a', [1, { b: 'ä' }]) ? true : false, true
  same at.call.get('a'), [1, { b: 'ä' }]
  same at.call.add('a', 1) ? true : false, false
  same at.call.add('new', 1) ? true : false, true
  at.call.replace('none', 1)
  same at.call.get('none'), nil
  same at.call.delete('a') ? true : false, true
  same at.call.get('a'), nil
  at.call.set('raw', '1', 600, raw: true)
  at.call.append('raw', '2')
  at.call.prepend('raw', '0')
  same at.call.get('raw', raw: true), '012'
  same at.call.fetch('computed', 60) { 42 }, 42
  same at.call.fetch('computed', 60) { 43 }, 42
end

def numbers(at)
  same at.call.incr('n', 5, 600, 10), 10
  same at.call.incr('n', 5, 600, 10), 15
  same at.call.decr('n', 20), 0
  same at.call.incr('none', 1), nil
end

def versions(at)
  at.call.set('c', 1)
  same at.call.cas('c') { |value| value + 1 } ? true : false, true
  same at.call.get('c'), 2
  lost = at.call.cas('c') { |value| at.call.set('c', 9) && value + 1 }
  same [lost ? true : false, at.call.get('c')], [false, 9]
end

def many(at)
  keys = (0...300).map { |n| "many:#{n}" }
  keys.each { |key| at.call.set(key, key) }
  one = at.call
  one.multi { one.set('quiet', 1) }
  same at.call.get('quiet'), 1
  same at.call.get_multi(*keys), keys.to_h { |key| [key, key] }
  at.call.set('big', BIG)
  same at.call.get('big'), BIG
  long = 'k' * 400
  at.call.set(long, 'hashed by the client')
  same at.call.get(long), 'hashed by the client'
end

def times(at)
  at.call.set('t', 1, 1)
  at.call.set('kept', 1, 1)
  same at.call.touch('kept', 600) ? true : false, true
  same at.call.gat('kept', 600), 1
  soon(nil) { at.call.get('t') }
  same at.call.get('kept'), 1
  at.call.flush
  same at.call.get('kept'), nil
end

PROTOCOLS.each do |protocol|
  clients = NODES.map { |node| Dalli::Client.new(node, protocol: protocol, socket_timeout: 10) }
  spread = Dalli::Client.new(NODES, protocol: protocol, socket_timeout: 10, compress: true)
  [by_turns(clients), -> { spread }].each do |at|
    at.call.flush
    %i[basics numbers versions many times].each { |test| send(test, at) }
  end
end
