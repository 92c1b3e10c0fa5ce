-- Gives the next keys of a range in byte order, with their records if wanted, as of one moment.
-- KEYS: data big index ttl meta
-- ARGV: min max limit bytes records due clock; min and max as ZRANGEBYLEX takes them; limit: keys to give; records
--   and due 1 or 0: with their records, with those whose deadline has passed
-- RETURNS: the position's revision, its store, the key after which the next page begins ("" at the end), then
--   for each key: key, or key record value; value is "" unless the record says that it stands apart
local CHUNK = 64
local MOST = 1024 -- keys to look at for one page, also if most of them are left out: half a millisecond
local data, big, index, ttl, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local min, max, limit, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local records = ARGV[5] == '1'
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

local page, size, given, looked = {kept[2], kept[3], ''}, 0, 0, 0
local function add(key, record)
  page[#page + 1] = key
  size = size + #key
  if records then
    local large = string.match(record, '^(%d+) %d+ [TB][; ]')
    local value = large and redis.call('HGET', big, large) or ''
    page[#page + 1] = record
    page[#page + 1] = value
    size = size + #record + #value
  end
end

while true do
  local chunk = some_due and CHUNK or math.min(CHUNK, limit - given)
  local keys = redis.call('ZRANGEBYLEX', index, min, max, 'LIMIT', 0, chunk)
  local living = wanted(keys)
  -- Records are read of what is given only.
  living = {unpack(living, 1, math.min(#living, limit - given))}
  local raws = records and #living > 0 and redis.call('HMGET', data, unpack(living))
  for i, key in ipairs(living) do
    add(key, raws and raws[i])
    given = given + 1
    if given == limit or size >= bytes then
      page[3] = key
      return page
    end
  end
  if #keys < chunk then
    return page
  end
  looked = looked + #keys
  if looked >= MOST then
    page[3] = keys[#keys]
    return page
  end
  min = '(' .. keys[#keys]
end
