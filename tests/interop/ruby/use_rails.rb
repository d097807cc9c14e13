# Rails' cache stores, without the rest of Rails: mem_cache_store over dalli and redis_cache_store over redis-rb.
require_relative 'check'
require 'active_support'
require 'active_support/cache'
require 'active_support/cache/mem_cache_store'
require 'active_support/cache/redis_cache_store'
require 'active_support/notifications'

def all_of(a, b)
  same a.write('k', { 'a' => [1, 'ä'] }, expires_in: 60) ? true : false, true
  same b.read('k'), { 'a' => [1, 'ä'] }
  same a.write('k', 1, unless_exist: true) ? true : false, false
  same b.exist?('k'), true
  same a.fetch('computed', expires_in: 60) { 42 }, 42
  same b.fetch('computed') { 43 }, 42
  same a.fetch('race', expires_in: 60, race_condition_ttl: 5) { 1 }, 1
  a.write('n', 10, raw: true)
  same [b.increment('n', 5), a.decrement('n', 3), b.read('n', raw: true).to_i], [15, 12, 12]
  a.write_multi('m:1' => 1, 'm:2' => 2)
  same b.read_multi('m:1', 'm:2', 'm:3'), { 'm:1' => 1, 'm:2' => 2 }
  same b.fetch_multi('m:2', 'm:3') { |key| key }, { 'm:2' => 2, 'm:3' => 'm:3' }
  a.write('big', BIG)
  same b.read('big'), BIG
  same a.delete('k') ? true : false, true
  same b.read('k'), nil
  a.write('t', 1, expires_in: 1)
  soon(nil) { b.read('t') }
end

def patterns(a, b)
  a.delete_matched('m:*')
  same b.read_multi('m:1', 'm:2'), {}
end

failed = ->(method:, returning:, exception:) { raise exception }
redis = NODES.map { |node| ActiveSupport::Cache::RedisCacheStore.new(url: "redis://#{node}/0", namespace: 'site', error_handler: failed) }
all_of(redis[0], redis[1])
patterns(redis[1], redis[2])
redis[0].clear
same redis[1].read('big'), nil

memcached = [[NODES[0]], NODES].map { |nodes| ActiveSupport::Cache::MemCacheStore.new(*nodes, namespace: 'other') }
all_of(*memcached)
all_of(*memcached.reverse) if memcached[0].clear
