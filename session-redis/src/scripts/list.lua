-- Reads one stretch of a listing, newest first. Returns {score, id, values}: the position where the
-- next stretch begins, '' and '' if this was the last.
-- KEYS: the sorted sets to read together, of one shard
-- ARGV: 1 base, 2 score and 3 id of the position to begin after, '' for the newest,
--       4 the lowest score, 5 how many sessions to read, 6 'live', 'ended' or '', 7 now,
--       8 kind or '', 9 username or '', 10 device or ''
local most = tonumber(ARGV[5])

-- Returns the next entries of a set: one more than needed, which shows whether the set continues,
-- and all entries with the position's own score.
local function stretch(key)
  local found = {}
  local function add(pairs)
    for i = 1, #pairs, 2 do
      if ARGV[2] == '' or tonumber(pairs[i + 1]) < tonumber(ARGV[2]) or pairs[i] < ARGV[3] then
        found[#found + 1] = {id = pairs[i], score = pairs[i + 1], key = key}
      end
    end
  end
  local below = '+inf'
  if ARGV[2] ~= '' then
    below = '(' .. ARGV[2]
    if tonumber(ARGV[2]) >= tonumber(ARGV[4]) then
      add(redis.call('ZREVRANGEBYSCORE', key, ARGV[2], ARGV[2], 'WITHSCORES'))
    end
  end
  add(redis.call('ZREVRANGEBYSCORE', key, below, ARGV[4], 'WITHSCORES', 'LIMIT', 0, most + 1))
  return found
end

local found = {}
for _, key in ipairs(KEYS) do
  for _, entry in ipairs(stretch(key)) do
    found[#found + 1] = entry
  end
end
table.sort(found, function(a, b)
  local x, y = tonumber(a.score), tonumber(b.score)
  return x > y or (x == y and a.id > b.id)
end)

local answer = {'', ''}
for i, entry in ipairs(found) do
  if i > most then
    answer[1], answer[2] = found[most].score, found[most].id
    break
  end
  local value = read('GET', ARGV[1] .. ':session:' .. entry.id)
  if not value then
    redis.call('ZREM', entry.key, entry.id)
  elseif not is_whole(value) then
    answer[#answer + 1] = ''
  else
    local fits = (ARGV[6] == '' or (ARGV[6] == 'live') == is_active(value))
      and (ARGV[6] ~= 'live' or deadline(value) > tonumber(ARGV[7]))
      and (ARGV[8] == '' or value:sub(3, 3) == ARGV[8])
      and (ARGV[10] == '' or is_on(value, ARGV[10]))
    if fits and ARGV[9] ~= '' then
      local more = HEAD + value:byte(4)
      fits = value:sub(more + MORE + 1, more + MORE + value:byte(more + 27)) == ARGV[9]
    end
    if fits then
      answer[#answer + 1] = redacted(value)
    end
  end
end
return answer
