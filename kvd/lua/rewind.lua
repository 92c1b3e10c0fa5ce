-- Gives the store another id, because its history may have been rewound: old positions are then refused, and
-- revisions jump, so that none is ever used for two changes.
-- KEYS: log meta
-- ARGV: store new run synced; nothing is renewed unless the store's id is `store`, which in this run, if it is given, it
--   was; run and synced as attach.lua takes them, run "" to leave both as they are
-- RETURNS: the store's id, its revision; or the error SPENT, and nothing was done: there are no revisions to jump to
local function note_run()
  if ARGV[3] ~= '' then
    redis.call('HSET', KEYS[2], 'run', ARGV[3], 'synced', ARGV[4])
  end
end
local kept, refused = read_meta(KEYS[2], 'store', 'revision')
if refused then
  return refused
end
if kept[2] ~= ARGV[1] then
  -- Another one came first, perhaps one who does not know the run: all is settled in it as if we had.
  note_run()
  return {kept[2], kept[3]}
end
-- At least one step ahead, which is more changes than a store loses, and two at the most: 2^53 holds a million jumps,
-- and after the last one there are 3 * 10^9 revisions left.
local STEP = 4000000000
local jumped = (math.floor(tonumber(kept[3]) / STEP) + 2) * STEP
if jumped >= 2 ^ 53 then
  return redis.error_reply('SPENT its revisions are used up: it stands at ' .. kept[3] .. ', and they end at 2^53')
end
local revision = string.format('%.0f', jumped)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'store', ARGV[2], 'revision', revision, 'floor', revision)
-- What all wrote before this is settled with it: nobody has to find it again after one more start of the store, and
-- who lost some of it need not renew the history once more (attach.lua).
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  local number, seen = string.match(fields[i + 1], '^(%d+) (%d+)$')
  if number and string.match(fields[i], '^batch:') then
    redis.call('HSET', KEYS[2], fields[i], number .. ' left ' .. seen)
  end
end
note_run()
return {ARGV[2], revision}
