-- Counts the keys of a range, without those whose deadline has passed, as of one moment.
-- Where both the range and what is due are long, that takes several calls: each looks at some of the due keys, in the
-- order of their deadlines, above and below those that calls before it looked at.  They can only become fewer, from
-- below by the sweep; if any of those that were looked at has gone, all are looked at anew.
-- KEYS: index ttl meta
-- ARGV: min max beginning clock looking lowest highest looked found; min and max as ZLEXCOUNT takes them; beginning:
--   what keys of the range begin with, or the one key itself; looking: 1, or 0 to give up instead; the others as
--   returned by the call before, lowest "" at first
-- RETURNS: how many; or nothing, given up; or lowest, highest, looked, found: between which due keys all were looked
--   at, how many those are, how many of them are in the range
local LIMIT = 1000 -- keys to look at in one call, which takes a millisecond
local index, ttl = KEYS[1], KEYS[2]
local min, max, beginning = ARGV[1], ARGV[2], ARGV[3]
local kept, refused = read_meta(KEYS[3], 'clock')
if refused then
  return refused
end
local now = store_clock(kept[2], ARGV[4])
local count = redis.call('ZLEXCOUNT', index, min, max)
local due = redis.call('ZCOUNT', ttl, '-inf', string.format('%.0f', now))
if due == 0 or count == 0 then
  return count
elseif beginning == '' then
  return count - due
elseif count <= LIMIT then
  local keys = redis.call('ZRANGEBYLEX', index, min, max)
  for _, deadline in ipairs(redis.call('ZMSCORE', ttl, unpack(keys))) do
    if deadline and tonumber(deadline) <= now then
      count = count - 1
    end
  end
  return count
elseif due > LIMIT and ARGV[5] == '0' then
  return false
end

-- Ranks of the due keys that were looked at; what is due is those from 0 to due - 1.
local first, last, found = due, due - 1, 0
if ARGV[6] ~= '' then
  local lowest, highest = redis.call('ZRANK', ttl, ARGV[6]), redis.call('ZRANK', ttl, ARGV[7])
  if lowest and highest and highest < due and highest - lowest + 1 == tonumber(ARGV[8]) then
    first, last, found = lowest, highest, tonumber(ARGV[9])
  end
end
local function look(from, to)
  if from <= to then
    for _, key in ipairs(redis.call('ZRANGE', ttl, from, to)) do
      if string.sub(key, 1, #beginning) == beginning then
        found = found + 1
      end
    end
  end
end
local above = math.min(LIMIT, due - 1 - last)
look(last + 1, last + above)
local below = math.min(LIMIT - above, first)
look(first - below, first - 1)
first, last = first - below, last + above
if first == 0 and last == due - 1 then
  return count - found
end
local lowest, highest = redis.call('ZRANGE', ttl, first, first)[1], redis.call('ZRANGE', ttl, last, last)[1]
return {lowest, highest, last - first + 1, found}
