-- Gives the records of some keys, also of those whose deadline has passed, as of one moment, as many as fit into a page.
-- KEYS: data big meta
-- ARGV: bytes values key ...; bytes is where a page ends, the last record excepted; values: 1 or 0, whether with large
--   values
-- RETURNS: the position's revision, its store, the clock, then for each key its record and value; the record is "" if
--   there is none, the value "" unless the record says that it is kept apart, and it is wanted
local data, big, meta = KEYS[1], KEYS[2], KEYS[3]
local bytes, values, size = tonumber(ARGV[1]), ARGV[2] == '1', 0
local kept, refused = read_meta(meta, 'revision', 'store', 'clock')
if refused then
  return refused
end
local page = {kept[2], kept[3], string.format('%.0f', store_clock(kept[4]))}
for i, record in ipairs(redis.call('HMGET', data, unpack(ARGV, 3))) do
  local large = values and record and string.match(record, '^(%d+) %d+ [TB][; ]')
  local value = large and redis.call('HGET', big, large) or ''
  page[#page + 1] = record or ''
  page[#page + 1] = value
  size = size + #(record or '') + #value
  if size >= bytes then
    return page
  end
end
return page
