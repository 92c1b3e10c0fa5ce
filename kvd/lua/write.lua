-- Applies a batch of writes: consecutive revisions, one log entry, once.
-- PARTS: batch order owners wards checks quotas
-- KEYS: data big index ttl log meta replaced owned
-- ARGV: daemon number clock most writes; most: keys that may live with one; each write is one of
--   t key value, b key value: set a text or byte value of up to SHORT bytes, without conditions
--   p key kind value ttl condition: set; kind t or b, with the value's CRC-32 in hex right after it if it is longer than
--     SHORT; ttl in ms, 0 for none; condition "", REV or REV@STORE; or *: the key ends in *, in whose place the change's
--     revision goes, in 16 digits, and is to be new
--   w key kind value owner condition: set, to live with another key, which must be there
--   d key condition: delete
--   x key ttl: set the time to live in ms, 0 removes it; or, in the same argument, ttl condition
--   i key amount: add
--   q limits: the next write, or transaction, is refused if it goes over these: for each a line of its pattern, the most
--     keys and the most bytes that may match it, - for any
--   m count: the next count writes are a transaction: all conditions are looked at first, and then all is done or
--     nothing.  Only there: c key condition, and nothing is done to the key; k key "": it is there; r prefix "": no key
--     begins so; s pattern "REV STORE REACHED NEWEST": nothing that matches has changed after a revision; NEWEST: revision
--     and key of the last change up to REACHED that matches, if there is one
-- RETURNS: the outcomes (model.Outcome), separated by spaces, less of them if many keys have gone with their owners, or
--   what limits are for is not all counted: the other writes are not done yet; or the error FENCED, LAYOUT or SPENT, and nothing was
--   done; or OOM, and nothing was done, if the memory is full and none of them is a delete or a touch, which go on then
--
-- A large value is in big alone, by its change's revision; record and log entry refer to it.  It goes when neither
-- does: with the record if the log has dropped the change, else with the log entry (trim.lua), and waits in replaced.
local LARGE = 4096 -- bytes; longer values are apart, so that looking at a record is cheap
local SHORT = 64 -- bytes; a longer value's CRC-32, which the daemon has computed, is in the digest in its place
local MOST_ARGUMENTS = 4000 -- in one call
local BEYOND = 1.2 -- times its maximum that the memory in use may come to be by touches
local ARGV, last = ARGV, #ARGV
local sub = string.sub

-- Which keys there are, and what kinds of writes: frees goes on when memory is full, takes does not.
local keys, count = {}, 0
local frees, takes, touches, grouped, numbers, checked, joins = false, false, false, false, false, false, false
local limited = false
local at = 5
while at <= last do
  local letter = ARGV[at]
  if letter == 'm' then
    grouped = true
    at = at + 2
  elseif letter == 'q' then
    limited = true
    at = at + 2
  else
    count = count + 1
    keys[count] = ARGV[at + 1]
    if letter == 'd' then
      frees = true
    elseif letter == 'x' then
      frees, touches = true, true
    elseif grouped and find('ckrs', letter, 1, true) then
      frees, checked = true, true
    else
      takes = true
      if letter == 'w' then
        count = count + 1
        keys[count], joins = ARGV[at + 4], true
      end
      numbers = numbers or (letter == 'p' or letter == 'w') and ARGV[at + 5] == '*'
    end
    at = at + ((letter == 'p' or letter == 'w') and 6 or 3)
  end
end
-- Redis looks for free memory at a script's first write only, and that must not be one that frees some.  With nothing
-- that does, the first effect will say so.
local full, tight = false, false
if frees and (touches or takes) then
  local failed = redis.pcall('HSETNX', meta, 'revision', 0)
  full = type(failed) == 'table' and find(failed.err, 'OOM', 1, true)
  -- To give a deadline to what has none takes some memory after all, so that has an end, too.
  if full and touches then
    local info = redis.call('INFO', 'memory')
    tight = tonumber(match(info, 'used_memory:(%d+)')) > BEYOND * tonumber(match(info, 'maxmemory:(%d+)'))
  end
