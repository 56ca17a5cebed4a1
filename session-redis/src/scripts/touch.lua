-- Moves sightings forward. Returns how many moved.
-- KEYS: sessions, then the deadlines of their shards; ARGV: the sighting of each session, 27 bytes
local moved = 0
for i, sighting in ipairs(ARGV) do
  local key = KEYS[i]
  local value = redis.pcall('GETRANGE', key, 0, HEAD - 1)
  if is_record(value) and is_active(value) then
    local seen = number(sighting, 1)
    if seen > number(value, 37) and seen < deadline(value) then
      redis.call('SETRANGE', key, 36, sighting)
      moved = moved + 1
      if number(value, 29) >= 0 then
        local at = deadline(value:sub(1, 36) .. sighting .. value:sub(64))
        redis.pcall('ZADD', key:sub(1, -46) .. ':deadlines', at, key:sub(-36))
      end
    end
  end
end
return moved
