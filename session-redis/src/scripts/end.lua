-- Ends sessions by their ids. Returns the values of those that this call ended.
-- KEYS: sessions; ARGV: the end, ttl of ended ones, ttl of indexes
local active = {}
for _, key in ipairs(KEYS) do
  local value = read('GET', key)
  if is_whole(value) and is_active(value) then
    settle(key:sub(1, -46), user_of(value))
    active[key] = value
  end
end
local ended = {}
for _, key in ipairs(KEYS) do
  if active[key] then
    ended[#ended + 1] = finish(key:sub(1, -46), key:sub(-36), active[key], ARGV[1], ARGV[2], ARGV[3])
    active[key] = nil
  end
end
return ended
