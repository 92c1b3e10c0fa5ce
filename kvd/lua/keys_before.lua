-- Gives the keys of the changes just before a revision, from the newest to the oldest, as many as fit into a page.
-- KEYS: log meta
-- ARGV: revision store entries changes bytes; entries, changes, and bytes of what is looked at, are where a page ends,
--   the last entry excepted
-- RETURNS: STORE or OK, the store's id, its revision, its floor, then for each entry, the newest first: its id, and its
--   changes' names (log.py) in their order, each with a line feed after it; the first entry may end at or after the
--   revision
local log, meta = KEYS[1], KEYS[2]
local most_entries, most_changes, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local kept, refused = read_meta(meta, 'store', 'revision', 'floor')
if refused then
  return refused
elseif kept[2] ~= ARGV[2] then
  return {'STORE', kept[2], kept[3], kept[4]}
end
local page, entries, changes, bytes = {'OK', kept[2], kept[3], kept[4]}, 0, 0, 0
local entry = redis.call('XRANGE', log, string.format('%.0f-0', tonumber(ARGV[1]) - 1), '+', 'COUNT', 1)[1]
while entry and entries < most_entries and changes < most_changes and bytes < most_bytes do
  local fields, names, count = entry[2], {}, tonumber(entry[2][3])
  -- A field that is a number says how many changes stand in the next one as lines.
  if count then
    names = string.gsub(fields[4], '([^ ]+) [^\n]*\n', 't%1\n')
  else
    for i = 3, #fields, 2 do
      names[#names + 1] = fields[i]
    end
    names, count = table.concat(names, '\n') .. '\n', #names
  end
  page[#page + 1] = {entry[1], names}
  entries, changes = entries + 1, changes + count
  for i = 3, #fields do
    bytes = bytes + #fields[i]
  end
  entry = redis.call('XREVRANGE', log, '(' .. entry[1], '-', 'COUNT', 1)[1]
end
return page
