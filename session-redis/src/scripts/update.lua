-- Replaces an active session of a known revision. Returns its id, {'conflict', revision}, {'ended', end}, or 0 if there is none.
-- KEYS: session, deadlines
-- ARGV: id, value with the new revision, ttl, the revision that is expected
local stored = redis.call('GETRANGE', KEYS[1], 0, HEAD + 254)
if stored == '' then
  return 0
end
if not is_record(stored) then
  return {'corrupt'}
end
if not is_active(stored) then
  local value = redis.call('GET', KEYS[1])
  return {'ended', value:sub(history_end(value) + 1)}
end
if stored:sub(6, 13) ~= ARGV[4] then
  return {'conflict', stored:sub(6, 13)}
end

local value = ARGV[2]
local seen = value:sub(46, 72)
if number(stored, 46) > number(value, 46) then
  seen = stored:sub(46, 72)
end
local user = user_of(stored)
-- What never changes is the stored one's: kind, created_at, id, user.
value = value:sub(1, 3) .. stored:sub(4, 4) .. value:sub(5, 13) .. stored:sub(14, 21) .. value:sub(22, 45) .. seen
  .. stored:sub(73, 88) .. value:sub(89, 104) .. stored:sub(105, 105) .. value:sub(106, HEAD) .. user
  .. value:sub(HEAD + 1 + value:byte(105))
redis.call('SET', KEYS[1], value, 'PX', ARGV[3])
local at = deadline(value)
if at ~= deadline(stored) then
  redis.pcall('ZADD', KEYS[2], at, ARGV[1])
end
return ARGV[1]
