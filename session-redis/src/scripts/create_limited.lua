-- Inserts a session of a user under a limit. Returns {'created', id, ended values}, {'full', live
-- values}, or 0 if the session exists.
-- KEYS: session, deadlines, created, the user's sessions
-- ARGV: as create.lua, then 7 base, 8 now, 9 most sessions,
--       10 'kind' if only sessions on the new one's kind of device count, else '',
--       11 'created', 'seen' or 'refuse', 12 the end of evicted sessions, 13 their ttl,
--       14 most sessions on the new one's kind of device, '' for any number,
--       15 the session that the new one replaces, which does not count; '' for none
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
-- Raises the error of a damaged index before anything is written.
for i = 2, 3 do
  redis.call('ZCARD', KEYS[i])
end
local function kind_of(value)
  return value:byte(HEAD + value:byte(4) + 2)
end

local live, alike, kind, now = {}, 0, kind_of(ARGV[2]), tonumber(ARGV[8])
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  local value = redis.pcall('GETRANGE', ARGV[7] .. ':session:' .. id, 0, LONGEST - 1)
  if value == '' then
    redis.call('ZREM', KEYS[4], id)
  elseif id ~= ARGV[15] and is_record(value) and is_active(value) and deadline(value) > now then
    local is_alike = kind_of(value) == kind
    if is_alike or ARGV[10] == '' then
      live[#live + 1] = {id = id, at = number(value, ARGV[11] == 'seen' and 37 or 13), is_alike = is_alike}
    end
    if is_alike then
      alike = alike + 1
    end
  end
end

local most, most_alike = tonumber(ARGV[9]), tonumber(ARGV[14]) or math.huge
local going = {}
if #live >= most or alike >= most_alike then
  table.sort(live, function(a, b) return a.at < b.at or (a.at == b.at and a.id < b.id) end)
end

-- Evicts the first sessions that fit, so that one more does. Returns true, or false and the
-- sessions that fit if the limit refuses the new one.
local function make_room(fits, most)
  local found = {}
  for _, session in ipairs(live) do
    if fits(session) then
      found[#found + 1] = session
    end
  end
  local surplus = #found + 1 - most
  if surplus > 0 and ARGV[11] == 'refuse' then
    return false, found
  end
  for i = 1, surplus do
    found[i].goes = true
    going[#going + 1] = found[i].id
  end
  return true
end

local function full(sessions)
  local answer = {'full'}
  for _, session in ipairs(sessions) do
    answer[#answer + 1] = redacted(redis.call('GET', ARGV[7] .. ':session:' .. session.id))
  end
  return answer
end

-- Like `SessionLimit::evict` of session-core: first the limit per kind of device, then the other
-- limit for the remaining sessions.
if alike >= most_alike then
  local is_allowed, found = make_room(function(session) return session.is_alike end, most_alike)
  if not is_allowed then
    return full(found)
  end
end
if #live - #going >= most then
  local is_allowed, found = make_room(function(session) return not session.goes end, most)
  if not is_allowed then
    return full(found)
  end
end

local answer = {'created', ARGV[1]}
for _, id in ipairs(going) do
  local value = redis.call('GET', ARGV[7] .. ':session:' .. id)
  answer[#answer + 1] = finish(ARGV[7], id, value, ARGV[12], ARGV[13], ARGV[6])
end

redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
for i = 2, 4 do
  redis.call('PEXPIRE', KEYS[i], ARGV[6])
end
return answer
