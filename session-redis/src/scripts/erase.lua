-- Forgets whose the ended sessions of a user were, at most so many. Returns how many.
-- KEYS: the user's history
-- ARGV: base, most, the profile of nobody
local erased = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1)) do
  local key = ARGV[1] .. ':session:' .. id
  local value = redis.pcall('GET', key)
  redis.call('ZREM', KEYS[1], id)
  if is_record(value) and not is_active(value) then
    local tail = value:sub(history_end(value) + 1)
    local reason = tail:sub(1, 9 + tail:byte(9))
    value = value:sub(1, 2) .. string.char(value:byte(3) % 2) .. value:sub(4, 4) .. '-' .. raised(value:sub(6, 13))
      .. value:sub(14, 53) .. string.rep('\0', 19) .. value:sub(73, 88) .. string.rep('\0', 18)
      .. struct.pack('>I4', #ARGV[3]) .. ARGV[3] .. reason .. 'system'
    redis.call('SET', key, value, 'KEEPTTL')
    erased = erased + 1
  end
end
return erased
