-- Finds the keys that end in the revision which makes them.
--
-- This and the other parts of write.lua that few batches need make their functions only for a batch that does: to make
-- them takes as long as what they do.
local numbered
local taken = false -- the key that a number would make, and is there
if numbers then
  -- The key that the next revision makes, and its record.  One that has expired ends first, and takes that revision.
  numbered = function(pattern)
    local key, before
    repeat
      key, before = sub(pattern, 1, -2) .. format('%016.0f', revision + 1), revision
      if records[key] == nil then
        records[key] = redis.call('HGET', data, key)
      end
      if undo[key] == nil then
        undo[key] = records[key]
      end
      taken = present(key) and key
    until revision == before
    return key, records[key]
  end
end
