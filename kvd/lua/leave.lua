-- Notes that a daemon ends in order: it has nothing to find again, should the store lose its last writes.
-- KEYS: meta
-- ARGV: daemon
-- RETURNS: nothing
local name = 'batch:' .. ARGV[1]
local kept, refused = read_meta(KEYS[1], name)
if refused then
  return refused
end
if kept[2] then
  local present = string.format('%.0f', store_clock())
  redis.call('HSET', KEYS[1], name, string.match(kept[2], '^%d+') .. ' left ' .. present)
end
