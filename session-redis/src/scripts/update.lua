-- Replaces an active session of a known revision. Returns its key, {'conflict', revision},
-- {'ended', end}, or 0 if there is none.
-- KEYS: session
-- ARGV: value with the new revision, the beginning of the stored value if nothing changes but the
--       revision and the bytes after that beginning, the position of the last byte of the beginning
--       (an argument, because Lua is slow to format numbers), and ttl
if redis.call('GETRANGE', KEYS[1], '0', ARGV[3]) == ARGV[2] then
  -- The common case, before the functions for the other cases are defined. The expiry is unchanged.
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
  return KEYS[1]
end
