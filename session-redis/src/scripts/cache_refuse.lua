-- Removes an entry that a reader refused, unless it was replaced meanwhile.
-- KEYS: entry
-- ARGV: the value, '' if it had another type; 1 if its time to live was refused, else 0
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' then
  if stored ~= ARGV[1] or (ARGV[2] == '1' and not is_prolonged(stored)) then
    return 0
  end
elseif not is_of_another_type(stored) then
  return stored
end
return redis.call('UNLINK', KEYS[1])
