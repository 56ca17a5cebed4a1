-- Deletes ended sessions of a shard, at most so many. Returns how many.
-- KEYS: ended
-- ARGV: base, the time before which they ended, most
local purged = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local key = ARGV[1] .. ':session:' .. id
  local value = redis.pcall('GET', key)
  redis.call('ZREM', KEYS[1], id)
  if is_record(value) and not is_active(value) then
    redis.call('DEL', key)
    redis.pcall('ZREM', ARGV[1] .. ':created', id)
    local user = user_of(value)
    if user ~= '' then
      redis.pcall('ZREM', ARGV[1] .. ':history:' .. user, id)
    end
    purged = purged + 1
  end
end
return purged
