-- Gives the records of some keys as of one moment, also of those whose deadline has passed: that of a key that lives
-- with another under this one's deadline, which is not in the record itself.
-- KEYS: data ttl meta
-- ARGV: key ...
-- RETURNS: the record of each, false if there is none
local _, refused = read_meta(KEYS[3])
if refused then
  return refused
end
local records = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i, record in ipairs(records) do
  local rev, rest = string.match(record or '', '^(%d+) 0 (%a[^ ]*;o.*)$')
  if rev then
    local deadline = string.format('%.0f', redis.call('ZSCORE', KEYS[2], ARGV[i]) or 0)
    records[i] = rev .. ' ' .. deadline .. ' ' .. rest
  end
end
return records
