-- Adds to numbers while a batch of writes runs.

-- Keeps the deadline, and the flags.
local function increment(key, raw, simple, amount)
  local deadline, flags, value = '0', '', '0'
  if raw then
    deadline, flags, value = match(raw, '^%d+ (%d+) t([^ ]*) (%-?[1-9]%d*)$')
    if not value then
      deadline, flags, value = match(raw, '^%d+ (%d+) t([^ ]*) (0)$')
    end
    if not value then
      return 'a'
    end
  end
  local sum
  if #value < 16 and #amount < 16 then
    sum = format(INTEGER, value + amount)
  elseif #value > 20 then
    return 'o'
  else
    -- Beyond 2^52 Redis adds: it has 64-bit integers.
    redis.call('HSET', meta, 'scratch', value)
    local added = redis.pcall('HINCRBY', meta, 'scratch', amount)
    sum = redis.call('HGET', meta, 'scratch')
    redis.call('HDEL', meta, 'scratch')
    local least = '-9223372036854775808'
    if type(added) == 'table' or value == least or sum == least then
      return 'o'
    end
  end
  local outcome = put(key, raw, simple, 't', flags, sum, deadline)
  return find(outcome, '^q') and outcome or sum
end
