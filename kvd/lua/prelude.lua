-- The loader puts this before every script.  Without keys a script does nothing, and so it can be loaded by a call.
if not KEYS[1] then
  return
end
-- The clock of the store's machine, in ms.
local function machine_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- The store's clock: the latest of that, of the one that is kept, and of what the daemon knows of it.
local function store_clock(kept, known)
  return math.max(machine_clock(), tonumber(kept or 0), tonumber(known))
end
