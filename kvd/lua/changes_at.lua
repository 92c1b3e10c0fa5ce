-- Gives some changes of the history, as many as fit into a page.
-- KEYS: big log meta
-- ARGV: store bytes values revision ...; bytes is where a page ends, the last change excepted; values: 1 or 0, whether
--   with large values
-- RETURNS: STORE, COMPACTED if the first one is kept no longer, or OK, the store's id, its revision, its floor, then for
--   each change its key, after the letter of the change (log.py); its value, or the length of a large one; the revision
--   of the last change of its transaction, "" if it is alone; and of the first in another log entry than the one before,
--   the revision at which the entry ends, a space and its tag, else ""
local VALUE = {g = 't', h = 'b', G = 'T', H = 'B'}
local big, log, meta = KEYS[1], KEYS[2], KEYS[3]
local most_bytes, values = tonumber(ARGV[2]), ARGV[3] == '1'
local kept, refused = read_meta(meta, 'store', 'revision', 'floor')
local page, bytes = {'OK', kept[2], kept[3], kept[4]}, 0
if refused then
  return refused
elseif kept[2] ~= ARGV[1] then
  page[1] = 'STORE'
  return page
end

-- The entry that was looked at last: its first and its last revision, its fields, and its lines where it has them;
-- whether it is another one; and the places of the last transaction in it that was looked at.
local first, last, fields, lines = 0, 0, nil, nil
local is_new, from, to = false, 0, 0
-- Looks at the entry with a revision; nil if it is not kept.
local function look(revision)
  if first <= revision and revision <= last then
    return true
  end
  local entry = redis.call('XRANGE', log, string.format('%.0f-0', revision), '+', 'COUNT', 1)[1]
  if not entry then
    return nil
  end
  fields, lines, last = entry[2], nil, tonumber(string.match(entry[1], '^%d+'))
  is_new, from, to = true, 0, 0
  -- A field that is a number says how many changes stand in the next one as lines.
  if tonumber(fields[3]) then
    lines = {}
    for key, value in string.gmatch(fields[4], '([^ ]+) ([^\n]*)\n') do
      lines[#lines + 1] = {'t' .. key, value}
    end
  end
  first = last + 1 - (lines and #lines or #fields / 2 - 1)
  return first <= revision or nil
end

-- Whether a change and the next one belong to the same transaction.
local function is_joined(at)
  return string.find(fields[at], '^%u')
end
-- The revision of the last change of a change's transaction, '' if it is alone.
local function transaction(at)
  if at < from or to < at then
    local stop = at
    while is_joined(stop) do
      stop = stop + 2
    end
    if stop == at and not (at > 3 and is_joined(at - 2)) then
      return ''
    end
    from, to = at, stop
  end
  return string.format('%.0f', first + (to - 3) / 2)
end

for i = 4, #ARGV do
  local revision = tonumber(ARGV[i])
  if not look(revision) then
    break
  end
  local name, value, group = nil, nil, ''
  if lines then
    name, value = unpack(lines[revision - first + 1])
  else
    local at = 3 + 2 * (revision - first)
    name, value, group = fields[at], fields[at + 1], transaction(at)
    local letter = VALUE[string.sub(name, 1, 1)]
    if letter and values then
      name, value = letter .. string.sub(name, 2), redis.call('HGET', big, ARGV[i])
    end
  end
  page[#page + 1] = name
  page[#page + 1] = value
  page[#page + 1] = group
  page[#page + 1] = is_new and string.format('%.0f', last) .. ' ' .. fields[2] or ''
  is_new = false
  bytes = bytes + #name + #value
  if bytes >= most_bytes then
    return page
  end
end
if #page == 4 then
  page[1] = 'COMPACTED'
end
return page
