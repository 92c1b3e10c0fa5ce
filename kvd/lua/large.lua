-- Reads one key with its value, as of one moment.
-- KEYS: data big
-- ARGV: key
-- RETURNS: its record, or false; its value if that stands apart, or false
local record = redis.call('HGET', KEYS[1], ARGV[1])
local large = record and string.match(record, '^(%d+) %d+ [TB] ')
return {record, large and redis.call('HGET', KEYS[2], large) or false}
