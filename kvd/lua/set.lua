-- Applies a batch of simple SETs, of texts that are kept in their records: consecutive revisions, one log entry, once.
-- Most batches are such, and take a third of the work of others.
-- PARTS: batch order quotas replaced
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
local any_timed = redis.call('ZCARD', ttl) > 0
local now = tonumber(clock) > tonumber(kept[3]) and clock or kept[3]
if any_timed then
  now = format(INTEGER, store_clock(kept[3], clock))
end
local ended, waiting, dropped = {}, {}, {}
if may_tell(any_timed and now) then
  local records, raws = {}, redis.call('HMGET', data, unpack(keys))
  for i = 1, n do
    records[keys[i]] = raws[i]
  end
  ended, waiting, dropped = look_at(records, now)
  if not ended then
    return finish(now, '')
  end
end
if revision + n + #ended > LAST then
  return redis.error_reply('SPENT its revisions are used up: it stands at ' .. kept[2] .. ', and they end at 2^53')
end

-- The effects.  The ends of expired keys have an entry of their own, before that of the lines.
if #ended > 0 then
  local ends, size = ends_of(ended)
  revision, bytes = revision + #ended, bytes + size
  append('s' .. sub(redis.sha1hex(table.concat(ends, '\n')), 1, 8), now, unpack(ends))
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
forget(any_timed and keys or {}, waiting, dropped)
if quotas then
  quotas.save(meta, revision, tonumber(now))
end
return finish(now, answer)
