-- Ends sessions by their ids. Returns the values of those that this call ended.
-- KEYS: sessions; ARGV: the end, ttl of ended ones, ttl of indexes
local ended = {}
for _, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  if is_record(value) and is_active(value) then
    ended[#ended + 1] = finish(key:sub(1, -46), key:sub(-36), value, ARGV[1], ARGV[2], ARGV[3])
  end
end
return ended
