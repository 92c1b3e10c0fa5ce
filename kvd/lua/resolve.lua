-- Says what became of batches whose replies were lost, and fences those that were not applied: bytes of theirs
-- that still wait in an old socket can never run.  Safe to repeat.
-- KEYS: meta
-- ARGV: daemon first last clock
-- RETURNS: for each number from first to last its outcomes, or false if it was not and will not be applied
local daemon, first, last = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local _, refused = read_meta(KEYS[1])
if refused then
  return refused
end
local answers = {}
for number = first, last do
  local kept = redis.call('HGET', KEYS[1], 'reply:' .. daemon .. ':' .. number % 8) or ''
  local of, outcomes = string.match(kept, '^(%d+) (.*)$')
  answers[#answers + 1] = tonumber(of) == number and outcomes or false
end
-- Redis looks for free memory at a script's first write only, and this must not need any.
redis.call('HDEL', KEYS[1], 'nothing')
-- The daemon's clock: the kept one stands still while nothing is written, and would have us taken for one long gone.
redis.call('HSET', KEYS[1], 'batch:' .. daemon, string.format('%.0f %s', last, ARGV[4]))
return answers
