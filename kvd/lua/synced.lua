-- Notes whether the engine has writes on disk before it answers, when that was changed while it runs.
-- KEYS: meta
-- ARGV: run synced; nothing is done unless the data were last known to be whole in this run; both as attach.lua takes
--   them
-- RETURNS: nothing
local kept, refused = read_meta(KEYS[1], 'run')
if refused then
  return refused
end
if kept[2] == ARGV[1] then
  -- What is left to note when memory is full is of more use than a refusal: Redis looks at a script's first write only.
  redis.call('HDEL', KEYS[1], 'nothing')
  redis.call('HSET', KEYS[1], 'synced', ARGV[2])
end
