-- Checks that the store is kvd's and of this layout, and creates it if there is none.  One of an older layout is taken
-- over a piece at a time; what is left to do stands in a key of its own beside big.
-- KEYS: data big index ttl log meta replaced
-- ARGV: layout store daemon tidy; without tidy, 1, a store of this layout is only read
-- RETURNS: the store's id, its revision, the number of the daemon's last batch, the store's clock in ms; or the error
--   FOREIGN, and nothing was done; or nothing: a piece was taken over, and there may be more
local MOVING = '2 to 3' -- a layout: not all large values stand by their revision yet
local PIECE = 512 * 1024 -- bytes
local TYPES = {'hash', 'hash', 'zset', 'zset', 'stream', 'hash', 'zset'}
local found = false
for i, key in ipairs(KEYS) do
  local type = redis.call('TYPE', key).ok
  if type ~= 'none' then
    found = true
    if type ~= TYPES[i] then
      return redis.error_reply('FOREIGN ' .. key .. ' is a ' .. type .. ', not a ' .. TYPES[i])
    end
  end
end
local meta = KEYS[6]
local time = redis.call('TIME')
local present = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', meta, 'layout', 'store', 'revision', 'clock')
if not kept[1] then
  if found then
    return redis.error_reply('FOREIGN there are keys of kvd, but ' .. meta .. ' does not describe them')
  end
  redis.call('HSET', meta, 'layout', ARGV[1], 'store', ARGV[2], 'revision', 0, 'floor', 0, 'clock', 0, 'bytes', 0)
  return {ARGV[2], '0', '0', string.format('%.0f', present)}
end
local big, before = KEYS[2], KEYS[2] .. ':before'
if kept[1] == '1' or kept[1] == '2' then
  -- Full memory is no obstacle: Redis looks for free memory at a script's first write only.
  redis.call('HDEL', meta, 'nothing')
  -- Large values stood by their key.  Lines in log entries are as new as 2, and need nothing.
  if redis.call('EXISTS', big) == 1 then
    redis.call('RENAME', big, before)
  end
  redis.call('HSET', meta, 'layout', MOVING)
  return {}
elseif kept[1] == MOVING then
  local size = 0
  for _, key in ipairs(redis.call('HRANDFIELD', before, 64)) do
    local value = size < PIECE and redis.call('HGET', before, key)
    if not value then
      break
    end
    local revision = string.match(redis.call('HGET', KEYS[1], key) or '', '^(%d+) %d+ [TB] ')
    if revision then
      redis.call('HSET', big, revision, value)
    end
    redis.call('HDEL', before, key)
    size = size + #value
  end
  if redis.call('EXISTS', before) == 1 then
    return {}
  end
  redis.call('HSET', meta, 'layout', ARGV[1])
elseif kept[1] ~= ARGV[1] then
  return redis.error_reply('FOREIGN its layout is ' .. kept[1] .. ', that of another version of kvd')
end
-- Batch numbers of daemons that have not been there for a day (trim.lua keeps them fresh) are of no more use.  But the
-- clock may have been set forward by that, or back: so one that seems old is noted first, and goes after one more day.
local DAY = 86400000 -- ms
local fields = ARGV[4] == '1' and redis.call('HGETALL', meta) or {}
for i = 1, #fields, 2 do
  local daemon = string.match(fields[i], '^batch:(.*)$')
  local age = daemon and daemon ~= ARGV[3] and present - tonumber(string.match(fields[i + 1], '%d+$')) or 0
  if age > DAY and string.find(fields[i + 1], ' old ', 1, true) then
    redis.call('HDEL', meta, fields[i])
    for slot = 0, 7 do
      redis.call('HDEL', meta, 'reply:' .. daemon .. ':' .. slot)
    end
  elseif math.abs(age) > DAY then
    local number = string.match(fields[i + 1], '^%d+')
    redis.pcall('HSET', meta, fields[i], string.format('%s%s %.0f', number, age > 0 and ' old' or '', present))
  end
end
local batch = redis.call('HGET', meta, 'batch:' .. ARGV[3]) or '0'
local clock = math.max(present, tonumber(kept[4]))
return {kept[2], kept[3], string.match(batch, '^%d+'), string.format('%.0f', clock)}
