-- Applies the items of a batch, which are writes and transactions, some of them within limits.

-- One write or transaction: what it comes to, and where the next one begins.
local function item(from)
  local letter = ARGV[from]
  if letter == 'm' then
    return transaction(from + 2, tonumber(ARGV[from + 1]))
  end
  local outcome = full and letter ~= 'd' and letter ~= 'x' and 'f' or single(from, false)
  return outcome, from + ((letter == 'p' or letter == 'w') and 6 or 3)
end

local limited_item
if limited then
  -- Ends expired keys, once: whether there were any.
  local ended = false
  local function end_due()
    if ended then
      return false
    end
    ended, undo = true, {}
    local due = redis.call('ZRANGEBYSCORE', ttl, '-inf', format(INTEGER, present_time()), 'LIMIT', 0, TOGETHER)
    for _, key in ipairs(due) do
      if records[key] == nil then
        records[key] = redis.call('HGET', data, key)
      end
      present(key)
    end
    return #due > 0
  end

  -- The same as item within limits; nothing, if what these are for is to be counted first.
  limited_item = function(from)
    if not quotas.limit(ARGV[from + 1], now) then
      return nil, last + 1
    end
    local outcome, till = item(from + 2)
    if outcome and find(outcome, '^q') and end_due() then
      outcome, till = item(from + 2)
    end
    quotas.free()
    return outcome, till
  end
end
