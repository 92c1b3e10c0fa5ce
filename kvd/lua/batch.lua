-- What the scripts have in common that apply a numbered batch.  KEYS are all of them, and ARGV begins with: daemon
-- number clock.
--
-- A script that fails keeps what it had done, so all is computed before the first effect, and that is the change
-- log's: it fails for want of memory or disk, and leaves nothing behind.  Numbers are doubles: print by INTEGER.
local data, big, index, ttl, log, meta, replaced = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local find, match, format = string.find, string.match, string.format
-- By %d it takes a third of the time, where C's long has 64 bits.
local INTEGER = format('%d', 2 ^ 40) == '1099511627776' and '%d' or '%.0f'
local LAST = 2 ^ 53 - 1 -- revision

-- Consecutive revisions are printed as their tens and ONES: to print each as a whole is a tenth of all work.
local ONES = {[0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'}
local function tens_of(revision)
  local ones = revision % 10
  return revision < 10 and '' or format(INTEGER, (revision - ones) / 10), ones
end

local daemon, number, clock = ARGV[1], ARGV[2], ARGV[3]
local kept, refused = read_meta(meta, 'revision', 'clock', 'store', 'batch:' .. daemon, 'bytes', 'floor',
  'quotas')
if refused then
  return refused
elseif not kept[2] or tonumber(number) ~= tonumber(match(kept[5] or '0 0', '^(%d+) %d') or -1) + 1 then
  -- Nor is any that comes after the history was renewed (rewind.lua), until its daemon has attached anew.
  return redis.error_reply('FENCED this batch is not the next one of this store')
end
local revision, bytes, floor = tonumber(kept[2]), tonumber(kept[6]), tonumber(kept[7])

-- The log entry that ends at the present revision.  Its tag: which batch it is, the digest of what is in the entry, the
-- clock, as text, and the bytes up to it.
local function append(digest, now, ...)
  local tag = daemon .. ':' .. number .. ' ' .. digest .. ' ' .. now .. ' ' .. format(INTEGER, bytes)
  redis.call('XADD', log, format(INTEGER, revision), 'tag', tag, ...)
end
-- The large value of a revision is replaced: as long as the log has the change, it refers to the value, which waits.
local function let_go(rev, waiting, dropped)
  if tonumber(rev) > floor then
    waiting[#waiting + 1], waiting[#waiting + 2] = rev, rev
  else
    dropped[#dropped + 1] = rev
  end
end
local function finish(now, answer)
  redis.call('HSET', meta, 'revision', format(INTEGER, revision), 'bytes', format(INTEGER, bytes),
    'clock', now, 'batch:' .. daemon, number .. ' ' .. now,
    'reply:' .. daemon .. ':' .. number % 8, number .. ' ' .. answer)
  return answer
end
