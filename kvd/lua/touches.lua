-- Sets times to live while a batch of writes runs.
local touch
if touches then
  -- Keeps the revision, and the flags.
  touch = function(key, raw, life)
    if not raw then
      return 'n'
    end
    local rev, before, rest = match(raw, '^(%d+) (%d+) (.*)$')
    local flags = match(rest, '^%a([^ ]*)')
    if flags ~= '' and family().owner_in(flags) then
      return 'l'
    end
    if tight and life ~= '0' and before == '0' then
      return 'f'
    end
    local deadline = life == '0' and '0' or format(INTEGER, present_time() + 1 + life)
    local record = rev .. ' ' .. deadline .. ' ' .. rest
    records[key], sets[set + 1], sets[set + 2], set = record, key, record, set + 2
    if deadline ~= '0' then
      ttls[#ttls + 1], ttls[#ttls + 2] = deadline, key
    elseif before ~= '0' then
      untimed[#untimed + 1] = key
    end
    if flags ~= '' then
      family().adopt(key, before, flags, deadline, flags)
    end
    return 't'
  end
end
