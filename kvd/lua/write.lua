-- Applies a batch of writes: consecutive revisions, one log entry, once.
-- PARTS: batch order owners wards checks quotas intake changing increments numbered touches joins single transactions items
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
local MOST_ARGUMENTS = 4000 -- in one call

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
