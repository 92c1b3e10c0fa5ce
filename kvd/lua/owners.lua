-- How keys live with others.  The record of a key that lives with another has the flag ;o with its owner; that of an
-- owner has ;w, from the first such key on.  `owned` has of each the owner, a space and the key; `ttl` has each under
-- its owner's deadline.  So what is there, and when it ends, is found as of other keys.
local owned = KEYS[8]
local TOGETHER = 100 -- changes by owners that end, after which a batch, or a step of the sweep, comes to its end

-- What asks for this makes it only where it meets flags, for that takes time.  read: gives the record of a key.
local function kinship(read)
  local kin = {}

  -- The owner that flags name, nil for none.
  function kin.owner_in(flags)
    local owner = string.match(flags, ';o([^;]+)')
    if owner then
      owner = string.gsub(owner, '%%3B', ';')
      owner = string.gsub(owner, '%%25', '%%')
    end
    return owner
  end

  -- The flag that names an owner.
  function kin.flag(owner)
    return ';o' .. string.gsub(owner, '[%%;]', {['%'] = '%25', [';'] = '%3B'})
  end

  -- Whether others live, or have lived, with the key whose flags these are.
  function kin.has_others(flags)
    return string.find(flags .. ';', ';w;', 1, true)
  end

  -- The key with which one ends, and the deadline of that.
  function kin.head_of(key, flags, deadline)
    local owner = kin.owner_in(flags)
    local raw = owner and read(owner)
    local ends = raw and string.match(raw, '^%d+ (%d+) ')
    if ends then
      return owner, ends
    end
    return key, deadline
  end

  -- The range of `owned` that tells what lives with a key: there is nothing between a space and "!".
  function kin.range(owner)
    return '[' .. owner .. ' ', '(' .. owner .. '!'
  end

  -- What lives with a key.
  function kin.living_with(owner)
    local keys = redis.call('ZRANGEBYLEX', owned, kin.range(owner))
    for i, member in ipairs(keys) do
      keys[i] = string.sub(member, #owner + 2)
    end
    return keys
  end

  return kin
end
