-- Inserts a session. Returns its id, or 0 if it exists.
-- KEYS: session, deadlines, created, and its user's sessions if it has a user
-- ARGV: id, value, ttl, created_at, deadline, ttl of indexes
if not redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3]) then
  return 0
end
for i = 2, #KEYS do
  local added = redis.pcall('ZADD', KEYS[i], i == 2 and ARGV[5] or ARGV[4], ARGV[1])
  if type(added) == 'table' then
    -- No index would list the session, so it is removed.
    redis.call('DEL', KEYS[1])
    for j = 2, i - 1 do
      redis.call('ZREM', KEYS[j], ARGV[1])
    end
    return added
  end
  redis.call('PEXPIRE', KEYS[i], ARGV[6])
end
return ARGV[1]
