-- Drops the oldest log entries, until the rest is within bounds, and moves the compaction floor; then replaced values
-- that only they referred to; a few at a time.  Also notes that the daemon is there, if that was last noted a
-- minute ago.
-- KEYS: big log meta replaced
-- ARGV: changes bytes age daemon clock limit; changes, bytes, age (ms, 0 for any): what to keep at the most; limit:
--   values to drop
-- RETURNS: 1 if there is more to drop, else 0
local CHANGES = 4000 -- to drop in one call: 3 ms if each is 4 KiB in an entry of its own; and
local BYTES = 16 * 1024 * 1024 -- bytes in the values that it drops, the last one excepted
local big, log, meta, replaced = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local kept, refused = read_meta(meta, 'revision', 'bytes', 'floor', 'clock')
if refused then
  return refused
end
local revision, total, floor = tonumber(kept[2]), tonumber(kept[3]), tonumber(kept[4])
local now = store_clock(kept[5], ARGV[5])

-- The first entry that ends at or after a revision, as: its last revision, how many changes, the bytes up to it, the
-- clock then, which versions before this one did not note.
local function entry(from)
  local found = redis.call('XRANGE', log, string.format('%.0f-0', from), '+', 'COUNT', 1)[1]
  if not found then
    return nil
  end
  local fields = found[2]
  -- A field that is a number says how many changes stand in it as lines.
  local count = tonumber(fields[3]) or #fields / 2 - 1
  local clock = tonumber(string.match(fields[2], ' (%d+) %d+$'))
  return tonumber(string.match(found[1], '^%d+')), count, tonumber(string.match(fields[2], '%d+$')), clock
end

-- The first revision to keep from `low` on, if no entry before one to go is to be kept.  Revisions have no gaps, so it
-- is found by halving.
local function first_to_keep(low, goes)
  local last, _, sum, clock = entry(low)
  local high = last and goes(sum, clock) and revision + 1 or low
  while low < high do
    local middle = math.floor((low + high) / 2)
    last, _, sum, clock = entry(middle)
    if last and goes(sum, clock) then
      low = last + 1
    else
      high = middle
    end
  end
  return low
end

local low = math.max(floor, revision - tonumber(ARGV[1])) + 1
local keep = total - tonumber(ARGV[2])
low = first_to_keep(low, function(sum)
  return sum < keep
end)
if ARGV[3] ~= '0' then
  local oldest = now - tonumber(ARGV[3])
  local young = first_to_keep(low, function(_, clock)
    return not clock or clock < oldest
  end)
  -- An entry without a clock is old if one after it is.
  local _, _, _, clock = entry(young - 1)
  low = young > low and clock and young or low
end

local more, limit = 0, tonumber(ARGV[6])
local first = entry(floor + 1)
local most = math.max(floor + CHANGES, first or 0) + 1
if low > most then
  low, more = most, 1
end
-- With nothing to drop it would all the same be written to the append-only file, by Redis 6.2, and synced.
if redis.call('XRANGE', log, '-', string.format('%.0f-0', low - 1), 'COUNT', 1)[1] then
  redis.call('XTRIM', log, 'MINID', string.format('%.0f-0', low))
  local last, count = entry(low)
  floor = last and last - count or revision
  redis.call('HSET', meta, 'floor', string.format('%.0f', floor))
end

local values, size = {}, 0
for _, value in ipairs(redis.call('ZRANGEBYSCORE', replaced, '-inf', string.format('%.0f', floor), 'LIMIT', 0, limit)) do
  if size < BYTES then
    values[#values + 1] = value
    size = size + redis.call('HSTRLEN', big, value)
  end
end
if #values > 0 then
  redis.call('HDEL', big, unpack(values))
  redis.call('ZREM', replaced, unpack(values))
end
if #values == limit or size >= BYTES then
  more = 1
end

-- Last, for it needs memory, which what was done before may have made free.
local batch = redis.call('HGET', meta, 'batch:' .. ARGV[4])
if batch and tonumber(string.match(batch, '%d+$')) < now - 60000 then
  local said = string.match(batch, '^%d+ left') or string.match(batch, '^%d+')
  redis.call('HSET', meta, 'batch:' .. ARGV[4], string.format('%s %.0f', said, now))
end
return more
