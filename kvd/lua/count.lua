-- Counts the keys of a range, without those whose deadline has passed.
-- KEYS: index ttl meta
-- ARGV: min max beginning clock; min and max as ZLEXCOUNT takes them; beginning: what keys of the range begin
--   with, or the one key itself
-- RETURNS: how many
local min, max, beginning = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local clock = redis.call('HGET', KEYS[3], 'clock')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(clock), tonumber(ARGV[4]))
local count = redis.call('ZLEXCOUNT', KEYS[1], min, max)
local clock_text = string.format('%.0f', now)
if beginning == '' then
  return count - redis.call('ZCOUNT', KEYS[2], '-inf', clock_text)
end
-- The sweep keeps the due keys few.
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', clock_text)) do
  if min == max and key == beginning or min ~= max and string.sub(key, 1, #beginning) == beginning then
    count = count - 1
  end
end
return count
