-- Ends a limited number of a shard's sessions that are past a deadline. Returns their values.
-- KEYS: deadlines
-- ARGV: 1 base, 2 now, 3 most sessions, 4 and 5 the end without its time, for idle and for
--       absolute expiry, 6 ttl of ended sessions, 7 ttl of indexes
local due, gone, later = {}, {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local value = read('GET', ARGV[1] .. ':session:' .. id)
  if not is_whole(value) or not is_active(value) then
    gone[#gone + 1] = id
  else
    local at, unused = deadline(value)
    if at <= tonumber(ARGV[2]) then
      settle(ARGV[1], user_of(value))
      due[#due + 1] = {id = id, value = value, tail = struct.pack('>i8', at) .. (unused and ARGV[4] or ARGV[5])}
    else
      later[#later + 1] = {id = id, at = at}
    end
  end
end
local ended = {}
for _, session in ipairs(due) do
  ended[#ended + 1] = finish(ARGV[1], session.id, session.value, session.tail, ARGV[6], ARGV[7])
end
for _, id in ipairs(gone) do
  redis.call('ZREM', KEYS[1], id)
end
for _, session in ipairs(later) do
  redis.call('ZADD', KEYS[1], session.at, session.id)
end
return ended
