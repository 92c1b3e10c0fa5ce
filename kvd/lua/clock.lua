-- Says what the store's clock is, and keeps where a daemon last saw it, if what is kept is too old to go on from.
-- KEYS: meta
-- ARGV: beginning at seen clock; beginning and at: a place in the time that passes on the daemon's machine, in ns; seen:
--   the store's clock then; clock: what it is now as far as the daemon knows
-- RETURNS: the clock of the store's machine in ms, the store's, what is kept of where it was seen
local SLOWER = 1000 -- one part in so many of the time that passes is left out
local OLD = 60000 -- ms; the place of another machine's daemon is replaced by ours after this
local APART = 10000 -- ms between two notes of a clock that is ahead of its machine's, for the next start of that
local kept, refused = read_meta(KEYS[1], 'clock', 'elapsed')
if refused then
  return refused
end
local machine = store_clock()
local now = math.max(machine, tonumber(kept[2] or 0), tonumber(ARGV[4]))
local place = table.concat({ARGV[1], ARGV[2], ARGV[3]}, ' ')

-- Whether one could not go on as well from the place that is kept as from the daemon's.
local function is_old()
  local beginning, at, seen = string.match(kept[3] or '', '^(%S+) (%d+) (%d+)$')
  if beginning ~= ARGV[1] then
    return not beginning or ARGV[3] - seen > OLD
  end
  local passed = (ARGV[2] - at) / 1000000
  -- A clock that is ahead goes on from one place only.
  return ARGV[3] - seen - passed * (1 - 1 / SLOWER) > (now > machine and 1 or 1000)
end

local old = is_old()
if kept[2] and (old or now > machine and now - kept[2] > APART) then
  place = old and place or kept[3]
  -- If it cannot be kept now, then the next time.
  redis.pcall('HSET', KEYS[1], 'clock', string.format('%.0f', now), 'elapsed', place)
else
  place = kept[3] or place
end
return {string.format('%.0f', machine), string.format('%.0f', now), place}
