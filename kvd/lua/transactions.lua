-- Applies transactions of a batch of writes: each whole, or not at all.
local transaction
if grouped then
  local lists = {adds, gone, ttls, untimed, bigs, waiting, dropped}
  local none, unchanged
  if checked then
    local function is_expired(key, raw)
      local deadline, flags = match(raw, '^%d+ (%d+) %a([^ ]*) ')
      if not deadline then
        return false
      elseif flags ~= '' then
        deadline = select(2, family().head_of(key, flags, deadline))
      end
      return deadline ~= '0' and tonumber(deadline) <= present_time()
    end
    none, unchanged = make_checks(DAMAGED, records, adds, changes, present, present_time, is_expired)
  end

  -- Where the write after one begins.
  local function after(from)
    local letter = ARGV[from]
    return from + ((letter == 'p' or letter == 'w') and 6 or 3)
  end

  -- The condition of a write, "" if it has none.
  local function condition_of(from, letter)
    if letter == 'p' or letter == 'w' then
      return ARGV[from + 5] ~= '*' and ARGV[from + 5] or ''
    elseif letter == 'd' or letter == 'c' then
      return ARGV[from + 2]
    end
    return letter == 'x' and match(ARGV[from + 2], '^%d+ ?(.*)$') or ''
  end

  -- Why one is not to be done, if so.
  local function hindrance(from)
    local letter, key = ARGV[from], ARGV[from + 1]
    if letter == 'r' then
      return none(key)
    elseif letter == 's' then
      return unchanged(key, ARGV[from + 2])
    end
    if letter == 'w' then
      present(ARGV[from + 4])
    end
    local raw, _, damaged = present(key)
    if damaged and not is_blind(from) then
      return DAMAGED
    end
    local condition, failed = condition_of(from, letter), nil
    if letter == 'k' then
      failed = not raw and 'c0'
    elseif condition ~= '' then
      failed = conflict(raw, condition)
    end
    return failed and failed ~= DAMAGED and failed .. ':' .. key or failed
  end

  -- That of the first one from one place to another that has some.
  local function first_hindrance(from, till)
    while from < till do
      local failed = hindrance(from)
      if failed or made and made.together > TOGETHER then
        return failed
      end
      from = after(from)
    end
  end

  -- All that the writes from one place to another may change, to go back to.
  local function snapshot(from, till)
    local saved = {revision = revision, bytes = bytes, size = size, set = set, records = {}, lengths = {},
      family = made and made.copy(), counts = quotas and quotas.begin()}
    for i, list in ipairs(lists) do
      saved.lengths[i] = #list
    end
    while from < till do
      saved.records[ARGV[from + 1]] = records[ARGV[from + 1]]
      if ARGV[from] == 'w' then
        saved.records[ARGV[from + 4]] = records[ARGV[from + 4]]
      end
      from = after(from)
    end
    undo, taken = saved.records, false
    return saved
  end

  local function shorten(list, length, to)
    for i = length, to + 1, -1 do
      list[i] = nil
    end
  end

  local function restore(saved)
    shorten(changes, size, saved.size)
    shorten(digests, size, saved.size)
    shorten(sets, set, saved.set)
    for i, list in ipairs(lists) do
      shorten(list, #list, saved.lengths[i])
    end
    revision, bytes, size, set = saved.revision, saved.bytes, saved.size, saved.set
    if saved.family then
      made.go_back(saved.family)
    else
      made = nil
    end
    if quotas then
      quotas.go_back(saved.counts)
    end
    for key, raw in pairs(saved.records) do
      records[key] = raw
    end
  end

  -- What goes with owners that are deleted comes before the transaction's own changes, but for what it writes itself.
  -- Whether that is not too much.
  local function take_along(from, till)
    local written, known, owners = {}, {}, {}
    while from < till do
      local key = ARGV[from + 1]
      local raw = ARGV[from] == 'd' and records[key]
      if raw and not known[key] and find(raw, '^%d+ %d+ %a;') then
        known[key], owners[#owners + 1] = true, key
      end
      written[key] = written[key] or not (checked and find('ckrs', ARGV[from], 1, true))
      from = after(from)
    end
    return not owners[1] or family().take_along(owners, written)
  end

  -- A transaction: what it comes to, nothing if it has to wait for a batch of its own, and where the next write begins.
  transaction = function(first, writes)
    local till, hindered = first, false
    for _ = 1, writes do
      hindered = hindered or full and not find('dxckrs', ARGV[till], 1, true)
      till = after(till)
    end
    local failed = hindered and 'f' or first_hindrance(first, till)
    if failed then
      return failed, till
    elseif made and made.together > TOGETHER then
      return nil, first
    end
    local saved = snapshot(first, till)
    local from = first
    local before = made and made.together or 0
    if frees and not take_along(first, till) then
      restore(saved)
      return 'x', till
    end
    while from < till do
      local outcome = not (checked and find('ckrs', ARGV[from], 1, true)) and single(from, true) or ''
      if made and made.together - before > MOST_WARDS then
        outcome = 'x'
      end
      if find(outcome, '^[aofblmxcz]') then
        restore(saved)
        return taken and outcome ~= DAMAGED and outcome .. ':' .. taken or outcome, till
      end
      from = after(from)
    end
    local over = quotas and quotas.finish(saved.counts)
    if over then
      restore(saved)
      return over, till
    end
    -- A capital letter: the next change belongs to the same transaction.
    for i = saved.size + 1, size - 2, 2 do
      changes[i] = string.upper(sub(changes[i], 1, 1)) .. sub(changes[i], 2)
    end
    return format(INTEGER, revision), till
  end
end
