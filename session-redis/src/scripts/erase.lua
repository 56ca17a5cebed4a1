-- Anonymizes a limited number of a user's ended sessions. Returns how many.
-- KEYS: the user's history
-- ARGV: base, most sessions, a profile without data
local ids, values = redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1), {}
for i, id in ipairs(ids) do
  values[i] = read('GET', ARGV[1] .. ':session:' .. id)
end
local erased = 0
for i, id in ipairs(ids) do
  local key, value = ARGV[1] .. ':session:' .. id, values[i]
  redis.call('ZREM', KEYS[1], id)
  if is_whole(value) and not is_active(value) then
    local tail = value:sub(history_end(value) + 1)
    local reason = tail:sub(1, 9 + tail:byte(9))
    local more = HEAD + value:byte(4)
    value = value:sub(1, 3) .. '\0' .. raised(value:sub(5, 12)) .. value:sub(13, 44) .. string.rep('\0', 19) .. value:sub(64, HEAD)
      .. string.char(value:byte(more + 1) % 2) .. '-' .. value:sub(more + 3, more + 10) .. string.rep('\0', 17)
      .. struct.pack('>I4', #ARGV[3]) .. ARGV[3] .. reason .. 'system'
    redis.call('SET', key, value, 'KEEPTTL')
    erased = erased + 1
  end
end
return erased
