-- What lives with whom while a batch of writes runs: what `owned` has, and what the batch has changed of that so far.
local MOST_WARDS = 1000 -- that may go with their owners, or get another end with them, in one transaction

-- It is made where it is needed, for that takes as long as a write.
-- records: those of keys as the batch has left them, false for none; remove: ends one key; untimed: keys that may have
-- a deadline no longer
local function new_family(records, remove, untimed)
  -- together: how many keys have gone with their owners, with these, or got another end with them.  undo: the records
  -- as a transaction found them.
  local family = {together = 0, undo = {}}
  -- By owner: how many live with it, and for each key that came or went, whether it does.
  local touched = {}
  -- Owners whose end has changed.
  local retimed = {}

  local function read(key)
    if records[key] == nil then
      records[key] = redis.call('HGET', data, key)
    end
    return records[key]
  end
  local kin = kinship(read)
  family.head_of, family.owner_in = kin.head_of, kin.owner_in

  local function of(owner)
    if not touched[owner] then
      touched[owner] = {count = redis.call('ZLEXCOUNT', owned, kin.range(owner)), is = {}}
    end
    return touched[owner]
  end

  -- The keys that live with one, in the order of their bytes.
  local function living_with(owner)
    local keys, is, stored = {}, of(owner).is, {}
    for _, key in ipairs(kin.living_with(owner)) do
      stored[key] = true
      if is[key] ~= false then
        keys[#keys + 1] = key
      end
    end
    local count = #keys
    for key, lives in pairs(is) do
      if lives and not stored[key] then
        keys[#keys + 1] = key
      end
    end
    if #keys > count then
      table.sort(keys, precedes)
    end
    return keys
  end

  -- A key has a record now that names an owner which it did not have.
  function family.join(owner, key)
    local found = of(owner)
    found.is[key], found.count = true, found.count + 1
  end

  -- A record with flags is replaced by one with others, or by none: what becomes of those that live with it, and of its
  -- living with another; the flags that it then has.
  function family.adopt(key, before, old, deadline, flags)
    local owner = kin.owner_in(old)
    if owner and kin.owner_in(flags) ~= owner then
      local found = of(owner)
      found.is[key], found.count = false, found.count - 1
      untimed[#untimed + 1] = key
    end
    if not kin.has_others(old) or of(key).count == 0 then
      return flags
    end
    if before ~= deadline and not retimed[key] then
      retimed[key] = true
      family.together = family.together + of(key).count
    end
    return kin.has_others(flags) and flags or flags .. ';w'
  end

  -- Whether a key cannot live with another, or that not be lived with: the outcome.
  function family.hindrance(key, before, owner, flags, most)
    if kin.owner_in(flags) or kin.has_others(before) and of(key).count > 0 or key == owner then
      return 'b'
    end
    return kin.owner_in(before) ~= owner and of(owner).count >= most and 'm'
  end

  -- The flags of a key that lives with an owner, and those of that, from what it has.
  function family.flags(owner, flags)
    return kin.flag(owner), kin.has_others(flags) and flags or flags .. ';w'
  end

  -- Removes what lives with a key, but for some keys; how many those are.
  local function remove_others(letter, owner, spared)
    local others, missing, count = living_with(owner), {}, 0
    for _, key in ipairs(others) do
      if records[key] == nil then
        missing[#missing + 1] = key
      end
    end
    if #missing > 0 then
      for i, raw in ipairs(redis.call('HMGET', data, unpack(missing))) do
        records[missing[i]] = raw
      end
    end
    for _, key in ipairs(others) do
      if not spared[key] then
        if family.undo[key] == nil then
          family.undo[key] = records[key]
        end
        remove(letter, key, records[key])
        count = count + 1
      end
    end
    return count
  end

  -- Removes a key that has flags, with all that lives with it in front of it; its revision, and how many those are.
  function family.remove(letter, key)
    local count = 0
    if kin.has_others(string.match(records[key], '^%d+ %d+ %a([^ ]*)')) then
      -- A capital letter: the next change belongs to the same piece.
      count = remove_others(string.upper(letter), key, {})
      family.together = family.together + (count > 0 and count + 1 or 0)
    end
    return remove(letter, key, records[key]), count
  end

  -- Removes what lives with owners that a transaction deletes, but for what it writes itself; false if that is too much
  -- beside what it had come to before, and nothing is to be done then.
  function family.take_along(owners, written)
    local before = family.together
    for _, owner in ipairs(owners) do
      if family.together - before + of(owner).count > MOST_WARDS then
        return false
      end
      family.together = family.together + remove_others('D', owner, written)
    end
    return true
  end

  -- All of this, to go back to.
  function family.copy()
    local saved = {}
    for owner, found in pairs(touched) do
      saved[owner] = {count = found.count, is = {}}
      for key, lives in pairs(found.is) do
        saved[owner].is[key] = lives
      end
    end
    return {touched = saved, together = family.together}
  end

  function family.go_back(saved)
    touched, family.together = saved.touched, saved.together
  end

  -- What is to be done at the end: `owned` gets the members joined and loses those parted; of `ttl`, timed has
  -- deadlines and keys in turn, and the last list the keys that have none.
  function family.effects()
    local joined, parted, timed, lasting = {}, {}, {}, {}
    local function time(key, deadline)
      if deadline == '0' then
        lasting[#lasting + 1] = key
      else
        timed[#timed + 1], timed[#timed + 2] = deadline, key
      end
    end
    local function deadline_of(owner)
      return string.match(read(owner) or '', '^%d+ (%d+)')
    end
    for owner, found in pairs(touched) do
      local deadline = deadline_of(owner)
      for key, lives in pairs(found.is) do
        if lives then
          joined[#joined + 1], joined[#joined + 2] = 0, owner .. ' ' .. key
          time(key, deadline)
        else
          parted[#parted + 1] = owner .. ' ' .. key
        end
      end
    end
    for owner in pairs(retimed) do
      local deadline = deadline_of(owner)
      for _, key in ipairs(deadline and living_with(owner) or {}) do
        time(key, deadline)
      end
    end
    return joined, parted, timed, lasting
  end

  return family
end
