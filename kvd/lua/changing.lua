-- Sets and removes keys while a batch of writes runs: their records, the changes for the log, and what the effects take,
-- which come last of all.
--
-- A large value is in big alone, by its change's revision; record and log entry refer to it.  It goes when neither
-- does: with the record if the log has dropped the change, else with the log entry (trim.lua), and waits in replaced.
local LARGE = 4096 -- bytes; longer values are apart, so that looking at a record is cheap
local DAMAGED = 'z' -- the outcome of what depends on a record that cannot be read
local SHORT = 64 -- bytes; a longer value's CRC-32, which the daemon has computed, is in the digest in its place
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
  local rev, before, kind, old = match(raw, '^(%d+) (%d+) (%a)([^ ]*) ')
  if not rev then
    -- Of a damaged one nothing else is known.
    untimed[#untimed + 1] = key
    return flags
  elseif before ~= '0' and deadline == '0' then
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

-- The record of a key, which ends here if it has expired; and whether it is simple: has no deadline and no flags, and
-- is not large; and whether it is damaged, so that nothing is known of it.
local function present(key)
  local raw = records[key]
  if not raw or find(raw, '^%d+ 0 %l ') then
    return raw, true
  end
  local deadline, flags = match(raw, '^%d+ (%d+) %a([^ ]*) ')
  local head = key
  if not deadline then
    return raw, false, true
  elseif flags ~= '' then
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

-- Whether a condition does not hold: if so, the present revision; or the outcome for a record that cannot be read.
local function conflict(raw, condition)
  local rev = raw and match(raw, '^(%d+) %d+ %a[^ ]* ') or '0'
  if raw and rev == '0' then
    return DAMAGED
  end
  local wanted, store = match(condition, '^(%d+)@?(.*)$')
  return (wanted ~= rev or store ~= '' and store ~= kept[4]) and 'c' .. rev
end
