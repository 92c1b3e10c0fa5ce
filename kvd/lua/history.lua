-- Gives the log's entries after a revision, as many as fit into a page, as of one moment.
-- KEYS: big log meta
-- ARGV: after store changes bytes values; changes and bytes are where a page ends, the last entry excepted; values: 1 or
--   0, whether with large values
-- RETURNS: COMPACTED, STORE, FUTURE or OK, the store's id, its revision, its floor, then the entries as XRANGE
--   gives them, with large values in place, or else references to them; the first may begin at or before the revision
local VALUE = {g = 't', h = 'b', G = 'T', H = 'B'}
local big, log, meta = KEYS[1], KEYS[2], KEYS[3]
local after, most_changes, most_bytes = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local kept, refused = read_meta(meta, 'store', 'revision', 'floor')
if refused then
  return refused
end
local function answer(word)
  return {word, kept[2], kept[3], kept[4]}
end
if kept[2] ~= ARGV[2] then
  return answer('STORE')
elseif after > tonumber(kept[3]) then
  return answer('FUTURE')
elseif after < tonumber(kept[4]) then
  return answer('COMPACTED')
end
-- Puts values in the place of references to them.
local function fill(entry)
  local fields = entry[2]
  local before = tonumber(string.match(entry[1], '^%d+')) - (#fields / 2 - 1)
  for i = 3, #fields, 2 do
    local letter = VALUE[string.sub(fields[i], 1, 1)]
    if letter then
      fields[i] = letter .. string.sub(fields[i], 2)
      fields[i + 1] = redis.call('HGET', big, string.format('%.0f', before + (i - 1) / 2))
    end
  end
end

local page, changes, bytes = answer('OK'), 0, 0
local from = string.format('%.0f-0', after + 1)
while true do
  local entry = redis.call('XRANGE', log, from, '+', 'COUNT', 1)[1]
  if not entry then
    return page
  end
  if ARGV[5] == '1' then
    fill(entry)
  end
  page[#page + 1] = entry
  -- A field that is a number says how many changes stand in it as lines.
  changes = changes + (tonumber(entry[2][3]) or #entry[2] / 2 - 1)
  for i = 3, #entry[2] do
    bytes = bytes + #entry[2][i]
  end
  if changes >= most_changes or bytes >= most_bytes then
    return page
  end
  from = '(' .. entry[1]
end
