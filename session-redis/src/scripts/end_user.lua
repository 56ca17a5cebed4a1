-- Ends a limited number of a user's sessions. Returns the values of those that this call ended.
-- KEYS: the user's sessions
-- ARGV: 1 base, 2 the end, 3 ttl of ended sessions, 4 ttl of indexes, 5 most sessions,
--       6 the id of the session that stays or '', 7 the device or '',
--       8 the latest creation time of sessions that end
local created_until, active, gone = tonumber(ARGV[8]), {}, {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if #active == tonumber(ARGV[5]) then
    break
  end
  if id ~= ARGV[6] then
    local key = ARGV[1] .. ':session:' .. id
    local head = read('GETRANGE', key, 0, LONGEST - 1)
    if head == '' then
      gone[#gone + 1] = id
    elseif is_record(head) and is_active(head) and number(head, 13) <= created_until
        and (ARGV[7] == '' or is_on(head, ARGV[7])) then
      local value = redis.call('GET', key)
      if is_whole(value) then
        active[#active + 1] = {id = id, value = value}
      end
    end
  end
end
if #active > 0 then
  settle(ARGV[1], user_of(active[1].value))
end
for _, id in ipairs(gone) do
  redis.call('ZREM', KEYS[1], id)
end
local ended = {}
for _, session in ipairs(active) do
  ended[#ended + 1] = finish(ARGV[1], session.id, session.value, ARGV[2], ARGV[3], ARGV[4])
end
return ended
