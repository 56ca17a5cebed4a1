-- Whether a session is on a device, by the 16 bytes of its id. The value goes up to the profile at
-- least.
local function is_on(value, device)
  local more = HEAD + value:byte(4)
  return #value >= more + MORE and value:byte(more + 1) >= 2 and value:sub(more + 11, more + 26) == device
end
