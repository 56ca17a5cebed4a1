-- What every script knows of a session's value; src/record.rs writes it. All scripts begin with this text.
--
--   1 format   2 'A'ctive or 'E'nded   3 flags   4 kind   5 device kind   6 revision (8 bytes)
--   14 created_at   22 authenticated_at   30 expires_at   38 idle timeout, -1 for none   46 last_seen_at (8 bytes each)
--   54 last client (19)   73 id (16)   89 device id (16)   105 length of user   106 length of name   107 length of profile (4)
--   111 user, name, profile; then secrets and data of an active session, or the end of an ended one
--
-- Numbers are big-endian. Lua counts in doubles, exact to 2^53; revisions need more and are raised in halves.
local HEAD = 110

local function is_record(value)
  return type(value) == 'string' and #value >= HEAD and value:byte(1) == 1
end

local function number(value, position)
  return (struct.unpack('>i8', value, position))
end

local function is_active(value)
  return value:byte(2) == 65
end

-- When a session expires, and whether that is for lack of use.
local function deadline(value)
  local absolute, idle = number(value, 30), number(value, 38)
  if idle >= 0 then
    local unused = number(value, 46) + idle
    if unused < absolute then
      return unused, true
    end
  end
  return absolute, false
end

local function user_of(value)
  return value:sub(HEAD + 1, HEAD + value:byte(105))
end

-- The last byte of what an ended session keeps.
local function history_end(value)
  local profile = struct.unpack('>I4', value, 107)
  return HEAD + value:byte(105) + value:byte(106) + profile
end

local function raised(revision)
  local high, low = struct.unpack('>I4I4', revision)
  low = low + 1
  if low == 4294967296 then
    high, low = high + 1, 0
  end
  return struct.pack('>I4I4', high, low)
end

-- The value without secrets and data, as lists show it.
local function redacted(value)
  if is_active(value) then
    return value:sub(1, history_end(value))
  end
  return value
end

-- Ends an active session, and returns its value then. The removal comes first: a script that has begun to write may go on although
-- the memory is full, so an end gets through. A damaged index never stops one.
local function finish(base, id, value, tail, ttl, index_ttl)
  redis.pcall('ZREM', base .. ':deadlines', id)
  local history = value:sub(1, 1) .. 'E' .. value:sub(3, 5) .. raised(value:sub(6, 13)) .. value:sub(14, history_end(value)) .. tail
  redis.call('SET', base .. ':session:' .. id, history, 'PX', ttl)
  redis.pcall('ZADD', base .. ':ended', number(tail, 1), id)
  redis.pcall('PEXPIRE', base .. ':ended', index_ttl)
  local user = user_of(value)
  if user ~= '' then
    redis.pcall('ZREM', base .. ':user:' .. user, id)
    redis.pcall('ZADD', base .. ':history:' .. user, number(value, 14), id)
    redis.pcall('PEXPIRE', base .. ':history:' .. user, index_ttl)
  end
  return history
end

