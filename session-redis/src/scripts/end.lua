-- Ends sessions by their ids. Returns the values of those that this call ended.
-- KEYS: sessions
-- ARGV: 1 the end, 2 ttl of ended sessions, 3 ttl of indexes,
--       4 the latest creation time of sessions that end
local created_until = tonumber(ARGV[4])
local active = {}
for _, key in ipairs(KEYS) do
  local value = read('GET', key)
  if is_whole(value) and is_active(value) and number(value, 13) <= created_until then
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
