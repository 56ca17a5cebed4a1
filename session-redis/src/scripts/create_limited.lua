-- Inserts a session of a user who may have so many. Returns {'created', id, ended values}, {'full', live values} or 0 if there is one.
-- KEYS: session, deadlines, created, the user's sessions
-- ARGV: as create.lua, then 7 base, 8 now, 9 most, 10 device kind that counts or '', 11 'created', 'seen' or 'refuse',
--       12 the end of those that go, 13 ttl of ended ones
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
-- A damaged index is told before anything is written.
for i = 2, 3 do
  redis.call('ZCARD', KEYS[i])
end
local live = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  local value = redis.pcall('GETRANGE', ARGV[7] .. ':session:' .. id, 0, LONGEST - 1)
  if value == '' then
    redis.call('ZREM', KEYS[4], id)
  elseif is_record(value) and is_active(value) and deadline(value) > tonumber(ARGV[8])
      and (ARGV[10] == '' or value:byte(HEAD + value:byte(4) + 2) == ARGV[10]:byte()) then
    live[#live + 1] = {id = id, at = ARGV[11] == 'seen' and number(value, 37) or number(value, 13)}
  end
end

local surplus = #live + 1 - tonumber(ARGV[9])
local answer = {'created', ARGV[1]}
if surplus > 0 and ARGV[11] == 'refuse' then
  answer = {'full'}
  for _, session in ipairs(live) do
    answer[#answer + 1] = redacted(redis.call('GET', ARGV[7] .. ':session:' .. session.id))
  end
  return answer
end
if surplus > 0 then
  table.sort(live, function(a, b) return a.at < b.at or (a.at == b.at and a.id < b.id) end)
  for i = 1, math.min(surplus, #live) do
    local value = redis.call('GET', ARGV[7] .. ':session:' .. live[i].id)
    answer[#answer + 1] = finish(ARGV[7], live[i].id, value, ARGV[12], ARGV[13], ARGV[6])
  end
end

redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
for i = 2, 4 do
  redis.call('PEXPIRE', KEYS[i], ARGV[6])
end
return answer
