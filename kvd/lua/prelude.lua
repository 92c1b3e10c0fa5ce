-- The loader puts this before every script, and LAYOUT before this: the layout that the script is made for.
-- Without keys a script does nothing, and so it can be loaded by a call.
if not KEYS[1] then
  return
end
-- The store's clock, in ms: the latest of its machine's, of the one that is kept, and of what the daemon knows of it.
local function store_clock(kept, known)
  local time = redis.call('TIME')
  return math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(kept or 0), tonumber(known or 0))
end
-- The fields of meta that are named, after the layout; and, if that is another one, the error to return at once.
local function read_meta(meta, ...)
  local kept = redis.call('HMGET', meta, 'layout', ...)
  if kept[1] and kept[1] ~= LAYOUT then
    return kept, redis.error_reply('LAYOUT its layout is ' .. kept[1] .. ', and this kvd works on layout ' .. LAYOUT ..
      ': another version of kvd is in charge of it; start the newest')
  end
  return kept
end
