-- Ends sessions of a user, at most so many. Returns the values of those that this call ended.
-- KEYS: the user's sessions
-- ARGV: 1 base, 2 the end, 3 ttl of ended ones, 4 ttl of indexes, 5 most, 6 the id that stays or '', 7 the device or ''
local ended = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if #ended == tonumber(ARGV[5]) then
    break
  end
  if id ~= ARGV[6] then
    local key = ARGV[1] .. ':session:' .. id
    local head = redis.pcall('GETRANGE', key, 0, HEAD - 1)
    if head == '' then
      redis.call('ZREM', KEYS[1], id)
    elseif is_record(head) and is_active(head)
        and (ARGV[7] == '' or (head:byte(3) >= 2 and head:sub(89, 104) == ARGV[7])) then
      ended[#ended + 1] = finish(ARGV[1], id, redis.call('GET', key), ARGV[2], ARGV[3], ARGV[4])
    end
  end
end
return ended
