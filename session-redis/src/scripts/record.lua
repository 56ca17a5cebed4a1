-- The layout of a session's value, which src/record.rs writes. All scripts but the shortest begin
-- with this text.
--
--   1 format   2 'A'ctive or 'E'nded   3 kind   4 length of user   5 revision (8 bytes)
--   13 created_at   21 expires_at   29 idle timeout, -1 for none   37 last_seen_at (8 bytes each)
--   45 last client (19)   64 id (16)   80 user; after that
--   1 flags   2 device kind   3 authenticated_at (8)   11 device id (16)   27 length of name
--   28 length of profile (4)   32 name, profile; then
--   secrets and data of an active session, or the end of an ended one
--
-- Numbers are big-endian. Lua counts in doubles, exact to 2^53; revisions can be larger and are
-- incremented in halves.
local HEAD, MORE = 79, 31
-- Longest beginning of a value: the head, the user, and the fields at fixed positions after them.
local LONGEST = HEAD + 255 + MORE

local function is_record(value)
  return type(value) == 'string' and #value >= HEAD and value:byte(1) == 1 and (value:byte(2) == 65 or value:byte(2) == 69)
end

local function number(value, position)
  return (struct.unpack('>i8', value, position))
end

local function is_active(value)
  return value:byte(2) == 65
end

-- Returns when a session expires, and true if it expires because it is idle.
local function deadline(value)
  local absolute, idle = number(value, 21), number(value, 29)
  if idle >= 0 then
    local unused = number(value, 37) + idle
    if unused < absolute then
      return unused, true
    end
  end
  return absolute, false
end

local function user_of(value)
  return value:sub(HEAD + 1, HEAD + value:byte(4))
end

-- Returns the position of the last byte that an ended session keeps.
local function history_end(value)
  local more = HEAD + value:byte(4)
  local name, profile = struct.unpack('>BI4', value, more + 27)
  return more + MORE + name + profile
end

-- Returns true if nothing is missing of a value that was read whole.
local function is_whole(value)
  return is_record(value) and #value >= HEAD + value:byte(4) + MORE
    and #value >= history_end(value) + (is_active(value) and 0 or 10)
end

-- Reads a session's key with a command. Returns '' or false if there is none, a table if it has
-- another type.
--
-- While a cluster moves a slot between nodes, some of its keys are on one node and some on the
-- other, so a key that is missing here may exist. Asking for several keys at once is an error then,
-- and the caller tries again. So a script must read everything before it writes anything.
local function read(command, key, ...)
  local value = redis.pcall(command, key, ...)
  if type(value) ~= 'string' or value == '' then
    redis.call('EXISTS', KEYS[1], key)
  end
  return value
end

-- To be called before a session ends: raises an error while a cluster moves some of the keys that
-- the end writes.
local function settle(base, user)
  if user == '' then
    redis.call('EXISTS', KEYS[1], base .. ':deadlines', base .. ':ended')
  else
    redis.call('EXISTS', KEYS[1], base .. ':deadlines', base .. ':ended', base .. ':user:' .. user, base .. ':history:' .. user)
  end
end

local function raised(revision)
  local high, low = struct.unpack('>I4I4', revision)
  low = low + 1
  if low == 4294967296 then
    high, low = high + 1, 0
  end
  return struct.pack('>I4I4', high, low)
end

-- Returns the value without secrets and data, as lists show it.
local function redacted(value)
  if is_active(value) then
    return value:sub(1, history_end(value))
  end
  return value
end

-- Ends an active session, and returns its new value. The removal comes first: a script that has
-- begun to write may continue although the memory is full, so the end succeeds. A damaged index
-- never prevents an end. A value that is cut off is left unchanged.
local function finish(base, id, value, tail, ttl, index_ttl)
  redis.pcall('ZREM', base .. ':deadlines', id)
  if not is_whole(value) then
    return nil
  end
  local history = value:sub(1, 1) .. 'E' .. value:sub(3, 4) .. raised(value:sub(5, 12)) .. value:sub(13, history_end(value)) .. tail
  redis.call('SET', base .. ':session:' .. id, history, 'PX', ttl)
  redis.pcall('ZADD', base .. ':ended', number(tail, 1), id)
  redis.pcall('PEXPIRE', base .. ':ended', index_ttl)
  local user = user_of(value)
  if user ~= '' then
    redis.pcall('ZREM', base .. ':user:' .. user, id)
    redis.pcall('ZADD', base .. ':history:' .. user, number(value, 13), id)
    redis.pcall('PEXPIRE', base .. ':history:' .. user, index_ttl)
  end
  return history
end

