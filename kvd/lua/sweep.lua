-- Deletes keys whose deadline has passed, the longest due first, and logs each as expired.  Safe to repeat; a few keys
-- at a time.
-- KEYS: data big index ttl log meta replaced
-- ARGV: daemon clock limit
-- RETURNS: how many were deleted, the store's clock in ms, 1 if more are due than that or 0; nothing is deleted if
--   another daemon is at it
local TURN = 20 -- ms for which a daemon that has more to delete is left alone: two would hold up others twice as long
local kept, refused = read_meta(KEYS[6], 'revision', 'clock', 'bytes', 'sweep')
if refused then
  return refused
end
local now = store_clock(kept[3], ARGV[2])
local clock = string.format('%.0f', now)
local by, at = string.match(kept[5] or '', '^(%x+) (%d+)$')
if by and by ~= ARGV[1] and now - tonumber(at) < TURN then
  return {0, clock, 1}
end
local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', clock, 'LIMIT', 0, ARGV[3])
-- Where revisions are used up, there is none for an end: to readers these are gone all the same.
if #due == 0 or tonumber(kept[2]) + #due >= 2 ^ 53 then
  return {0, clock, 0}
end
local changes, bytes = {}, tonumber(kept[4])
for _, key in ipairs(due) do
  bytes = bytes + #key
  changes[#changes + 1] = 'e' .. key
  changes[#changes + 1] = ''
end
-- Redis looks for free memory at a script's first write only: freeing must not need any.
redis.call('HDEL', KEYS[6], 'nothing')
local revision = string.format('%.0f', tonumber(kept[2]) + #due)
local digest = string.sub(redis.sha1hex(table.concat(changes, '\n')), 1, 8)
local tag = string.format('%s:sweep s%s %s %.0f', ARGV[1], digest, clock, bytes)
redis.call('XADD', KEYS[5], revision .. '-0', 'tag', tag, unpack(changes))
if redis.call('HLEN', KEYS[2]) > 0 then
  for _, record in ipairs(redis.call('HMGET', KEYS[1], unpack(due))) do
    local large = string.match(record or '', '^(%d+) %d+ [TB][; ]')
    -- Also what the log has dropped: the trim frees a few bytes at a time, and many large values may be due.
    if large then
      redis.call('ZADD', KEYS[7], large, large)
    end
  end
end
redis.call('HDEL', KEYS[1], unpack(due))
redis.call('ZREM', KEYS[3], unpack(due))
-- They are the first of the set: by their ranks it takes half the time.
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, #due - 1)
redis.call('HSET', KEYS[6], 'revision', revision, 'clock', clock, 'bytes', string.format('%.0f', bytes))
if #due < tonumber(ARGV[3]) then
  return {#due, clock, 0}
end
redis.call('HSET', KEYS[6], 'sweep', ARGV[1] .. ' ' .. clock)
return {#due, clock, 1}
