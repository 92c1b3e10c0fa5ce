-- Checks that the store is kvd's and of this layout, and creates it if there is none.  One of an older layout is taken
-- over, if that is wanted, a piece at a time; what is left to do is in a key of its own beside big.
-- KEYS: data big index ttl log meta replaced owned
-- ARGV: takes store daemon run synced sure vouches batch known revision tidy settles
--   takes 1 or 0: whether one of an older layout is taken over; store: the id of a new one
--   run: the server's run id, "" if it has none; synced 1 or 0: whether it has writes on disk before it answers;
--   sure 0: it may have lost writes since another run, 1: not if it synced in that run as well, 2: not at all
--   vouches 1 or 0: whether the daemon lost nothing if the store has its batch `batch`, and of the history of the
--   store's id `known` all up to `revision`
--   tidy 1 or 0: without, a store of this layout is only read
--   settles 1 or 0: whether others need not find again what they wrote before, if the store is whole now
-- RETURNS: the store's id, its revision, the number of the daemon's last batch, the store's clock in ms, and whether
--   the store has all that was acknowledged: WHOLE, LOST, or OTHERS: other daemons have yet to say so of theirs; or
--   the error FOREIGN or LAYOUT, and nothing was done; or nothing: a piece was taken over, and there may be more
local MOVING = '2 to 3' -- a layout: not all large values are found by their revision yet
local OLDER = {['1'] = true, ['2'] = true, [MOVING] = true, ['3'] = true, ['4'] = true}
local PIECE = 512 * 1024 -- bytes
local RECENT = 150000 -- ms; trim.lua notes each minute which daemons are there
local TYPES = {'hash', 'hash', 'zset', 'zset', 'stream', 'hash', 'zset', 'zset'}
local found = false
for i, key in ipairs(KEYS) do
  local type = redis.call('TYPE', key).ok
  if type ~= 'none' then
    found = true
    if type ~= TYPES[i] then
      return redis.error_reply('FOREIGN ' .. key .. ' is a ' .. type .. ', not a ' .. TYPES[i] ..
        ': another program has written to it')
    elseif redis.call('PTTL', key) >= 0 then
      return redis.error_reply('FOREIGN ' .. key .. ' is about to expire as a whole, as another program had it: ' ..
        'redis-cli PERSIST "' .. key .. '" keeps it')
    end
  end
end
local meta = KEYS[6]
local present = store_clock()
local kept, refused = read_meta(meta, 'store', 'revision', 'clock')
if not kept[1] then
  if found then
    return redis.error_reply('FOREIGN there are keys of kvd, but ' .. meta .. ' does not describe them')
  end
  redis.call('HSET', meta, 'layout', LAYOUT, 'store', ARGV[2], 'revision', 0, 'floor', 0, 'clock', 0, 'bytes', 0,
    'run', ARGV[4], 'synced', ARGV[5])
  return {ARGV[2], '0', '0', string.format('%.0f', present), ARGV[8] == '0' and 'WHOLE' or 'LOST'}
end
local big, before = KEYS[2], KEYS[2] .. ':before'
if refused then
  if ARGV[1] ~= '1' or not OLDER[kept[1]] then
    return refused
  elseif ARGV[11] ~= '1' then
    return redis.error_reply('LAYOUT its layout is ' .. kept[1] .. ', and to take it over needs room to write')
  end
  -- Full memory is no obstacle: Redis looks for free memory at a script's first write only.
  redis.call('HDEL', meta, 'nothing')
end
if kept[1] == '1' or kept[1] == '2' then
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
  redis.call('HSET', meta, 'layout', LAYOUT)
elseif kept[1] == '3' or kept[1] == '4' then
  -- Entries without a digest or without flags, and records without flags, need nothing.
  redis.call('HSET', meta, 'layout', LAYOUT)
end
-- Batch numbers of daemons that have not been there for a day (trim.lua keeps them fresh) are of no more use.  But the
-- clock may have been set forward by that, or back: so one that seems old is noted first, and goes after one more day.
local DAY = 86400000 -- ms
local fields, flat = {}, redis.call('HGETALL', meta)
for i = 1, #flat, 2 do
  fields[flat[i]] = flat[i + 1]
end
local daemons, ended = {}, tonumber(kept[4])
for name, value in pairs(fields) do
  local daemon = string.match(name, '^batch:(.*)$')
  if daemon and daemon ~= ARGV[3] then
    local number, word, seen = string.match(value, '^(%d+) ?(%a*) (%d+)$')
    local age = ARGV[11] == '1' and present - tonumber(seen) or 0
    if age > DAY and word == 'old' then
      redis.call('HDEL', meta, name, 'run:' .. daemon)
      for slot = 0, 7 do
        redis.call('HDEL', meta, 'reply:' .. daemon .. ':' .. slot)
      end
    elseif math.abs(age) > DAY then
      redis.pcall('HSET', meta, name, string.format('%s%s %.0f', number, age > 0 and ' old' or '', present))
    end
    ended = math.max(ended, tonumber(seen))
    if word == '' then
      daemons[daemon] = tonumber(seen)
    end
  end
end

local run, synced, sure, vouches = ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1'
local batch = string.match(fields['batch:' .. ARGV[3]] or '0', '^%d+')
-- A full store is written to as well: Redis looks for free memory at a script's first write only.
local function note(name, value)
  if fields[name] ~= value and ARGV[11] == '1' then
    redis.pcall('HDEL', meta, 'nothing')
    return redis.pcall('HSET', meta, name, value)
  end
end
-- All that others wrote stands before this in the store's file, and is lost only together with it.
local function settle()
  for daemon, seen in pairs(daemons) do
    local name = 'batch:' .. daemon
    note(name, string.format('%s left %.0f', string.match(fields[name], '^%d+'), seen))
  end
end
-- Any error is that of a store that nothing can be written to, so that no revision is used twice.
local function whole()
  note('run', run)
  note('synced', synced)
  if ARGV[12] == '1' then
    settle()
  end
  return 'WHOLE'
end
-- What was lost is the end of the history, so those who wrote shortly before that must find their own.
local function others()
  for daemon, seen in pairs(daemons) do
    if seen >= ended - RECENT and fields['run:' .. daemon] ~= run then
      return true
    end
  end
  return false
end
-- The history was renewed since the daemon attached, by who came first: that goes for what it lost before, too.  It has
-- written nothing to the history of now, for batch.lua refuses who is marked as having left.
local function renewed()
  return ARGV[9] ~= '' and ARGV[9] ~= kept[2] and tonumber(kept[3]) >= tonumber(ARGV[10]) and
    string.find(fields['batch:' .. ARGV[3]] or '', ' left ', 1, true)
end
local function state()
  if tonumber(batch) < tonumber(ARGV[8]) and not renewed() or
    ARGV[9] == kept[2] and tonumber(kept[3]) < tonumber(ARGV[10]) then
    return 'LOST'
  elseif sure == '2' or run ~= '' and fields.run == run or sure == '1' and fields.synced ~= '0' then
    return whole()
  elseif run == '' then
    return vouches and whole() or 'LOST'
  end
  local failed = vouches and note('run:' .. ARGV[3], run)
  if type(failed) == 'table' and failed.err then
    return failed
  elseif others() then
    return 'OTHERS'
  end
  return vouches and whole() or 'LOST'
end
local clock = math.max(present, tonumber(kept[4]))
local found = state()
return type(found) == 'table' and found or {kept[2], kept[3], batch, string.format('%.0f', clock), found}
