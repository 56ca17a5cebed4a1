-- The layout of an entry's value, which src/cache/entry.rs writes. All scripts of the cache begin
-- with this text.
--
--   1 format   2 'R'ecord or 'T'ombstone
--   3 revision   11 verified_at   19 time to live in ms (8 bytes each)
--   27 scope   43 id (16 bytes each)
--   59 name of the MAC's key, 0 for none (4)   63 record, or end; then the MAC
--
-- Numbers are big-endian. Lua counts in doubles, exact to 2^53; revisions and times can be larger
-- and are compared in halves. Texts are not compared by order, because the order depends on the
-- server's locale.
local HEAD = 62

-- Returns true if an entry has no time to live, or a longer one than it was given.
local function is_prolonged(head)
  local remaining = redis.call('PTTL', KEYS[1])
  local high, low = struct.unpack('>I4I4', head, 19)
  return remaining == -1 or remaining > high * 4294967296 + low
end

local function is_of_another_type(reply)
  return type(reply) == 'table' and reply.err and reply.err:find('WRONGTYPE', 1, true)
end

