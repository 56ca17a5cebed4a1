-- Replaces an active session of a known revision. Returns its key, {'conflict', revision}, {'ended', end}, or 0 if there is none.
-- KEYS: session
-- ARGV: value with the new revision, how the stored one begins if nothing but the rest and the revision changes, the place of the last
--       byte of that, because Lua is slow to spell numbers, and ttl
if redis.call('GETRANGE', KEYS[1], '0', ARGV[3]) == ARGV[2] then
  -- The usual case, before functions are made for the others. It expires when it did.
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
  return KEYS[1]
end
