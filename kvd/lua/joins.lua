-- Sets keys that live with others while a batch of writes runs.
local join
if joins then
  -- Sets a key to live with another.
  join = function(from, free)
    local key, third, value, owner = ARGV[from + 1], ARGV[from + 2], ARGV[from + 3], ARGV[from + 4]
    local condition = ARGV[from + 5]
    local of, _, unknown = present(owner)
    local raw, simple, damaged = present(key)
    if damaged or unknown then
      return DAMAGED
    elseif condition == '*' then
      key, raw, simple = numbered(key)
      condition, free = '0', false
    end
    local failed = not free and condition ~= '' and conflict(raw, condition)
    if failed or not of then
      return failed or 'c0:' .. owner
    end
    local rev, deadline, kind, flags, rest = match(of, '^(%d+) (%d+) (%a)([^ ]*) (.*)$')
    local before = raw and match(raw, '^%d+ %d+ %a([^ ]*)') or ''
    local hindered = family().hindrance(key, before, owner, flags, tonumber(ARGV[4]))
    if hindered then
      return hindered
    end
    local own, others = family().flags(owner, flags)
    local is_new = family().owner_in(before) ~= owner
    local outcome = put(key, raw, simple, sub(third, 1, 1), own, value, '0', sub(third, 2))
    if find(outcome, '^q') then
      return outcome
    end
    if others ~= flags then
      local record = rev .. ' ' .. deadline .. ' ' .. kind .. others .. ' ' .. rest
      records[owner], sets[set + 1], sets[set + 2], set = record, owner, record, set + 2
    end
    if is_new then
      family().join(owner, key)
    end
    return outcome
  end
end
