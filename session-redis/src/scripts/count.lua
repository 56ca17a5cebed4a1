-- Counts one stretch of a shard's sessions. Returns {rank of the next stretch or -1, live, expired,
-- oldest, newest, {reasons}, {users}}.
-- KEYS: created
-- ARGV: base, now, rank of the first session, how many sessions
local ids = redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[3] + ARGV[4] - 1)
local live, expired, oldest, newest, reasons, users, gone = 0, 0, '', '', {}, {}, 0
for _, id in ipairs(ids) do
  local value = read('GET', ARGV[1] .. ':session:' .. id)
  if not value then
    redis.call('ZREM', KEYS[1], id)
    gone = gone + 1
  elseif is_whole(value) then
    local created = value:sub(13, 20)
    if oldest == '' then
      oldest = created
    end
    newest = created
    if not is_active(value) then
      local first = history_end(value) + 9
      reasons[#reasons + 1] = value:sub(first + 1, first + value:byte(first))
    elseif deadline(value) > tonumber(ARGV[2]) then
      live = live + 1
      users[#users + 1] = user_of(value)
    else
      expired = expired + 1
    end
  end
end
local next = -1
if #ids == tonumber(ARGV[4]) then
  next = ARGV[3] + ARGV[4] - gone
end
return {next, live, expired, oldest, newest, reasons, users}
