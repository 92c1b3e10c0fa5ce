-- Applies a batch of simple SETs, of texts that are kept in their records: consecutive revisions, one log entry, once.
-- Most batches are such, and take a third of the work of others.
-- PARTS: batch order quotas
-- KEYS: data big index ttl log meta replaced owned
-- ARGV: daemon number clock digest lines; lines: for each SET the key, a space, the text, a line feed; digest: that of
--   the lines, for the log entry
-- RETURNS: = and the first revision, on which the others follow; or nothing, if one of the keys lives with another, or
--   others with it, or it is counted (quotas.lua): those are for write.lua; or the error FENCED, LAYOUT or SPENT, or OOM if the memory is full, and
--   nothing was done
local digest, lines = ARGV[4], ARGV[5]
local keys, sets, n = {}, {}, 0
local at, length, sub = 1, #lines, string.sub
local tens, ones = tens_of(revision)
while at <= length do
  -- Searched for as they are, for patterns look at each character.
  local space = find(lines, ' ', at, true)
  local stop = find(lines, '\n', space, true)
  local key = sub(lines, at, space - 1)
  n, ones, at = n + 1, ones + 1, stop + 1
  if ones == 10 then
    tens, ones = tens_of(revision + n)
  end
  keys[n] = key
  sets[2 * n - 1], sets[2 * n] = key, tens .. ONES[ones] .. ' 0 t' .. sub(lines, space, stop - 1)
end
local quotas = kept[8] and new_quotas(kept[8], revision)
if quotas then
  for i = 1, n do
    if quotas.has(keys[i]) then
      return finish(kept[3], '')
    end
  end
end
-- Where no deadline is looked at, the daemon's clock will do.
local now = tonumber(clock) > tonumber(kept[3]) and clock or kept[3]

-- What is replaced that has a deadline, or is large: ends are changes.  Where nothing has or is, nothing replaced is.
local ends, timed, waiting, dropped
local ended = 0 -- bytes of the keys of ends
if redis.call('ZCARD', ttl) > 0 or redis.call('HLEN', big) > 0 or redis.call('EXISTS', KEYS[8]) > 0 then
  local seen = {}
  for i, raw in ipairs(redis.call('HMGET', data, unpack(keys))) do
    local key = keys[i]
    if raw and not find(raw, '^%d+ 0 %l ') and not seen[key] then
      if not ends then
        ends, timed, waiting, dropped, now = {}, {}, {}, {}, format(INTEGER, store_clock(kept[3], clock))
      end
      seen[key] = true
      local rev, deadline, kind, flags = match(raw, '^(%d+) (%d+) (%a)([^ ]*)')
      if find(flags, ';[ow]') then
        return finish(now, '')
      end
      if deadline ~= '0' then
        timed[#timed + 1] = key
        if tonumber(deadline) <= tonumber(now) then
          ends[#ends + 1], ends[#ends + 2], ended = 'e' .. key, '', ended + #key
        end
      end
      if kind == 'T' or kind == 'B' then
        -- As long as the log has its change, it refers to the value.
        if tonumber(rev) > floor then
          waiting[#waiting + 1], waiting[#waiting + 2] = rev, rev
        else
          dropped[#dropped + 1] = rev
        end
      end
    end
  end
end
if revision + n + (ends and #ends / 2 or 0) > LAST then
  return redis.error_reply('SPENT its revisions are used up: it stands at ' .. kept[2] .. ', and they end at 2^53')
end

-- The effects.  The ends of keys whose time was over have an entry of their own, before that of the lines.
if ends and #ends > 0 then
  revision, bytes = revision + #ends / 2, bytes + ended
  append('s' .. string.sub(redis.sha1hex(table.concat(ends, '\n')), 1, 8), now, unpack(ends))
  for i = 1, n do
    sets[2 * i] = format(INTEGER, revision + i) .. match(sets[2 * i], '^%d+(.*)$')
  end
end
local answer = format('=' .. INTEGER, revision + 1)
revision, bytes = revision + n, bytes + #lines - 2 * n
append(digest, now, n, lines)
if redis.call('HSET', data, unpack(sets)) > 0 then
  for i = 1, n do
    sets[2 * i - 1], sets[2 * i] = 0, keys[i]
  end
  redis.call('ZADD', index, unpack(sets))
end
if ends then
  if #timed > 0 then
    redis.call('ZREM', ttl, unpack(timed))
  end
  if #waiting > 0 then
    redis.call('ZADD', replaced, unpack(waiting))
  end
  if #dropped > 0 then
    redis.call('HDEL', big, unpack(dropped))
  end
end
if quotas then
  quotas.save(meta, revision, tonumber(now))
end
return finish(now, answer)
