-- Deletes keys whose deadline has passed, the longest due first, and logs each as expired: what lives with a key in one
-- piece with it.  Safe to repeat; a few keys at a time, and those that one of them takes along.
-- PARTS: order owners quotas
-- KEYS: data big index ttl log meta replaced owned
-- ARGV: daemon clock limit
-- RETURNS: how many were deleted, the store's clock in ms, 1 if more are due than that or 0, and their deadlines, or if
--   nothing is due that of the next one, if there is one; nothing is deleted if another daemon is at it
local TURN = 20 -- ms for which a daemon that has more to delete is left alone: two would hold up others twice as long
local kept, refused = read_meta(KEYS[6], 'revision', 'clock', 'bytes', 'sweep', 'quotas')
if refused then
  return refused
end
local now = store_clock(kept[3], ARGV[2])
local clock = string.format('%.0f', now)
local by, at = string.match(kept[5] or '', '^(%x+) (%d+)$')
if by and by ~= ARGV[1] and now - tonumber(at) < TURN then
  return {0, clock, 1, {}}
end
local found = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', clock, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local due, deadlines = {}, {}
for i = 1, #found, 2 do
  due[#due + 1] = found[i]
  deadlines[#deadlines + 1] = found[i + 1]
end
if #due == 0 then
  return {0, clock, 0, {redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]}}
end
local more = #due == tonumber(ARGV[3])

-- The records of keys, which are read only where they may say anything.
local has_owners = redis.call('EXISTS', owned) > 0
local quotas = kept[6] and new_quotas(kept[6], tonumber(kept[2]))
local function records_of(keys)
  if has_owners or quotas or redis.call('HLEN', KEYS[2]) > 0 then
    return redis.call('HMGET', KEYS[1], unpack(keys))
  end
  return {}
end

local kin = has_owners and kinship(function(key)
  return redis.call('HGET', KEYS[1], key)
end)
local changes, bytes, gone, heads = {}, tonumber(kept[4]), {}, {}
local function add(letter, key)
  bytes = bytes + #key
  changes[#changes + 1] = letter .. key
  changes[#changes + 1] = ''
  gone[#gone + 1] = key
end
local seen, together = {}, 0
for i, record in ipairs(has_owners and records_of(due) or {}) do
  local flags = record and string.match(record, '^%d+ %d+ %a([^ ]*)') or ''
  local head = flags == '' and due[i] or kin.head_of(due[i], flags, '')
  if not seen[head] then
    seen[head] = true
    local others = flags == '' and {} or kin.living_with(head)
    for _, key in ipairs(others) do
      -- A capital letter: the next change belongs to the same piece.
      add('E', key)
    end
    add('e', head)
    if #others > 0 then
      heads[#heads + 1] = head
      together = together + #others + 1
    end
    if together > TOGETHER then
      more = true
      deadlines = {unpack(deadlines, 1, i)}
      break
    end
  end
end
if not has_owners then
  for _, key in ipairs(due) do
    add('e', key)
  end
end
-- Where revisions are used up, there is none for an end: to readers these are gone all the same.
if tonumber(kept[2]) + #gone >= 2 ^ 53 then
  return {0, clock, 0, {}}
end
-- Redis looks for free memory at a script's first write only: freeing must not need any.
redis.call('HDEL', KEYS[6], 'nothing')
local revision = string.format('%.0f', tonumber(kept[2]) + #gone)
local digest = string.sub(redis.sha1hex(table.concat(changes, '\n')), 1, 8)
local tag = string.format('%s:sweep s%s %s %.0f', ARGV[1], digest, clock, bytes)
redis.call('XADD', KEYS[5], revision .. '-0', 'tag', tag, unpack(changes))
for i, record in ipairs(records_of(gone)) do
  if quotas and record then
    quotas.count(gone[i], record)
  end
  local large = string.match(record or '', '^(%d+) %d+ [TB][; ]')
  -- Also what the log has dropped: the trim frees a few bytes at a time, and many large values may be due.
  if large then
    redis.call('ZADD', KEYS[7], large, large)
  end
end
redis.call('HDEL', KEYS[1], unpack(gone))
redis.call('ZREM', KEYS[3], unpack(gone))
if has_owners then
  redis.call('ZREM', KEYS[4], unpack(gone))
  for _, head in ipairs(heads) do
    redis.call('ZREMRANGEBYLEX', owned, kin.range(head))
  end
else
  -- They are the first of the set: by their ranks it takes half the time.
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, #due - 1)
end
if quotas then
  quotas.save(KEYS[6], revision, now)
end
redis.call('HSET', KEYS[6], 'revision', revision, 'clock', clock, 'bytes', string.format('%.0f', bytes))
if not more then
  return {#gone, clock, 0, deadlines}
end
redis.call('HSET', KEYS[6], 'sweep', ARGV[1] .. ' ' .. clock)
return {#gone, clock, 1, deadlines}
