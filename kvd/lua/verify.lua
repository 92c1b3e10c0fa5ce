-- Looks at a part of the store, and says what in it is at odds; nothing is changed.
-- PARTS: owners
-- KEYS: data big index ttl log meta replaced owned
-- ARGV: part cursor count; part: which of data, index, ttl, owned and replaced; cursor: 0 to begin; count: of its members
--   to look at, about
-- RETURNS: the cursor to go on with, 0 at the end; how many members were looked at; the revisions of large records; of
--   each thing that is at odds a word (checking.py), the key, and what else is to be known; and the keys and revisions of
--   records of which the change log tells
local part, cursor, count = ARGV[1], ARGV[2], ARGV[3]
local data, big, index, ttl, meta, replaced = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[7]
local kept, refused = read_meta(meta, 'revision', 'floor')
if refused then
  return refused
end
local found, large, logged = {}, {}, {}
local function tell(word, key, more)
  found[#found + 1], found[#found + 2], found[#found + 3] = word, key, more or ''
end
local kin = kinship(function(key)
  return redis.call('HGET', data, key)
end)
local function parsed(record)
  return string.match(record or '', '^(%d+) (%d+) ([tbTB])([^ ]*) (.*)$')
end

-- The deadline by which a key is to be in `ttl`.
local function deadline_of(key, deadline, flags)
  local owner = kin.owner_in(flags)
  if not owner then
    return deadline
  end
  if not redis.call('ZSCORE', owned, owner .. ' ' .. key) then
    tell('not-owned', key, owner)
  end
  local rev, ends, _, others = parsed(redis.call('HGET', data, owner))
  if not rev then
    tell('orphan', key, owner)
    return nil
  elseif kin.owner_in(others) then
    tell('owned-owner', owner, key)
  elseif not kin.has_others(others) then
    tell('unmarked', owner, key)
  end
  return ends
end

local function record(key, raw)
  local rev, deadline, kind, flags, payload = parsed(raw)
  if not rev or (flags ~= '' and string.sub(flags, 1, 1) ~= ';') then
    tell('record', key)
    return
  end
  if tonumber(rev) > tonumber(kept[2] or 0) then
    tell('ahead', key, rev)
  end
  if tonumber(rev) > tonumber(kept[3] or 0) then
    logged[#logged + 1], logged[#logged + 2] = key, rev
  end
  if not redis.call('ZSCORE', index, key) then
    tell('not-listed', key)
  end
  local ends = deadline_of(key, deadline, flags)
  local score = redis.call('ZSCORE', ttl, key)
  if ends and (score and string.format('%.0f', score) or '0') ~= ends then
    tell('deadline', key, ends)
  end
  if kind == 'T' or kind == 'B' then
    large[#large + 1] = rev
    local length = redis.call('HSTRLEN', big, rev)
    if length ~= tonumber(payload) or length == 0 then
      tell('no-value', key, rev)
    end
  end
end

local function member(key, score)
  if part == 'owned' then
    local owner, name = string.match(key, '^([^ ]+) ([^ ]+)$')
    local _, _, _, flags = parsed(name and redis.call('HGET', data, name))
    if not flags or kin.owner_in(flags) ~= owner then
      tell('owned-extra', key)
    end
  elseif part == 'replaced' then
    if redis.call('HEXISTS', big, key) == 0 then
      tell('replaced-extra', key)
    end
  elseif redis.call('HEXISTS', data, key) == 0 then
    tell(part .. '-extra', key, score)
  end
end

local step = part == 'data' and redis.call('HSCAN', data, cursor, 'COUNT', count) or
  redis.call('ZSCAN', ({index = index, ttl = ttl, owned = owned, replaced = replaced})[part], cursor, 'COUNT', count)
local flat = step[2]
for i = 1, #flat, 2 do
  if part == 'data' then
    record(flat[i], flat[i + 1])
  else
    member(flat[i], flat[i + 1])
  end
end
return {step[1], #flat / 2, large, found, logged}
