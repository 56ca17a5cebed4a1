-- Ends sessions of a shard that are past a deadline, at most so many. Returns their values.
-- KEYS: deadlines
-- ARGV: 1 base, 2 now, 3 most, 4 and 5 how the end for lack of use, and of age, goes on after its time, 6 ttl of ended ones,
--       7 ttl of indexes
local ended = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local value = redis.pcall('GET', ARGV[1] .. ':session:' .. id)
  if not is_record(value) or not is_active(value) then
    redis.call('ZREM', KEYS[1], id)
  else
    local at, unused = deadline(value)
    if at <= tonumber(ARGV[2]) then
      local tail = struct.pack('>i8', at) .. (unused and ARGV[4] or ARGV[5])
      ended[#ended + 1] = finish(ARGV[1], id, value, tail, ARGV[6], ARGV[7])
    else
      redis.call('ZADD', KEYS[1], at, id)
    end
  end
end
return ended
