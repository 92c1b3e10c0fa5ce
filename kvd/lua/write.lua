-- Applies a batch of writes: consecutive revisions, one log entry, once.
-- KEYS: data big index ttl log meta replaced
-- ARGV: daemon number clock form writes; if the form is plain, writes are lines in one argument: for each write, done
--   as t does it, the key, a space, the text, a line feed; else each write is one of
--   t key value, b key value: set a text or byte value without conditions
--   p key kind value ttl condition: set; ttl in ms, 0 for none; condition "", REV or REV@STORE
--   d key condition: delete
--   x key ttl: set the time to live in ms, 0 removes it
--   i key amount: add
--   m count: the next count writes (p, t, b, d, i) are a transaction: all conditions are looked at first, and
--     then all is done or nothing
-- RETURNS: the outcomes (model.Outcome), separated by spaces; or, if they are revisions that follow on each other,
--   = and the first; or the error FENCED or SPENT, and nothing was done; or OOM, and nothing was done, if the memory is
--   full and none of them is a delete or a touch, which go on then
--
-- A large value stands in big alone, by its change's revision; record and log entry refer to it.  It goes when neither
-- does: with the record if the log has dropped the change, else with the log entry (trim.lua), and waits in replaced.
--
-- A script that fails keeps what it had done, so all is computed before the first effect, and that is the
-- log's: it fails for want of memory or disk, and leaves nothing behind.  Numbers are doubles: print by INTEGER.
local data, big, index, ttl, log, meta, replaced = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local find, match, gmatch, format, sub = string.find, string.match, string.gmatch, string.format, string.sub
local LARGE = 4096 -- bytes; longer values stand apart, so that looking at a record is cheap
-- By %d it takes a third of the time, where C's long has 64 bits.
local INTEGER = format('%d', 2 ^ 40) == '1099511627776' and '%d' or '%.0f'
local LINE = '([^ ]+) ([^\n]*)\n'
local LAST = 2 ^ 53 - 1 -- revision

local daemon, number, clock = ARGV[1], ARGV[2], ARGV[3]
local kept = redis.call('HMGET', meta, 'revision', 'clock', 'store', 'batch:' .. daemon, 'bytes', 'floor')
if not kept[1] or tonumber(number) ~= tonumber(match(kept[4] or '0', '^%d+')) + 1 then
  return redis.error_reply('FENCED this batch is not the next one of this store')
end
local revision, bytes, floor = tonumber(kept[1]), tonumber(kept[5]), tonumber(kept[6])

local function spent()
  return redis.error_reply('SPENT its revisions are used up: it stands at ' .. kept[1] .. ', and they end at 2^53')
end
-- The log entry that ends at the present revision; its tag ends in the clock, as text, and the bytes up to it.
local function append(now, ...)
  local tag = daemon .. ':' .. number .. ' ' .. now .. ' ' .. format(INTEGER, bytes)
  redis.call('XADD', log, format(INTEGER, revision), 'tag', tag, ...)
end
local function finish(now, answer)
  redis.call('HSET', meta, 'revision', format(INTEGER, revision), 'bytes', format(INTEGER, bytes),
    'clock', now, 'batch:' .. daemon, number .. ' ' .. now,
    'reply:' .. daemon .. ':' .. number % 8, number .. ' ' .. answer)
  return answer
end

