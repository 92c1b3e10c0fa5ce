-- What simple writes replace beyond records that are as simple: ends, deadlines and large values.  Most batches replace
-- nothing of the kind, and find that out without a look at the records.

-- Whether records may tell of any.  now: the store's clock, or nothing if no key has a deadline.
local function may_tell(now)
  return now and redis.call('ZRANGEBYSCORE', ttl, '-inf', now, 'LIMIT', 0, 1)[1] or
    redis.call('EXISTS', big, KEYS[8]) > 0
end

-- What records tell, by their keys: the expired keys, in the order of their bytes; large values that the log
-- refers to, as ZADD takes them, and others.  Nothing, if a key lives with another, or others with it, or a record cannot
-- be read.
local function look_at(records, now)
  local ended, waiting, dropped = {}, {}, {}
  for key, raw in pairs(records) do
    if raw and not find(raw, '^%d+ 0 %l ') then
      local rev, deadline, kind, flags = match(raw, '^(%d+) (%d+) (%a)([^ ]*) ')
      if not rev or find(flags, ';[ow]') then
        return nil
      end
      if deadline ~= '0' and tonumber(deadline) <= tonumber(now) then
        ended[#ended + 1] = key
      end
      if kind == 'T' or kind == 'B' then
        let_go(rev, waiting, dropped)
      end
    end
  end
  table.sort(ended, precedes)
  return ended, waiting, dropped
end

-- The changes that the ends of keys are, and their bytes.
local function ends_of(ended)
  local changes, size = {}, 0
  for i, key in ipairs(ended) do
    changes[2 * i - 1], changes[2 * i], size = 'e' .. key, '', size + #key
  end
  return changes, size
end

-- The effects.  untimed: keys that have no deadline now.
local function forget(untimed, waiting, dropped)
  if #untimed > 0 then
    redis.call('ZREM', ttl, unpack(untimed))
  end
  if #waiting > 0 then
    redis.call('ZADD', replaced, unpack(waiting))
  end
  if #dropped > 0 then
    redis.call('HDEL', big, unpack(dropped))
  end
end
