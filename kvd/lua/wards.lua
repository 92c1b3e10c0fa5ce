-- What lives with whom while a batch of writes runs: what `owned` has, and what the batch has changed of that so far.
-- kin: of owners.lua.  read: gives the record of a key as the batch has left it.
local function new_wards(kin, read)
  local wards = {}
  -- By owner: how many live with it, and for each key that came or went, whether it does.
  local touched = {}
  -- Owners whose end has changed.
  local retimed = {}

  local function of(owner)
    if not touched[owner] then
      touched[owner] = {count = redis.call('ZLEXCOUNT', owned, kin.range(owner)), is = {}}
    end
    return touched[owner]
  end

  function wards.count(owner)
    return of(owner).count
  end

  function wards.join(owner, key)
    local found = of(owner)
    found.is[key], found.count = true, found.count + 1
  end

  function wards.part(owner, key)
    local found = of(owner)
    found.is[key], found.count = false, found.count - 1
  end

  -- The owner has another end; how many that is news of.
  function wards.retime(owner)
    local known = retimed[owner]
    retimed[owner] = true
    return known and 0 or of(owner).count
  end

  -- The keys that live with one.
  function wards.living_with(owner)
    local keys, is, stored = {}, of(owner).is, {}
    for _, key in ipairs(kin.living_with(owner)) do
      stored[key] = true
      if is[key] ~= false then
        keys[#keys + 1] = key
      end
    end
    for key, lives in pairs(is) do
      if lives and not stored[key] then
        keys[#keys + 1] = key
      end
    end
    return keys
  end

  -- All of this, to go back to.
  function wards.copy()
    local saved = {}
    for owner, found in pairs(touched) do
      saved[owner] = {count = found.count, is = {}}
      for key, lives in pairs(found.is) do
        saved[owner].is[key] = lives
      end
    end
    return saved
  end

  function wards.go_back(saved)
    touched = saved
  end

  -- What is to be done at the end: `owned` gets the members joined and loses those parted; of `ttl`, timed has
  -- deadlines and keys in turn, and untimed the keys that have none.
  function wards.effects()
    local joined, parted, timed, untimed = {}, {}, {}, {}
    local function time(key, deadline)
      if deadline == '0' then
        untimed[#untimed + 1] = key
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
      for _, key in ipairs(deadline and wards.living_with(owner) or {}) do
        time(key, deadline)
      end
    end
    return joined, parted, timed, untimed
  end

  return wards
end
