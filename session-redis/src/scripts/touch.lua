-- Moves sightings forward. Returns how many moved.
-- KEYS: sessions; ARGV: the sighting of each, 27 bytes
local moved = 0
for i, key in ipairs(KEYS) do
  local value = redis.pcall('GETRANGE', key, 0, HEAD - 1)
  if is_record(value) and is_active(value) then
    local seen = number(ARGV[i], 1)
    if seen > number(value, 46) and seen < deadline(value) then
      redis.call('SETRANGE', key, 45, ARGV[i])
      moved = moved + 1
      if number(value, 38) >= 0 then
        local at = deadline(value:sub(1, 45) .. ARGV[i] .. value:sub(73))
        redis.pcall('ZADD', key:sub(1, -46) .. ':deadlines', at, key:sub(-36))
      end
    end
  end
end
return moved
