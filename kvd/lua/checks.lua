-- What a transaction may demand beyond conditions of the keys that it writes.

-- One function a demand; each gives the conflict, or nothing if what is demanded holds.
-- damaged: the outcome where a record cannot be read; records: those of keys as they are in this batch, false for none;
-- adds: what it adds to the index; changes: what it adds to the log; present: ends a key that has expired; is_expired:
-- whether a key with a record has
local function make_checks(damaged, records, adds, changes, present, present_time, is_expired)
  -- All in here, so that it costs nothing where nobody asks.
  local sub = string.sub
  local LOOKED_AT = 1000 -- keys that are over, or gone, at the most for one batch, and changes: a millisecond each
  local COMPARED = 10000 -- keys of changes, at the most for one batch: a millisecond, too
  local BYTES = 512 * 1024 -- of the log that is read for one batch, the last entry excepted
  local PAGE = 8 -- keys that are looked at together; nearly always the first one is there
  local AGAIN = 'h' -- model.AGAIN: the outcome of a transaction that is to be asked for again: too much was in the way
  local looked_at = 0

  local function first_added(prefix)
    local first
    for i = 2, #adds, 2 do
      local key = adds[i]
      if records[key] and sub(key, 1, #prefix) == prefix and (not first or precedes(key, first)) then
        first = key
      end
    end
    return first
  end

  -- The first that is in the index; and whether that is not known.
  local function first_indexed(prefix)
    local from = '[' .. prefix
    while true do
      local keys = redis.call('ZRANGEBYLEX', index, from, '(' .. prefix .. '\255', 'LIMIT', 0, PAGE)
      local raws = #keys > 0 and redis.call('HMGET', data, unpack(keys))
      for i, key in ipairs(keys) do
        local raw = records[key]
        if raw == nil then
          raw = raws[i]
        end
        if raw and not is_expired(key, raw) then
          records[key] = raw
          return key
        end
      end
      looked_at = looked_at + #keys
      if #keys < PAGE then
        return nil
      elseif looked_at > LOOKED_AT then
        return nil, true
      end
      from = '(' .. keys[#keys]
    end
  end

  -- That nothing begins so.
  local function none(prefix)
    local first, unknown = first_indexed(prefix)
    if unknown then
      return AGAIN
    end
    local added = first_added(prefix)
    if added and (not first or precedes(added, first)) then
      first = added
    end
    local rev = first and match(records[first], '^(%d+) %d+ %a[^ ]* ')
    return rev and 'c' .. rev .. ':' .. first or first and damaged
  end

  -- The keys of the log's last changes, as far as they were needed: by revision, after one; and the last revision of
  -- each.
  local last = tonumber(kept[2])
  local tail, tail_after, newest, size = {}, last, {}, 0

  -- The first revision of a log entry, its last one, and its keys, which are added up.
  local function keys_of(entry)
    local fields, keys = entry[2], {}
    -- A field that is a number says how many changes stand in the next one as lines.
    if tonumber(fields[3]) then
      for key in string.gmatch(fields[4], '([^ ]+) [^\n]*\n') do
        keys[#keys + 1] = key
      end
    else
      for i = 3, #fields, 2 do
        keys[#keys + 1] = match(fields[i], '^.([^ ]+)')
      end
    end
    for i = 3, #fields do
      size = size + #fields[i]
    end
    local till = tonumber(match(entry[1], '^%d+'))
    return till - #keys, till, keys
  end

  -- Has the tail begin after a revision; false if that would be too much.
  local function read_tail(after)
    if last - after > LOOKED_AT then
      return false
    end
    local from, till = format(INTEGER, after + 1) .. '-0', after
    while till < tail_after do
      local entry = size < BYTES and redis.call('XRANGE', log, from, '+', 'COUNT', 1)[1]
      if not entry then
        return false
      end
      local before, keys
      before, till, keys = keys_of(entry)
      for i, key in ipairs(keys) do
        tail[before + i], newest[key] = key, math.max(newest[key] or 0, before + i)
      end
      from = '(' .. entry[1]
    end
    tail_after = math.min(tail_after, after)
    return true
  end

  -- The expired keys, the longest due first; nothing if they are too many.
  local due
  local function due_keys()
    due = due or redis.call('ZRANGEBYSCORE', ttl, '-inf', format(INTEGER, present_time()), 'LIMIT', 0, LOOKED_AT + 1)
    return #due <= LOOKED_AT and due
  end

  local compared = 0
  local function begins_so(key, prefix)
    compared = compared + 1
    return sub(key, 1, #prefix) == prefix
  end

  -- Ends one key that begins so if it has expired, for that is a change; false if that is not known.
  local function end_one(prefix)
    local keys = due_keys()
    for _, key in ipairs(keys or {}) do
      if begins_so(key, prefix) then
        if records[key] == nil then
          records[key] = redis.call('HGET', data, key)
        end
        if records[key] and not present(key) then
          break
        end
      end
    end
    return keys
  end

  -- Whether the key of one of this batch's changes is one, or begins so: the last such change.
  local function changed_here(word, is_prefix)
    for i = #changes - 1, 1, -2 do
      local key = match(changes[i], '^.([^ ]+)')
      if key == word or is_prefix and begins_so(key, word) then
        return last + (i + 1) / 2, key
      end
    end
  end

  -- The same of the log, after a revision.
  local function changed_before(word, is_prefix, after)
    if not is_prefix then
      return (newest[word] or 0) > after and newest[word], word
    end
    for number = last, after + 1, -1 do
      if begins_so(tail[number], word) then
        return number, tail[number]
      end
    end
  end

  -- That nothing that matches has changed.
  local function unchanged(pattern, known)
    local after, store, reached, number, key = match(known, '^(%d+) (%S+) (%d+) ?(%d*) ?(.*)$')
    after, reached = tonumber(after), tonumber(reached)
    if store ~= kept[4] or after < floor or reached > last or not read_tail(reached) then
      return AGAIN
    end
    local is_prefix = sub(pattern, -1) == '*'
    local word = is_prefix and sub(pattern, 1, -2) or pattern
    if is_prefix then
      if not end_one(word) then
        return AGAIN
      end
    else
      present(word)
    end
    local found, of = changed_here(word, is_prefix)
    if not found then
      found, of = changed_before(word, is_prefix, reached)
    end
    if compared > COMPARED then
      return AGAIN
    elseif found then
      return 'c' .. format(INTEGER, found) .. ':' .. of
    end
    return number ~= '' and 'c' .. number .. ':' .. key or nil
  end

  return none, unchanged
end