-- Most batches only set small texts, over small records without a deadline: a third of the work.  Nil if this one
-- does not, and nothing was done.
local function plain(lines)
  local keys, sets, n = {}, {}, 0
  for key, value in gmatch(lines, LINE) do
    if #value > LARGE then
      return nil
    end
    n = n + 1
    keys[n] = key
    sets[2 * n - 1], sets[2 * n] = key, format(INTEGER, revision + n) .. ' 0 t ' .. value
  end
  if revision + n > LAST then
    return spent()
  end
  -- Where nothing has a deadline or is large, nothing that is replaced has.
  if redis.call('ZCARD', ttl) > 0 or redis.call('HLEN', big) > 0 then
    for _, raw in ipairs(redis.call('HMGET', data, unpack(keys))) do
      if raw and not find(raw, '^%d+ 0 %l') then
        return nil
      end
    end
  end
  local answer = format('=' .. INTEGER, revision + 1)
  revision, bytes = revision + n, bytes + #lines - 2 * n
  -- No deadline is looked at, so that the daemon's clock will do.
  local now = tonumber(clock) > tonumber(kept[2]) and clock or kept[2]
  append(now, n, lines)
  if redis.call('HSET', data, unpack(sets)) > 0 then
    for i = 1, n do
      sets[2 * i - 1], sets[2 * i] = 0, keys[i]
    end
    redis.call('ZADD', index, unpack(sets))
  end
  return finish(now, answer)
end

