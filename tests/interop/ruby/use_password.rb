# The password by dalli, which shows it by SASL; a wrong one is refused.
require_relative 'check'
require 'dalli'

Dalli.logger.level = Logger::FATAL
right = Dalli::Client.new(NODES[0], username: 'any', password: ENV.fetch('PASSWORD'))
right.set('a', 1)
same right.get('a'), 1
[{ username: 'any', password: 'wrong' }, {}].each do |options|
  got = Dalli::Client.new(NODES[0], **options).get('a')
  raise "#{got.inspect} is told to a stranger"
rescue Dalli::DalliError
  next
end
