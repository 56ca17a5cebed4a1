-- Returns true if a session is on a device, given by the 16 bytes of its id. The value must contain
-- at least the fields before the profile.
local function is_on(value, device)
  local more = HEAD + value:byte(4)
  return #value >= more + MORE and value:byte(more + 1) >= 2 and value:sub(more + 11, more + 26) == device
end
