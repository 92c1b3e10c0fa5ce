-- The keys and bytes of the patterns for which users have limits, counted beside the data.  meta's `quotas` has the
-- revision for which the counts are right, and a line for each pattern: PATTERN KEYS BYTES SEEN REACHED.  What writes
-- and does not know of them leaves the revision behind, and then they count for nothing, and are made anew.
-- Bytes are those of keys and values.  SEEN: the store's clock when a limit was last asked for, within a minute.
-- REACHED: `*`, or the key up to which there is a count so far: it is made in pieces, in the order of the keys.
local PIECE = 500 -- keys that are counted in one call: their records have up to 4 KiB each
local MINUTE, DAY = 60000, 86400000 -- ms; a count for which no limit was asked for a day is dropped
local WHOLE = '*'

-- The bytes of a record's value, all that there is of one that cannot be read.
local function length_of(raw)
  local kind, at = string.match(raw, '^%d+ %d+ (%a)[^ ]* ()')
  return (kind == 'T' or kind == 'B') and tonumber(string.sub(raw, at)) or #raw - (at or 1) + 1
end

-- It is made where it is needed, for that takes as long as a write.
-- text: the field, or false; at: the store's revision
local function new_quotas(text, at)
  -- waits: the count that is not whole, and for which a write waits
  local quotas = {waits = false}
  -- Counts by pattern, by key, and by the lengths of prefixes.
  local counts, by_key, by_prefix, lengths = {}, {}, {}, {}
  -- The limits of the next write: pattern, most keys, most bytes; and the counts before the transaction, if it is one.
  local limits, before, read = {}, false, {}

  local function add(pattern, keys, bytes, seen, reached)
    local count = {pattern = pattern, keys = keys, bytes = bytes, seen = seen, reached = reached}
    counts[pattern] = count
    if string.sub(pattern, -1) ~= '*' then
      by_key[pattern] = count
      return count
    end
    local prefix = string.sub(pattern, 1, -2)
    if not by_prefix[#prefix] then
      by_prefix[#prefix], lengths[#lengths + 1] = {}, #prefix
    end
    by_prefix[#prefix][prefix] = count
    return count
  end

  if text and tonumber(string.match(text, '^%d+')) == at then
    for pattern, keys, bytes, seen, reached in string.gmatch(text, '\n([^ ]+) (%d+) (%d+) (%d+) ([^\n]*)') do
      add(pattern, tonumber(keys), tonumber(bytes), tonumber(seen), reached)
    end
  end

  -- Whether a key is counted anywhere.
  function quotas.has(key)
    for _, length in ipairs(lengths) do
      if by_prefix[length][string.sub(key, 1, length)] then
        return true
      end
    end
    return by_key[key] ~= nil
  end

  -- What a key takes, its value having so many bytes, or none if it is not there, more than with its record before.
  local function growth(key, raw, length)
    return (length and 1 or 0) - (raw and 1 or 0),
      (length and #key + length or 0) - (raw and #key + length_of(raw) or 0)
  end

  -- A key has a value of so many bytes now, or is gone (nil), that had a record, or was not there (false).
  function quotas.count(key, raw, length)
    local keys, bytes
    local function change(count)
      if count and (count.reached == WHOLE or not precedes(count.reached, key)) then
        if not keys then
          keys, bytes = growth(key, raw, length)
        end
        count.keys, count.bytes = count.keys + keys, count.bytes + bytes
      end
    end
    change(by_key[key])
    for _, size in ipairs(lengths) do
      change(by_prefix[size][string.sub(key, 1, size)])
    end
  end

  local function parsed(given)
    if not read[given] then
      local found = {}
      for pattern, keys, bytes in string.gmatch(given, '([^ ]+) (%S+) (%S+)\n') do
        found[#found + 1] = {pattern, tonumber(keys), tonumber(bytes)}
      end
      read[given] = found
    end
    return read[given]
  end

  -- The limits that hold for the next write; whether all that they are for is counted.
  function quotas.limit(given, now)
    limits = parsed(given)
    for _, limit in ipairs(limits) do
      local count = counts[limit[1]] or add(limit[1], 0, 0, now, '')
      if now - count.seen > MINUTE then
        count.seen = now
      end
      if count.reached ~= WHOLE then
        quotas.waits = count
        return false
      end
    end
    return true
  end

  -- From now on no limits hold.
  function quotas.free()
    limits = {}
  end

  local function matches(pattern, key)
    return pattern == key or
      string.sub(pattern, -1) == '*' and string.sub(key, 1, #pattern - 1) == string.sub(pattern, 1, -2)
  end

  local function refused(word, most, pattern)
    return 'q' .. word .. string.format('%.0f', most) .. ':' .. pattern
  end

  -- The outcome if a write would go over a limit.  What makes less of it is none that does.  Of a transaction the end
  -- alone is looked at.
  function quotas.hindrance(key, raw, length)
    local keys, bytes
    for _, limit in ipairs(before and {} or limits) do
      local pattern, most_keys, most_bytes = limit[1], limit[2], limit[3]
      if matches(pattern, key) then
        if not keys then
          keys, bytes = growth(key, raw, length)
        end
        local count = counts[pattern]
        if most_keys and keys > 0 and count.keys + keys > most_keys then
          return refused('k', most_keys, pattern)
        elseif most_bytes and bytes > 0 and count.bytes + bytes > most_bytes then
          return refused('b', most_bytes, pattern)
        end
      end
    end
  end

  -- A transaction begins; what to go back to.
  function quotas.begin()
    before = {}
    for pattern, count in pairs(counts) do
      before[pattern] = {count.keys, count.bytes}
    end
    return before
  end

  -- It is over; the outcome if it has gone over a limit.
  function quotas.finish(saved)
    before = false
    for _, limit in ipairs(limits) do
      local pattern, most_keys, most_bytes = limit[1], limit[2], limit[3]
      local count, old = counts[pattern], saved[pattern]
      if most_keys and count.keys > most_keys and count.keys > old[1] then
        return refused('k', most_keys, pattern)
      elseif most_bytes and count.bytes > most_bytes and count.bytes > old[2] then
        return refused('b', most_bytes, pattern)
      end
    end
  end

  function quotas.go_back(saved)
    before = false
    for pattern, count in pairs(counts) do
      count.keys, count.bytes = unpack(saved[pattern])
    end
  end

  -- Counts one piece of what a write waits for, once all that was to be done is done.
  function quotas.count_piece(data, index)
    local count = quotas.waits
    local is_prefix, prefix = string.sub(count.pattern, -1) == '*', string.sub(count.pattern, 1, -2)
    local keys = {count.pattern}
    if is_prefix then
      local least = count.reached == '' and '[' .. prefix or '(' .. count.reached
      -- Keys are UTF-8, which has no byte 0xFF.
      keys = redis.call('ZRANGEBYLEX', index, least, '(' .. prefix .. '\255', 'LIMIT', 0, PIECE)
    end
    for i, raw in ipairs(#keys > 0 and redis.call('HMGET', data, unpack(keys)) or {}) do
      if raw then
        count.keys, count.bytes = count.keys + 1, count.bytes + #keys[i] + length_of(raw)
      end
    end
    count.reached = is_prefix and #keys == PIECE and keys[PIECE] or WHOLE
  end

  -- Keeps the counts, which are right for a revision.  now: the store's clock
  function quotas.save(meta, revision, now)
    local lines = {}
    for _, count in pairs(counts) do
      if now - count.seen < DAY then
        lines[#lines + 1] = string.format('\n%s %.0f %.0f %.0f %s', count.pattern, count.keys, count.bytes, count.seen,
          count.reached)
      end
    end
    if #lines > 0 then
      redis.call('HSET', meta, 'quotas', string.format('%.0f', revision) .. table.concat(lines))
    elseif text then
      redis.call('HDEL', meta, 'quotas')
    end
  end

  return quotas
end
