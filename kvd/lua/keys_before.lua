-- Gives the keys of the changes just before a revision, from the newest to the oldest, as many as fit into a page.
-- KEYS: log meta
-- ARGV: revision store changes bytes; changes, and bytes of what is looked at, are where a page ends, the last entry
--   excepted
-- RETURNS: STORE or OK, the store's id, its revision, its floor, then for each entry, the newest first: its id, and its
--   changes' keys in their order, each after the letter of the change (log.py); the first entry may end at or after the
--   revision
local log, meta = KEYS[1], KEYS[2]
local most_changes, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept, refused = read_meta(meta, 'store', 'revision', 'floor')
if refused then
  return refused
elseif kept[2] ~= ARGV[2] then
  return {'STORE', kept[2], kept[3], kept[4]}
end
local page, changes, bytes = {'OK', kept[2], kept[3], kept[4]}, 0, 0
local entry = redis.call('XRANGE', log, string.format('%.0f-0', tonumber(ARGV[1]) - 1), '+', 'COUNT', 1)[1]
while entry and changes < most_changes and bytes < most_bytes do
  local fields, keys = entry[2], {entry[1]}
  -- A field that is a number says how many changes stand in the next one as lines.
  if tonumber(fields[3]) then
    for key in string.gmatch(fields[4], '([^ ]+) [^\n]*\n') do
      keys[#keys + 1] = 't' .. key
    end
  else
    for i = 3, #fields, 2 do
      keys[#keys + 1] = fields[i]
    end
  end
  page[#page + 1] = keys
  changes = changes + #keys - 1
  for i = 3, #fields do
    bytes = bytes + #fields[i]
  end
  entry = redis.call('XREVRANGE', log, '(' .. entry[1], '-', 'COUNT', 1)[1]
end
return page