local arguments = ARGV
if ARGV[4] == 'plain' then
  local answer = plain(ARGV[5])
  if answer then
    return answer
  end
  arguments = {daemon, number, clock, 'any'}
  for key, value in gmatch(ARGV[5], LINE) do
    arguments[#arguments + 1], arguments[#arguments + 2], arguments[#arguments + 3] = 't', key, value
  end
end
local now = store_clock(kept[2], clock)

local ARITY = {t = 3, b = 3, p = 6, d = 3, x = 3, i = 3, m = 2}
local REFERENCE = {t = 'g', b = 'h'} -- in the log, to a value in big, by its kind

-- What each key holds, before and while the batch runs.
local keys, seen = {}, {}
local BEYOND = 1.2 -- times its maximum that the memory in use may come to be by touches
local FREES = {d = true, x = true} -- goes on when memory is full
local at, only_frees, some_frees, touches = 5, true, false, false
while at <= #arguments do
  local key = arguments[at + 1]
  if arguments[at] ~= 'm' then
    if not seen[key] then
      keys[#keys + 1] = key
      seen[key] = true
    end
    only_frees = only_frees and FREES[arguments[at]]
    some_frees = some_frees or FREES[arguments[at]]
    touches = touches or arguments[at] == 'x'
  end
  at = at + ARITY[arguments[at]]
end
-- Redis looks for free memory at a script's first write only, and that must not be one that frees some.  With nothing
-- that does, the first effect will say so.
local full, tight = false, false
if some_frees and (touches or not only_frees) then
  local failed = redis.pcall('HSETNX', meta, 'revision', 0)
  full = type(failed) == 'table' and find(failed.err, 'OOM', 1, true)
end
-- To give a deadline to what has none takes some memory after all, so that has an end, too.
if full and touches then
  local info = redis.call('INFO', 'memory')
  tight = tonumber(match(info, 'used_memory:(%d+)')) > BEYOND * tonumber(match(info, 'maxmemory:(%d+)'))
end
local raws = redis.call('HMGET', data, unpack(keys))
local entries = {}
for i, key in ipairs(keys) do
  local raw = raws[i]
  if raw then
    local _, last, rev, deadline, kind = find(raw, '^(%d+) (%d+) (%a) ')
    deadline = tonumber(deadline)
    entries[key] = {revision = rev, deadline = deadline, kind = kind, raw = raw, from = last + 1,
      had = true, had_ttl = deadline > 0, large = (kind == 'T' or kind == 'B') and rev}
  else
    entries[key] = {deadline = 0}
  end
end

local changes, values = {}, {}
local function change(letter, key, size, value)
  revision = revision + 1
  bytes = bytes + #key + size
  changes[#changes + 1] = letter .. key
  changes[#changes + 1] = value
  return format(INTEGER, revision)
end

local function put(entry, key, kind, value, deadline)
  entry.deadline, entry.raw, entry.changed = deadline, nil, true
  if #value > LARGE then
    entry.kind, entry.payload = string.upper(kind), #value
    entry.revision = change(REFERENCE[kind], key, #value, #value)
    values[#values + 1] = {key, entry.revision, value}
  else
    entry.kind, entry.payload = kind, value
    entry.revision = change(kind, key, #value, value)
  end
end

local function remove(entry, letter, key)
  entry.revision, entry.deadline, entry.raw, entry.changed = nil, 0, nil, true
  return change(letter, key, 0, '')
end

local function payload(entry)
  if entry.raw then
    entry.payload, entry.raw = sub(entry.raw, entry.from), nil
  end
  return entry.payload
end

local function holds(entry, condition)
  if condition == '' then
    return true
  end
  local wanted, store = match(condition, '^(%d+)@?(.*)$')
  return wanted == (entry.revision or '0') and (store == '' or store == kept[3])
end

-- Beyond 2^52 Redis adds: it has 64-bit integers.  Nil if the sum overflows.
local function add(a, b)
  if #a < 16 and #b < 16 then
    return format(INTEGER, tonumber(a) + tonumber(b))
  end
  redis.call('HSET', meta, 'scratch', a)
  local added = redis.pcall('HINCRBY', meta, 'scratch', b)
  local sum = redis.call('HGET', meta, 'scratch')
  redis.call('HDEL', meta, 'scratch')
  if type(added) == 'table' or a == '-9223372036854775808' or sum == '-9223372036854775808' then
    return nil
  end
  return sum
end

local apply = {}
function apply.t(entry, key, value)
  put(entry, key, 't', value, 0)
  return entry.revision
end
function apply.b(entry, key, value)
  put(entry, key, 'b', value, 0)
  return entry.revision
end
function apply.p(entry, key, kind, value, life, condition)
  if not holds(entry, condition) then
    return 'c' .. (entry.revision or '0')
  end
  put(entry, key, kind, value, life == '0' and 0 or now + 1 + tonumber(life))
  return entry.revision
end
function apply.d(entry, key, condition)
  if not holds(entry, condition) then
    return 'c' .. (entry.revision or '0')
  end
  return entry.revision and remove(entry, 'd', key) or 'n'
end
function apply.x(entry, key, life)
  if not entry.revision then
    return 'n'
  elseif tight and life ~= '0' and entry.deadline == 0 then
    return 'f'
  end
  payload(entry)
  entry.deadline, entry.changed = life == '0' and 0 or now + 1 + tonumber(life), true
  return 't'
end
function apply.i(entry, key, amount)
  local value = '0'
  if entry.revision then
    value = payload(entry)
    if entry.kind ~= 't' or not (value == '0' or match(value, '^%-?[1-9]%d*$')) then
      return 'a'
    end
  end
  local sum = #value <= 20 and add(value, amount)
  if not sum then
    return 'o'
  end
  put(entry, key, 't', sum, entry.deadline)
  return sum
end

-- The entry of a key, without it if its time is over.
local function present(key)
  local entry = entries[key]
  if entry.deadline > 0 and entry.deadline <= now then
    remove(entry, 'e', key)
  end
  return entry
end

-- One write, and what it comes to.  Free: its condition was looked at.
local function single(from, free)
  local letter, key, third, sixth = arguments[from], arguments[from + 1], arguments[from + 2], arguments[from + 5]
  if free then
    if letter == 'p' then
      sixth = ''
    elseif letter == 'd' then
      third = ''
    end
  end
  return apply[letter](present(key), key, third, arguments[from + 3], arguments[from + 4], sixth)
end

local function conflict(from)
  local letter, key = arguments[from], arguments[from + 1]
  local entry = present(key)
  local condition = letter == 'p' and arguments[from + 5] or letter == 'd' and arguments[from + 2] or ''
  return not holds(entry, condition) and 'c' .. (entry.revision or '0') .. ':' .. key
end

-- All that the writes from one place to another may change, to go back to.
local function snapshot(from, behind)
  local kept_entries = {}
  while from < behind do
    local key, copy = arguments[from + 1], {}
    for name, field in pairs(entries[key]) do
      copy[name] = field
    end
    kept_entries[key] = copy
    from = from + ARITY[arguments[from]]
  end
  return {revision, bytes, #changes, #values, kept_entries}
end

local function restore(saved)
  revision, bytes = saved[1], saved[2]
  for i = #changes, saved[3] + 1, -1 do
    changes[i] = nil
  end
  for i = #values, saved[4] + 1, -1 do
    values[i] = nil
  end
  for key, entry in pairs(saved[5]) do
    entries[key] = entry
  end
end

-- A transaction: what it comes to, and where the next write begins.
local function transaction(first, count)
  local failed, behind = nil, first
  for _ = 1, count do
    failed = failed or full and not FREES[arguments[behind]] and 'f'
    behind = behind + ARITY[arguments[behind]]
  end
  if failed then
    return failed, behind
  end
  behind = first
  for _ = 1, count do
    failed = failed or conflict(behind)
    behind = behind + ARITY[arguments[behind]]
  end
  if failed then
    return failed, behind
  end
  local saved = snapshot(first, behind)
  local from = first
  while from < behind do
    local outcome = single(from, true)
    if outcome == 'a' or outcome == 'o' or outcome == 'f' then
      restore(saved)
      return outcome, behind
    end
    from = from + ARITY[arguments[from]]
  end
  -- A capital letter: the next change belongs to the same transaction.
  for i = saved[3] + 1, #changes - 2, 2 do
    changes[i] = string.upper(sub(changes[i], 1, 1)) .. sub(changes[i], 2)
  end
  return format(INTEGER, revision), behind
end

local outcomes = {}
at = 5
while at <= #arguments do
  if arguments[at] == 'm' then
    outcomes[#outcomes + 1], at = transaction(at + 2, tonumber(arguments[at + 1]))
  elseif full and not FREES[arguments[at]] then
    outcomes[#outcomes + 1] = 'f'
    at = at + ARITY[arguments[at]]
  else
    outcomes[#outcomes + 1] = single(at, false)
    at = at + ARITY[arguments[at]]
  end
end

if revision > LAST then
  return spent()
end
-- The effects.  The first one is not refused, whatever memory there is.
if only_frees or full then
  redis.call('HDEL', meta, 'nothing')
end
if #changes > 0 then
  append(format(INTEGER, now), unpack(changes))
end
local sets, drops, bigs, unbigs, waits, adds, gone, ttls, unttls = {}, {}, {}, {}, {}, {}, {}, {}, {}
local function wait(large)
  waits[#waits + 1] = large
  waits[#waits + 1] = large
end
for _, value in ipairs(values) do
  bigs[#bigs + 1] = value[2]
  bigs[#bigs + 1] = value[3]
  if entries[value[1]].revision ~= value[2] then
    wait(value[2])
  end
end
for _, key in ipairs(keys) do
  local entry = entries[key]
  if entry.changed then
    if entry.revision then
      sets[#sets + 1] = key
      local deadline = format(INTEGER, entry.deadline)
      sets[#sets + 1] = table.concat({entry.revision, deadline, entry.kind, entry.payload}, ' ')
      if not entry.had then
        adds[#adds + 1] = 0
        adds[#adds + 1] = key
      end
    elseif entry.had then
      drops[#drops + 1] = key
      gone[#gone + 1] = key
    end
    if entry.large and entry.large ~= entry.revision then
      if tonumber(entry.large) > floor then
        wait(entry.large)
      else
        unbigs[#unbigs + 1] = entry.large
      end
    end
    if entry.deadline > 0 then
      ttls[#ttls + 1] = format(INTEGER, entry.deadline)
      ttls[#ttls + 1] = key
    elseif entry.had_ttl then
      unttls[#unttls + 1] = key
    end
  end
end
local function effect(command, key, arguments)
  if #arguments > 0 then
    redis.call(command, key, unpack(arguments))
  end
end
effect('HSET', big, bigs)
effect('HDEL', big, unbigs)
effect('ZADD', replaced, waits)
effect('HSET', data, sets)
effect('HDEL', data, drops)
effect('ZADD', index, adds)
effect('ZREM', index, gone)
effect('ZADD', ttl, ttls)
effect('ZREM', ttl, unttls)
return finish(format(INTEGER, now), table.concat(outcomes, ' '))
