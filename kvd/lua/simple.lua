-- Applies a batch of simple writes that are not all SETs without a time to live (set.lua): short texts, with or without
-- one, and additions; no conditions.  Consecutive revisions, one log entry, once.  A PUT with a time to live takes half
-- the work that it is to write.lua.
-- PARTS: batch order quotas replaced
-- KEYS: data big index ttl log meta replaced owned
-- ARGV: daemon number clock runs crcs pairs; runs: for each run of writes that are alike its life, a space, how many, a
--   space; life: the time to live in ms, 0 for none, or + where values are amounts to add; crcs: the CRC-32, in hex, of
--   each value longer than SHORT; pairs, each an argument: key value ...
-- RETURNS: = and the first revision, on which the others follow; or the outcomes as of write.lua, if some are sums; or
--   nothing, if that is for write.lua: a key lives with another, or others with it, or it is counted (quotas.lua), or a
--   number or sum is too long; or the error FENCED, LAYOUT or SPENT, or OOM if the memory is full, and nothing was done
local SHORT = 64 -- bytes; of a longer value its CRC-32 is in the digest in its place
local DIGITS = 16 -- of a number that is not added here
local FIRST = 6 -- the place of the first key
local ARGV, last = ARGV, #ARGV
local sub = string.sub
local quotas = kept[8] and new_quotas(kept[8], revision)
local now = store_clock(kept[3], clock)
local moment = format(INTEGER, now)

-- Records are asked for where they may tell of more than themselves, or are added to.
local records, ended, waiting, dropped = {}, {}, {}, {}
local adds = find(ARGV[4], '+', 1, true)
local tell = may_tell(moment)
if tell or adds or quotas then
  local keys, n = {}, 0
  for i = FIRST, last, 2 do
    n = n + 1
    keys[n] = ARGV[i]
    if quotas and quotas.has(ARGV[i]) then
      return finish(kept[3], '')
    end
  end
  local raws = redis.call('HMGET', data, unpack(keys))
  for i = 1, n do
    records[keys[i]] = raws[i]
  end
end
if tell then
  ended, waiting, dropped = look_at(records, now)
  if not ended then
    return finish(kept[3], '')
  end
  for _, key in ipairs(ended) do
    records[key] = false
  end
end

-- What goes to the log: the ends of expired keys come first.  Each value makes room for its record.
local changes, size = ends_of(ended)
local place, first, crc, at = #changes, revision + #ended + 1, 1, FIRST
local digests, outcomes, results, ttls, timed, lasting = {}, {}, 0, {}, 0, false
local tens, ones = tens_of(first - 1)

-- What a key's number and an amount come to, as text, and the deadline; nothing if it has none, or that is too long.
local function sum_of(raw, amount)
  local deadline, value = '0', '0'
  if raw then
    deadline, value = match(raw, '^%d+ (%d+) t (%-?[1-9]%d*)$')
    if not value then
      deadline, value = match(raw, '^%d+ (%d+) t (0)$')
    end
  end
  if value and #value < DIGITS and #amount < DIGITS then
    return format(INTEGER, value + amount), deadline
  end
end

local life, deadline, middle, name
for given, count in string.gmatch(ARGV[4], '(%S+) (%d+) ') do
  local after = at + 2 * count
  if given ~= life and given ~= '+' then
    life, deadline = given, given == '0' and given or format(INTEGER, now + 1 + given)
    middle, name = ' ' .. deadline .. ' t ', given == '0' and '' or ' ;d' .. deadline
    lasting = lasting or given == '0'
  end
  if given == '+' then
    for i = at, after - 1, 2 do
      local key = ARGV[i]
      local sum, before = sum_of(records[key], ARGV[i + 1])
      if not sum then
        return finish(kept[3], '')
      end
      place, size, ones = place + 2, size + #key + #sum, ones + 1
      if ones == 10 then
        tens, ones = tens_of(revision + place / 2)
      end
      changes[place - 1], changes[place] = before == '0' and 't' .. key or 't' .. key .. ' ;d' .. before, sum
      local record = tens .. ONES[ones] .. ' ' .. before .. ' t ' .. sum
      ARGV[i + 1], records[key], results = record, record, results + 1
      outcomes[results] = sum
    end
  else
    for i = at, after - 1, 2 do
      local key, value = ARGV[i], ARGV[i + 1]
      place, size, ones = place + 2, size + #key + #value, ones + 1
      if ones == 10 then
        tens, ones = tens_of(revision + place / 2)
      end
      changes[place - 1], changes[place] = 't' .. key .. name, value
      if #value > SHORT then
        digests[place], crc = sub(ARGV[5], crc, crc + 7), crc + 8
      end
      timed = timed + 2
      ttls[timed - 1], ttls[timed] = deadline, key
      local record = tens .. ONES[ones] .. middle .. value
      ARGV[i + 1] = record
      if adds then
        records[key], results = record, results + 1
        outcomes[results] = tens .. ONES[ones]
      end
    end
  end
  at = after
end
local reached = revision + place / 2
if reached > LAST then
  return redis.error_reply('SPENT its revisions are used up: it stands at ' .. kept[2] .. ', and they end at 2^53')
end

-- The effects.
local parts = changes
if crc > 1 then
  parts = {unpack(changes)}
  for i, digits in pairs(digests) do
    parts[i] = digits
  end
end
revision, bytes = reached, bytes + size
append('s' .. sub(redis.sha1hex(table.concat(parts, '\n')), 1, 8), moment, unpack(changes))
if redis.call('HSET', data, unpack(ARGV, FIRST)) > 0 then
  local added = {}
  for i = FIRST, last, 2 do
    added[#added + 1], added[#added + 2] = 0, ARGV[i]
  end
  redis.call('ZADD', index, unpack(added))
end
if lasting then
  -- The last one counts.
  local deadlines = {}
  for i = 1, timed, 2 do
    deadlines[ttls[i + 1]] = ttls[i]
  end
  ttls, timed = {}, 0
  for key, deadline in pairs(deadlines) do
    if deadline == '0' then
      ended[#ended + 1] = key
    else
      timed = timed + 2
      ttls[timed - 1], ttls[timed] = deadline, key
    end
  end
end
forget(ended, waiting, dropped)
if timed > 0 then
  redis.call('ZADD', ttl, unpack(ttls))
end
if quotas then
  quotas.save(meta, revision, now)
end
return finish(moment, adds and table.concat(outcomes, ' ') or '=' .. format(INTEGER, first))
