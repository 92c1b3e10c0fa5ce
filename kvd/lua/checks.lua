-- What a transaction may demand beyond conditions of the keys that it writes.
local byte, sub = string.byte, string.sub
local LOOKED_AT = 1000 -- keys that are over, or gone, at the most for one batch: a millisecond
local PAGE = 8 -- of them; there are few, as a rule none
local AGAIN = 'h' -- model.AGAIN: the outcome of a transaction that is to be asked for again: too much was in the way

-- One function a demand; each gives the conflict, or nothing if what is demanded holds.
-- records: those of keys as they are in this batch, false for none; adds: what it adds to the index; is_over: whether
-- a record's time is
local function make_checks(records, adds, is_over)
  local looked_at = 0

  -- Whether one key comes before another, by their bytes: Lua compares as is the custom of some language.
  local function precedes(one, other)
    local at = 1
    while byte(one, at) and byte(one, at) == byte(other, at) do
      at = at + 1
    end
    return (byte(one, at) or -1) < (byte(other, at) or -1)
  end

  local function first_added(prefix)
    local first
    for i = 2, #adds, 2 do
      local key = adds[i]
      if records[key] and sub(key, 1, #prefix) == prefix and (not first or precedes(key, first)) then
        first = key
      end
    end
    return first
  end

  -- The first that is in the index; and whether that is not known.
  local function first_indexed(prefix)
    local from = '[' .. prefix
    while true do
      local keys = redis.call('ZRANGEBYLEX', index, from, '(' .. prefix .. '\255', 'LIMIT', 0, PAGE)
      local raws = #keys > 0 and redis.call('HMGET', data, unpack(keys))
      for i, key in ipairs(keys) do
        local raw = records[key]
        if raw == nil then
          raw = raws[i]
        end
        if raw and not is_over(raw) then
          records[key] = raw
          return key
        end
      end
      looked_at = looked_at + #keys
      if #keys < PAGE then
        return nil
      elseif looked_at > LOOKED_AT then
        return nil, true
      end
      from = '(' .. keys[#keys]
    end
  end

  -- That nothing begins so.
  local function none(prefix)
    local first, unknown = first_indexed(prefix)
    if unknown then
      return AGAIN
    end
    local added = first_added(prefix)
    if added and (not first or precedes(added, first)) then
      first = added
    end
    return first and 'c' .. match(records[first], '^%d+') .. ':' .. first
  end

  return none
end
