-- Deletes a limited number of a shard's ended sessions. Returns how many.
-- KEYS: ended
-- ARGV: base, the time before which the sessions ended, most sessions
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
local over = {}
for _, id in ipairs(ids) do
  local value = read('GET', ARGV[1] .. ':session:' .. id)
  if is_record(value) and not is_active(value) then
    local user = user_of(value)
    redis.call('EXISTS', KEYS[1], ARGV[1] .. ':created', ARGV[1] .. ':history:' .. user)
    over[id] = user
  end
end
local purged = 0
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[1], id)
  local user = over[id]
  if user then
    redis.call('DEL', ARGV[1] .. ':session:' .. id)
    redis.pcall('ZREM', ARGV[1] .. ':created', id)
    if user ~= '' then
      redis.pcall('ZREM', ARGV[1] .. ':history:' .. user, id)
    end
    purged = purged + 1
  end
end
return purged
