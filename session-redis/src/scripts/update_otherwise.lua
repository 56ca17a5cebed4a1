-- Continues update.lua.
local stored, value = redis.call('GETRANGE', KEYS[1], 0, LONGEST - 1), ARGV[1]
if stored == '' then
  return redis.call('EXISTS', KEYS[1]) == 1 and {'corrupt'} or 0
end
if not is_record(stored) then
  return {'corrupt'}
end
if not is_active(stored) then
  stored = redis.call('GET', KEYS[1])
  return is_whole(stored) and {'ended', stored:sub(history_end(stored) + 1)} or {'corrupt'}
end
if stored:sub(5, 12) ~= ARGV[2]:sub(5, 12) then
  return {'conflict', stored:sub(5, 12)}
end

local seen = value:sub(37, 63)
if number(stored, 37) > number(value, 37) then
  seen = stored:sub(37, 63)
end
-- The fields that never change come from the stored value: kind, created_at, id, user.
value = value:sub(1, 2) .. stored:sub(3, 4) .. value:sub(5, 12) .. stored:sub(13, 20) .. value:sub(21, 36) .. seen
  .. stored:sub(64, HEAD) .. user_of(stored) .. value:sub(HEAD + 1 + value:byte(4))
local at, deadlines = deadline(value), KEYS[1]:sub(1, -46) .. ':deadlines'
-- Raises an error, before anything is written, while a cluster moves some of these keys.
redis.call('EXISTS', KEYS[1], deadlines)
redis.call('SET', KEYS[1], value, 'PX', ARGV[4])
if at ~= deadline(stored) then
  redis.pcall('ZADD', deadlines, at, KEYS[1]:sub(-36))
end
return KEYS[1]
