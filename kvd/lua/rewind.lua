-- Gives the store another id, because its history may have been rewound: old positions are then refused, and
-- revisions jump, so that none is ever used for two changes.
-- KEYS: log meta
-- ARGV: store new; nothing is done unless the store's id is `store`
-- RETURNS: the store's id, its revision
local kept = redis.call('HMGET', KEYS[2], 'store', 'revision')
if kept[1] ~= ARGV[1] then
  return kept
end
local STEP = 1000000000000
local revision = string.format('%.0f', (math.floor(tonumber(kept[2]) / STEP) + 1) * STEP)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'store', ARGV[2], 'revision', revision, 'floor', revision)
return {ARGV[2], revision}
