-- Drops the oldest log entries, until the rest is within bounds, and moves the compaction floor; then replaced values
-- that only they referred to, a few at a time; also notes that the daemon is there, if that was last noted an hour ago.
-- KEYS: big log meta replaced
-- ARGV: changes bytes daemon limit; changes and bytes: what to keep at the most; limit: values to drop
-- RETURNS: how many values were dropped
local big, log, meta, replaced = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local kept = redis.call('HMGET', meta, 'revision', 'bytes', 'floor')
local revision, total, floor = tonumber(kept[1]), tonumber(kept[2]), tonumber(kept[3])

-- The first entry that ends at or behind a revision, as: its last revision, how many changes, the bytes up to it.
local function entry(from)
  local found = redis.call('XRANGE', log, string.format('%.0f-0', from), '+', 'COUNT', 1)[1]
  if not found then
    return nil
  end
  local fields = found[2]
  -- A field that is a number says how many changes stand in it as lines.
  local count = tonumber(fields[3]) or #fields / 2 - 1
  return tonumber(string.match(found[1], '^%d+')), count, tonumber(string.match(fields[2], '%d+$'))
end

-- Revisions have no gaps, so the first one to keep is found by halving.
local low, high = math.max(floor, revision - tonumber(ARGV[1])) + 1, revision
local keep = total - tonumber(ARGV[2])
local _, _, upto = entry(low)
if upto and upto < keep then
  while low < high do
    local middle = math.floor((low + high) / 2)
    local last, _, sum = entry(middle)
    if sum < keep then
      low = last + 1
    else
      high = middle
    end
  end
end
if redis.call('XTRIM', log, 'MINID', string.format('%.0f-0', low)) > 0 then
  local last, count = entry(low)
  floor = last and last - count or revision
  redis.call('HSET', meta, 'floor', string.format('%.0f', floor))
end
local values = redis.call('ZRANGEBYSCORE', replaced, '-inf', string.format('%.0f', floor), 'LIMIT', 0, ARGV[4])
if #values > 0 then
  redis.call('HDEL', big, unpack(values))
  redis.call('ZREM', replaced, unpack(values))
end

-- Last, for it needs memory, which what was done before may have made free.
local batch = redis.call('HGET', meta, 'batch:' .. ARGV[3])
local now = redis.call('TIME')[1] * 1000
if batch and tonumber(string.match(batch, '%d+$')) < now - 3600000 then
  redis.call('HSET', meta, 'batch:' .. ARGV[3], string.format('%s %.0f', string.match(batch, '^%d+'), now))
end
return #values
