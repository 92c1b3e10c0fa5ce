-- Gives the next keys of a range in byte order, with their records if wanted, as of one moment.
-- KEYS: data big index ttl meta owned
-- ARGV: min max limit bytes records due clock reverse fold prefix values owner; min and max as ZRANGEBYLEX takes them;
--   limit: keys to give; records and due 1 or 0: with their records, with those whose deadline has passed; reverse 1 or
--   0: in the order from the last to the first; fold: of all keys that have this, "" for none, after the first `prefix`
--   bytes, give once, in the place of them, what they begin with up to its end; values 1 or 0: of records, also large
--   ones; owner: only those that live with it, "" for all
-- RETURNS: the position's revision, its store, the place after which the next page begins ("" at the end), the clock,
--   then for each key: key, or key record value; record is "" of what several were folded to; value is "" unless the
--   record says that it is kept apart, and it is wanted
local CHUNK = 64
local FOLDED_CHUNK = 8 -- where each key may be all that is needed of many
local MOST = 1024 -- keys to look at for one page, also if most of them are left out: half a millisecond
local data, big, index, ttl, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local min, max, limit, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local records, reverse, fold, prefix = ARGV[5] == '1', ARGV[8] == '1', ARGV[9], tonumber(ARGV[10])
local values = ARGV[11] == '1'
local kept, refused = read_meta(meta, 'revision', 'store', 'clock')
if refused then
  return refused
end
local now = store_clock(kept[4], ARGV[7])
local some_due = ARGV[6] == '0' and redis.call('ZCOUNT', ttl, '-inf', string.format('%.0f', now)) > 0

-- Those of some keys that are to be given.
local function wanted(keys)
  if not some_due or #keys == 0 then
    return keys
  end
  local given = {}
  for i, deadline in ipairs(redis.call('ZMSCORE', ttl, unpack(keys))) do
    if not deadline or tonumber(deadline) > now then
      given[#given + 1] = keys[i]
    end
  end
  return given
end

local page, size, given, looked = {kept[2], kept[3], '', string.format('%.0f', now)}, 0, 0, 0
local function add(key, record)
  page[#page + 1] = key
  size = size + #key
  if records then
    local large = values and string.match(record, '^(%d+) %d+ [TB][; ]')
    local value = large and redis.call('HGET', big, large) or ''
    page[#page + 1] = record
    page[#page + 1] = value
    size = size + #record + #value
  end
end

-- The keys that come next, so many at the most, and from where on others come.
local among, before = index, ''
if ARGV[12] ~= '' then
  -- There each key stands after its owner and a space.
  among, before = KEYS[6], ARGV[12] .. ' '
end
local function following(count)
  local least = string.sub(min, 1, 1) .. before .. string.sub(min, 2)
  local most = string.sub(max, 1, 1) .. before .. string.sub(max, 2)
  local keys
  if reverse then
    keys = redis.call('ZREVRANGEBYLEX', among, most, least, 'LIMIT', 0, count)
  else
    keys = redis.call('ZRANGEBYLEX', among, least, most, 'LIMIT', 0, count)
  end
  for i = 1, before == '' and 0 or #keys do
    keys[i] = string.sub(keys[i], #before + 1)
  end
  return keys
end
local function go_on_after(place)
  if reverse then
    max = '(' .. place
  else
    min = '(' .. place
  end
end
-- The name to which a key and others are folded, and the place after these.  0xFF sorts after all UTF-8.
local function folded(key)
  local _, last = string.find(key, fold, prefix + 1, true)
  if not last then
    return nil
  end
  local name = string.sub(key, 1, last)
  return name, reverse and name or name .. '\255'
end

while true do
  local chunk = fold ~= '' and FOLDED_CHUNK or some_due and CHUNK or math.min(CHUNK, limit - given)
  local keys = following(chunk)
  local living = wanted(keys)
  -- Records are read of what is given only.
  living = {unpack(living, 1, math.min(#living, limit - given))}
  local raws = records and #living > 0 and redis.call('HMGET', data, unpack(living))
  local place = keys[#keys]
  local is_last = #keys < chunk
  for i, key in ipairs(living) do
    local name, beyond
    if fold ~= '' then
      name, beyond = folded(key)
    end
    add(name or key, not name and raws and raws[i] or '')
    given = given + 1
    if given == limit or size >= bytes then
      page[3] = beyond or key
      return page
    elseif name then
      place, is_last = beyond, false
      break
    end
  end
  if is_last then
    return page
  end
  looked = looked + #keys
  if looked >= MOST then
    page[3] = place
    return page
  end
  go_on_after(place)
end
