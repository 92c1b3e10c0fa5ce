-- Whether one key comes before another, by their bytes: Lua compares as is the custom of some language.
local function precedes(one, other)
  local byte, at = string.byte, 1
  while byte(one, at) and byte(one, at) == byte(other, at) do
    at = at + 1
  end
  return (byte(one, at) or -1) < (byte(other, at) or -1)
end
