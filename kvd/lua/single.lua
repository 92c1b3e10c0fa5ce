-- Applies one write of a batch, as its letter says (write.lua).

-- Whether one takes no notice of what was there before, so that it does not matter if that is damaged: unless others may
-- live with the key, or it with them, or it is counted.
local function is_blind(from)
  local letter = ARGV[from]
  return (letter == 't' or letter == 'b' or letter == 'p' and ARGV[from + 5] == '') and
    redis.call('EXISTS', KEYS[8]) == 0 and not (quotas and quotas.has(ARGV[from + 1]))
end

-- One write, and what it comes to.  Free: its condition was looked at.
local same_life, same_deadline
local function single(from, free)
  local letter, key, third = ARGV[from], ARGV[from + 1], ARGV[from + 2]
  local raw, simple, damaged = present(key)
  if damaged and not is_blind(from) then
    return DAMAGED
  elseif letter == 'i' then
    return increment(key, raw, simple, third)
  elseif letter == 'p' then
    local life, condition = ARGV[from + 4], ARGV[from + 5]
    if condition == '*' then
      key, raw = numbered(key)
      condition, free = '0', false
    end
    -- Most of a batch have the same.
    if life ~= same_life then
      same_life, same_deadline = life, life == '0' and '0' or format(INTEGER, present_time() + 1 + life)
    end
    return not free and condition ~= '' and conflict(raw, condition) or
      put(key, raw, simple, sub(third, 1, 1), '', ARGV[from + 3], same_deadline, sub(third, 2))
  elseif letter == 'w' then
    return join(from, free)
  elseif letter == 'd' then
    local failed = not raw and 'n'
    if not free and third ~= '' then
      failed = conflict(raw, third) or failed
    end
    if failed or simple then
      return failed or remove('d', key, raw)
    elseif not find(raw, '^%d+ %d+ %a;') then
      return remove('d', key, raw)
    end
    local rev, others = family().remove('d', key)
    return others > 0 and 'g' .. others .. ':' .. rev or rev
  elseif letter == 'x' then
    local life, wanted = match(third, '^(%d+) ?(.*)$')
    return not free and wanted ~= '' and conflict(raw, wanted) or touch(key, raw, life)
  end
  return put(key, raw, simple, letter, '', third, '0')
end