end

-- The record of each key, false if there is none, while the batch runs.
local records = {}
for i, raw in ipairs(redis.call('HMGET', data, unpack(keys))) do
  records[keys[i]] = raw
end
-- What goes to the log: names and values in turn; digests has what is in the digest in the place of some.
local changes, size, digests = {}, 0, {}
-- What the effects take.  Of a key that comes twice the last record is set; whether it is removed, or lost its deadline,
-- its last record says.
local sets, set = {}, 0
local adds, gone, ttls, untimed, bigs, waiting, dropped = {}, {}, {}, {}, {}, {}, {}

-- Where no deadline is looked at or made, the daemon's clock will do.
local asked, now = false, math.max(tonumber(kept[3]), tonumber(clock))
local function present_time()
  if not asked then
    asked, now = true, store_clock(kept[3], clock)
  end
  return now
end

local quotas = (limited or kept[8]) and new_quotas(kept[8], revision)

local undo = {} -- records as a transaction found them
-- What lives with whom, in wards.lua, from the first record with flags on.
local made, remove
local function family()
  made = made or new_family(records, remove, untimed)
  made.undo = undo
  return made
end

-- A record is replaced that has a deadline, or flags, or is large.  Gives the flags that the new one has.
local function release(key, raw, deadline, flags)
  local rev, before, kind, old = match(raw, '^(%d+) (%d+) (%a)([^ ]*)')
  if before ~= '0' and deadline == '0' then
    untimed[#untimed + 1] = key
  end
  if old ~= '' then
    flags = family().adopt(key, before, old, deadline, flags)
  end
  if kind == 'T' or kind == 'B' then
    let_go(rev, waiting, dropped)
  end
  return flags
end

-- Sets a key: the revision, or the outcome if that goes over a limit.
local function put(key, raw, simple, kind, flags, value, deadline, crc)
  local length = #value
  if quotas then
    local hindered = quotas.hindrance(key, raw, length)
    if hindered then
      return hindered
    end
    quotas.count(key, raw, length)
  end
  revision = revision + 1
  bytes = bytes + #key + length
  local rev = format(INTEGER, revision)
  local letter, shown = kind, value
  if length > SHORT then
    digests[size + 2] = crc
    if length > LARGE then
      bigs[#bigs + 1], bigs[#bigs + 2] = rev, value
      letter, kind, shown = kind == 't' and 'g' or 'h', string.upper(kind), length
    end
  end
  local name = letter .. key
  if deadline ~= '0' then
    name = name .. ' ;d' .. deadline
  elseif flags ~= '' then
    local owner = match(flags, ';o[^;]+')
    name = owner and name .. ' ' .. owner or name
  end
  if raw and not simple then
    flags = release(key, raw, deadline, flags)
  end
  changes[size + 1], changes[size + 2], size = name, shown, size + 2
  local record = rev .. ' ' .. deadline .. ' ' .. kind .. flags .. ' ' .. shown
  records[key], sets[set + 1], sets[set + 2], set = record, key, record, set + 2
  if not raw then
    adds[#adds + 1], adds[#adds + 2] = 0, key
  end
  if deadline ~= '0' then
    ttls[#ttls + 1], ttls[#ttls + 2] = deadline, key
  end
  return rev
end

remove = function(letter, key, raw)
  revision = revision + 1
  bytes = bytes + #key
  changes[size + 1], changes[size + 2], size = letter .. key, '', size + 2
  records[key], gone[#gone + 1] = false, key
  if quotas then
    quotas.count(key, raw)
  end
  release(key, raw, '0', '')
  return format(INTEGER, revision)
end

-- The record of a key, which ends here if its time is over; and whether it is simple: has no deadline and no flags, and
-- is not large.
local function present(key)
  local raw = records[key]
  if not raw or find(raw, '^%d+ 0 %l ') then
    return raw, true
  end
  local deadline, flags = match(raw, '^%d+ (%d+) %a([^ ]*)')
  local head = key
  if flags ~= '' then
    head, deadline = family().head_of(key, flags, deadline)
  end
  if deadline == '0' or tonumber(deadline) > present_time() then
    return raw, false
  elseif flags == '' then
    remove('e', key, raw)
  else
    family().remove('e', head)
  end
  return false, true
end

-- Whether a condition does not hold: if so, the present revision.
local function conflict(raw, condition)
  local rev = raw and match(raw, '^%d+') or '0'
  local wanted, store = match(condition, '^(%d+)@?(.*)$')
  return (wanted ~= rev or store ~= '' and store ~= kept[4]) and 'c' .. rev
end

-- Keeps the deadline, and the flags.
local function increment(key, raw, simple, amount)
  local deadline, flags, value = '0', '', '0'
  if raw then
    deadline, flags, value = match(raw, '^%d+ (%d+) t([^ ]*) (%-?[1-9]%d*)$')
    if not value then
      deadline, flags, value = match(raw, '^%d+ (%d+) t([^ ]*) (0)$')
    end
    if not value then
      return 'a'
    end
  end
  local sum
  if #value < 16 and #amount < 16 then
    sum = format(INTEGER, value + amount)
  elseif #value > 20 then
    return 'o'
  else
    -- Beyond 2^52 Redis adds: it has 64-bit integers.
    redis.call('HSET', meta, 'scratch', value)
    local added = redis.pcall('HINCRBY', meta, 'scratch', amount)
    sum = redis.call('HGET', meta, 'scratch')
    redis.call('HDEL', meta, 'scratch')
    local least = '-9223372036854775808'
    if type(added) == 'table' or value == least or sum == least then
      return 'o'
    end
  end
  local outcome = put(key, raw, simple, 't', flags, sum, deadline)
  return find(outcome, '^q') and outcome or sum
end

-- What is made where it is used, for that takes as long as what it does.
local numbered
local taken = false -- the key that a number would make, and is there
if numbers then
  -- The key that the next revision makes, and its record.  One whose time is over ends first, and takes that revision.
  numbered = function(pattern)
    local key, before
    repeat
      key, before = sub(pattern, 1, -2) .. format('%016.0f', revision + 1), revision
      if records[key] == nil then
        records[key] = redis.call('HGET', data, key)
      end
      if undo[key] == nil then
        undo[key] = records[key]
      end
      taken = present(key) and key
    until revision == before
    return key, records[key]
  end
end

local touch
if touches then
  -- Keeps the revision, and the flags.
  touch = function(key, raw, life)
    if not raw then
      return 'n'
    end
    local rev, before, rest = match(raw, '^(%d+) (%d+) (.*)$')
    local flags = match(rest, '^%a([^ ]*)')
    if flags ~= '' and family().owner_in(flags) then
      return 'l'
    end
    if tight and life ~= '0' and before == '0' then
      return 'f'
    end
    local deadline = life == '0' and '0' or format(INTEGER, present_time() + 1 + life)
    local record = rev .. ' ' .. deadline .. ' ' .. rest
    records[key], sets[set + 1], sets[set + 2], set = record, key, record, set + 2
    if deadline ~= '0' then
      ttls[#ttls + 1], ttls[#ttls + 2] = deadline, key
    elseif before ~= '0' then
      untimed[#untimed + 1] = key
    end
    if flags ~= '' then
      family().adopt(key, before, flags, deadline, flags)
    end
    return 't'
  end
end

local join
if joins then
  -- Sets a key to live with another.
  join = function(from, free)
    local key, third, value, owner = ARGV[from + 1], ARGV[from + 2], ARGV[from + 3], ARGV[from + 4]
    local condition = ARGV[from + 5]
    local of = present(owner)
    local raw, simple = present(key)
    if condition == '*' then
      key, raw, simple = numbered(key)
      condition, free = '0', false
    end
    local failed = not free and condition ~= '' and conflict(raw, condition)
    if failed or not of then
      return failed or 'c0:' .. owner
    end
    local rev, deadline, kind, flags, rest = match(of, '^(%d+) (%d+) (%a)([^ ]*) (.*)$')
    local before = raw and match(raw, '^%d+ %d+ %a([^ ]*)') or ''
    local hindered = family().hindrance(key, before, owner, flags, tonumber(ARGV[4]))
    if hindered then
      return hindered
    end
    local own, others = family().flags(owner, flags)
    local is_new = family().owner_in(before) ~= owner
    local outcome = put(key, raw, simple, sub(third, 1, 1), own, value, '0', sub(third, 2))
    if find(outcome, '^q') then
      return outcome
    end
    if others ~= flags then
      local record = rev .. ' ' .. deadline .. ' ' .. kind .. others .. ' ' .. rest
      records[owner], sets[set + 1], sets[set + 2], set = record, owner, record, set + 2
    end
    if is_new then
      family().join(owner, key)
    end
    return outcome
  end
end

-- One write, and what it comes to.  Free: its condition was looked at.
local same_life, same_deadline
local function single(from, free)
  local letter, key, third = ARGV[from], ARGV[from + 1], ARGV[from + 2]
  local raw, simple = present(key)
  if letter == 'i' then
    return increment(key, raw, simple, third)
  elseif letter == 'p' then
    local life, condition = ARGV[from + 4], ARGV[from + 5]
    if condition == '*' then
      key, raw = numbered(key)
      condition, free = '0', false
    end
    -- Most of a batch have the same.
    if life ~= same_life then
      same_life, same_deadline = life, life == '0' and '0' or format(INTEGER, present_time() + 1 + life)
    end
    return not free and condition ~= '' and conflict(raw, condition) or
      put(key, raw, simple, sub(third, 1, 1), '', ARGV[from + 3], same_deadline, sub(third, 2))
  elseif letter == 'w' then
    return join(from, free)
  elseif letter == 'd' then
    local failed = not raw and 'n'
    if not free and third ~= '' then
      failed = conflict(raw, third) or failed
    end
    if failed or simple then
      return failed or remove('d', key, raw)
    elseif not find(raw, '^%d+ %d+ %a;') then
      return remove('d', key, raw)
    end
    local rev, others = family().remove('d', key)
    return others > 0 and 'g' .. others .. ':' .. rev or rev
  elseif letter == 'x' then
    local life, wanted = match(third, '^(%d+) ?(.*)$')
    return not free and wanted ~= '' and conflict(raw, wanted) or touch(key, raw, life)
  end
  return put(key, raw, simple, letter, '', third, '0')
end

local transaction
if grouped then
  local lists = {adds, gone, ttls, untimed, bigs, waiting, dropped}
  local none, unchanged
  if checked then
    local function is_over(key, raw)
      local deadline, flags = match(raw, '^%d+ (%d+) %a([^ ]*)')
      if flags ~= '' then
        deadline = select(2, family().head_of(key, flags, deadline))
      end
      return deadline ~= '0' and tonumber(deadline) <= present_time()
    end
    none, unchanged = make_checks(records, adds, changes, present, present_time, is_over)
  end

  -- Where the write after one begins.
  local function after(from)
    local letter = ARGV[from]
    return from + ((letter == 'p' or letter == 'w') and 6 or 3)
  end

  -- Where the condition of a write is, or "" and it has none.
  local function condition_of(from, letter)
    if letter == 'p' or letter == 'w' then
      return ARGV[from + 5] ~= '*' and ARGV[from + 5] or ''
    elseif letter == 'd' or letter == 'c' then
      return ARGV[from + 2]
    end
    return letter == 'x' and match(ARGV[from + 2], '^%d+ ?(.*)$') or ''
  end

  -- Why one is not to be done, if so.
  local function hindrance(from)
    local letter, key = ARGV[from], ARGV[from + 1]
    if letter == 'r' then
      return none(key)
    elseif letter == 's' then
      return unchanged(key, ARGV[from + 2])
    end
    if letter == 'w' then
      present(ARGV[from + 4])
    end
    local raw = present(key)
    local condition, failed = condition_of(from, letter), nil
    if letter == 'k' then
      failed = not raw and 'c0'
    elseif condition ~= '' then
      failed = conflict(raw, condition)
    end
    return failed and failed .. ':' .. key
  end

  -- That of the first one from one place to another that has some.
  local function first_hindrance(from, behind)
    while from < behind do
      local failed = hindrance(from)
      if failed or made and made.together > TOGETHER then
        return failed
      end
      from = after(from)
    end
  end

  -- All that the writes from one place to another may change, to go back to.
  local function snapshot(from, behind)
    local saved = {revision = revision, bytes = bytes, size = size, set = set, records = {}, lengths = {},
      family = made and made.copy(), counts = quotas and quotas.begin()}
    for i, list in ipairs(lists) do
      saved.lengths[i] = #list
    end
    while from < behind do
      saved.records[ARGV[from + 1]] = records[ARGV[from + 1]]
      if ARGV[from] == 'w' then
        saved.records[ARGV[from + 4]] = records[ARGV[from + 4]]
      end
      from = after(from)
    end
    undo, taken = saved.records, false
    return saved
  end

  local function shorten(list, length, to)
    for i = length, to + 1, -1 do
      list[i] = nil
    end
  end

  local function restore(saved)
    shorten(changes, size, saved.size)
    shorten(digests, size, saved.size)
    shorten(sets, set, saved.set)
    for i, list in ipairs(lists) do
      shorten(list, #list, saved.lengths[i])
    end
    revision, bytes, size, set = saved.revision, saved.bytes, saved.size, saved.set
    if saved.family then
      made.go_back(saved.family)
    else
      made = nil
    end
    if quotas then
      quotas.go_back(saved.counts)
    end
    for key, raw in pairs(saved.records) do
      records[key] = raw
    end
  end

  -- What goes with owners that are deleted comes before the transaction's own changes, but for what it writes itself.
  -- Whether that is not too much.
  local function take_along(from, behind)
    local written, known, owners = {}, {}, {}
    while from < behind do
      local key = ARGV[from + 1]
      local raw = ARGV[from] == 'd' and records[key]
      if raw and not known[key] and find(raw, '^%d+ %d+ %a;') then
        known[key], owners[#owners + 1] = true, key
      end
      written[key] = written[key] or not (checked and find('ckrs', ARGV[from], 1, true))
      from = after(from)
    end
    return not owners[1] or family().take_along(owners, written)
  end

  -- A transaction: what it comes to, nothing if it has to wait for a batch of its own, and where the next write begins.
  transaction = function(first, writes)
    local behind, hindered = first, false
    for _ = 1, writes do
      hindered = hindered or full and not find('dxckrs', ARGV[behind], 1, true)
      behind = after(behind)
    end
    local failed = hindered and 'f' or first_hindrance(first, behind)
    if failed then
      return failed, behind
    elseif made and made.together > TOGETHER then
      return nil, first
    end
    local saved = snapshot(first, behind)
    local from = first
    local before = made and made.together or 0
    if frees and not take_along(first, behind) then
      restore(saved)
      return 'x', behind
    end
    while from < behind do
      local outcome = not (checked and find('ckrs', ARGV[from], 1, true)) and single(from, true) or ''
      if made and made.together - before > MOST_WARDS then
        outcome = 'x'
      end
      if find(outcome, '^[aofblmxc]') then
        restore(saved)
        return taken and outcome .. ':' .. taken or outcome, behind
      end
      from = after(from)
    end
    local over = quotas and quotas.finish(saved.counts)
    if over then
      restore(saved)
      return over, behind
    end
    -- A capital letter: the next change belongs to the same transaction.
    for i = saved.size + 1, size - 2, 2 do
      changes[i] = string.upper(sub(changes[i], 1, 1)) .. sub(changes[i], 2)
    end
    return format(INTEGER, revision), behind
  end
end

-- One write or transaction: what it comes to, and where the next one begins.
local function item(from)
  local letter = ARGV[from]
  if letter == 'm' then
    return transaction(from + 2, tonumber(ARGV[from + 1]))
  end
  local outcome = full and letter ~= 'd' and letter ~= 'x' and 'f' or single(from, false)
  return outcome, from + ((letter == 'p' or letter == 'w') and 6 or 3)
end

local limited_item
if limited then
  -- Ends keys whose time is over, once: whether there were any.
  local ended = false
  local function end_due()
    if ended then
      return false
    end
    ended, undo = true, {}
    local due = redis.call('ZRANGEBYSCORE', ttl, '-inf', format(INTEGER, present_time()), 'LIMIT', 0, TOGETHER)
    for _, key in ipairs(due) do
      if records[key] == nil then
        records[key] = redis.call('HGET', data, key)
      end
      present(key)
    end
    return #due > 0
  end

  -- The same as item within limits; nothing, if what these are for is to be counted first.
  limited_item = function(from)
    if not quotas.limit(ARGV[from + 1], now) then
      return nil, last + 1
    end
    local outcome, behind = item(from + 2)
    if outcome and find(outcome, '^q') and end_due() then
      outcome, behind = item(from + 2)
    end
    quotas.free()
    return outcome, behind
  end
end

local outcomes, done = {}, 0
at = 5
while at <= last and not (made and made.together > TOGETHER) do
  done = done + 1
  if limited and ARGV[at] == 'q' then
    outcomes[done], at = limited_item(at)
  else
    outcomes[done], at = item(at)
  end
end
if revision > LAST then
  return redis.error_reply('SPENT its revisions are used up: it stands at ' .. kept[2] .. ', and they end at 2^53')
end

-- The effects.  The first one is not refused, whatever memory there is.
if not takes or full then
  redis.call('HDEL', meta, 'nothing')
end
local clock_now = now
now = format(INTEGER, now)
if size > 0 then
  local parts = changes
  if next(digests) then
    parts = {unpack(changes)}
    for place, crc in pairs(digests) do
      parts[place] = crc
    end
  end
  append('s' .. sub(redis.sha1hex(table.concat(parts, '\n')), 1, 8), now, unpack(changes))
end
local function effect(command, key, arguments)
  for from = 1, #arguments, MOST_ARGUMENTS do
    redis.call(command, key, unpack(arguments, from, math.min(from + MOST_ARGUMENTS - 1, #arguments)))
  end
end
-- Those of some keys that a record is, or is not, there for at the end.
local function of(list, wanted)
  local found = {}
  for _, key in ipairs(list) do
    if wanted(records[key]) then
      found[#found + 1] = key
    end
  end
  return found
end
effect('HSET', big, bigs)
effect('HDEL', big, dropped)
effect('ZADD', replaced, waiting)
effect('HSET', data, sets)
effect('ZADD', index, adds)
effect('ZADD', ttl, ttls)
if #gone > 0 then
  gone = of(gone, function(raw)
    return not raw
  end)
  effect('HDEL', data, gone)
  effect('ZREM', index, gone)
end
if #untimed > 0 then
  effect('ZREM', ttl, of(untimed, function(raw)
    return not raw or find(raw, '^%d+ 0 ')
  end))
end
if made then
  local joined, parted, timed, lasting = made.effects()
  effect('ZADD', owned, joined)
  effect('ZREM', owned, parted)
  effect('ZADD', ttl, timed)
  effect('ZREM', ttl, lasting)
end
if quotas then
  if quotas.waits then
    quotas.count_piece(data, index)
  end
  quotas.save(meta, revision, clock_now)
end
return finish(now, table.concat(outcomes, ' '))
