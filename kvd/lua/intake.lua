-- What a batch of writes contains, and whether there is memory for it.  It is looked through once, before anything is
-- applied, so that what no write of it needs is not made.
local BEYOND = 1.2 -- times its maximum that the memory in use may come to be by touches
local ARGV, last = ARGV, #ARGV
local sub = string.sub

-- Which keys there are, and what kinds of writes: frees goes on when memory is full, takes does not.
local keys, count = {}, 0
local frees, takes, touches, grouped, numbers, checked, joins = false, false, false, false, false, false, false
local limited = false
local at = 5
while at <= last do
  local letter = ARGV[at]
  if letter == 'm' then
    grouped = true
    at = at + 2
  elseif letter == 'q' then
    limited = true
    at = at + 2
  else
    count = count + 1
    keys[count] = ARGV[at + 1]
    if letter == 'd' then
      frees = true
    elseif letter == 'x' then
      frees, touches = true, true
    elseif grouped and find('ckrs', letter, 1, true) then
      frees, checked = true, true
    else
      takes = true
      if letter == 'w' then
        count = count + 1
        keys[count], joins = ARGV[at + 4], true
      end
      numbers = numbers or (letter == 'p' or letter == 'w') and ARGV[at + 5] == '*'
    end
    -- By a function, here and in items.lua, the engine would take 1.5 to 1.8 % more instructions.
    at = at + ((letter == 'p' or letter == 'w') and 6 or 3)
  end
end
-- Redis looks for free memory at a script's first write only, and that must not be one that frees some.  With nothing
-- that does, the first effect will say so.
local full, tight = false, false
if frees and (touches or takes) then
  local failed = redis.pcall('HSETNX', meta, 'revision', 0)
  full = type(failed) == 'table' and find(failed.err, 'OOM', 1, true)
  -- To give a deadline to what has none takes some memory after all, so that has an end, too.
  if full and touches then
    local info = redis.call('INFO', 'memory')
    tight = tonumber(match(info, 'used_memory:(%d+)')) > BEYOND * tonumber(match(info, 'maxmemory:(%d+)'))
  end
end

-- The record of each key, false if there is none, while the batch runs.
local records = {}
for i, raw in ipairs(redis.call('HMGET', data, unpack(keys))) do
  records[keys[i]] = raw
end
