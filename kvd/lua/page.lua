-- Gives the next keys of a range in byte order, with their records if wanted, as of one moment.
-- KEYS: data big index ttl meta
-- ARGV: min max limit bytes records due clock; min and max as ZRANGEBYLEX takes them; records and due 1 or 0: with
--   their records, with those whose deadline has passed
-- RETURNS: the position's revision, its store, the key behind which the next page begins ("" at the end), then
--   for each key: key, or key record value; value is "" unless the record says that it stands apart
local CHUNK = 64
local data, big, index, ttl, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local min, max, limit, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local records = ARGV[5] == '1'
local time = redis.call('TIME')
local kept = redis.call('HMGET', meta, 'revision', 'store', 'clock')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(kept[3]), tonumber(ARGV[7]))
local some_due = ARGV[6] == '0' and redis.call('ZCOUNT', ttl, '-inf', string.format('%.0f', now)) > 0

local function is_due(key)
  local deadline = some_due and redis.call('ZSCORE', ttl, key)
  return deadline and tonumber(deadline) <= now
end

local page, last, size, looked = {kept[1], kept[2], ''}, '', 0, 0
local function add(key, record)
  page[#page + 1] = key
  size = size + #key
  if records then
    local large = string.match(record, '^(%d+) %d+ [TB] ')
    local value = large and redis.call('HGET', big, large) or ''
    page[#page + 1] = record
    page[#page + 1] = value
    size = size + #record + #value
  end
end

while true do
  local wanted = math.min(CHUNK, limit - looked)
  local keys = redis.call('ZRANGEBYLEX', index, min, max, 'LIMIT', 0, wanted)
  local raws = records and #keys > 0 and redis.call('HMGET', data, unpack(keys))
  for i, key in ipairs(keys) do
    if not is_due(key) then
      add(key, raws and raws[i])
    end
    last, looked = key, looked + 1
    if looked == limit or size >= bytes then
      page[3] = last
      return page
    end
  end
  if #keys < wanted then
    return page
  end
  min = '(' .. last
end
