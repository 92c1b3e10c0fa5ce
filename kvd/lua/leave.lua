-- Notes that a daemon ends in order: it has nothing to find again, should the store lose its last writes.
-- KEYS: meta
-- ARGV: daemon
-- RETURNS: nothing
local name = 'batch:' .. ARGV[1]
local batch = redis.call('HGET', KEYS[1], name)
if batch then
  local present = string.format('%.0f', machine_clock())
  redis.call('HSET', KEYS[1], name, string.match(batch, '^%d+') .. ' left ' .. present)
end
