-- Stores an entry unless the stored one is newer. Returns its scope and id as one text, and 1 if it
-- was stored.
-- KEYS: entry
-- ARGV: value, time to live in ms,
--       names of the MAC keys that readers accept, 4 bytes each; '' if readers require none
local value = ARGV[1]
local scope_and_id = value:sub(27, 58)

local function is_tombstone(head)
  return head:byte(2) == 84
end

local function is_accepted(name)
  for from = 1, #ARGV[3], 4 do
    if ARGV[3]:sub(from, from + 3) == name then
      return true
    end
  end
  return ARGV[3] == ''
end

-- An entry that no reader would accept does not prevent a new one.
local function is_readable(head)
  return #head == HEAD and head:byte(1) == 2 and (head:byte(2) == 82 or is_tombstone(head))
    and head:byte(3) < 128 and head:sub(3, 10) ~= ('\0'):rep(8)
    and head:sub(27, 58) == scope_and_id and is_accepted(head:sub(59, 62)) and not is_prolonged(head)
end

local function replaces(new, old)
  if is_tombstone(old) then
    return false
  end
  if is_tombstone(new) then
    return true
  end
  local ours, theirs = {struct.unpack('>I4I4i4I4', new, 3)}, {struct.unpack('>I4I4i4I4', old, 3)}
  for half = 1, 4 do
    if ours[half] ~= theirs[half] then
      return ours[half] > theirs[half]
    end
  end
  return false
end

local head = redis.pcall('GETRANGE', KEYS[1], 0, HEAD - 1)
if type(head) == 'string' then
  if is_readable(head) and not replaces(value, head) then
    return {scope_and_id, 0}
  end
elseif not is_of_another_type(head) then
  return head
end

local function set()
  return redis.pcall('SET', KEYS[1], value, 'PX', ARGV[2])
end

local reply = set()
if reply.err then
  -- Most likely the memory is full. The outdated entry must at least be removed, and a script that
  -- has begun to write may continue: so an entry still replaces another one, and a tombstone is
  -- always stored.
  if redis.call('UNLINK', KEYS[1]) == 1 or is_tombstone(value) then
    reply = set()
  end
  if reply.err then
    return reply
  end
end
return {scope_and_id, 1}
