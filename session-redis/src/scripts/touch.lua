-- Moves last-seen times forward. Returns how many sessions changed.
-- KEYS: sessions, then the deadlines of their shards
-- ARGV: now, then the last-seen update of each session: the time and the client, 27 bytes
local now, moved = tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  local key, sighting = KEYS[i - 1], ARGV[i]
  local value = redis.pcall('GETRANGE', key, 0, HEAD - 1)
  if is_record(value) and is_active(value) then
    local seen = number(sighting, 1)
    if seen > number(value, 37) and math.max(seen, now) < deadline(value) then
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
