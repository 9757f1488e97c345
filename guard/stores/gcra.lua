-- One step of GCRA on one key, by the server's clock. The law of this file: the same sums as gcra() in memory.py.
-- KEYS[1] holds the theoretical arrival time. ARGV: emission, tolerance. All times in whole microseconds, exact in
-- a double until the year 2255. Answers {allowed, remaining, retry_after}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local emission = tonumber(ARGV[1])
local tolerance = tonumber(ARGV[2])

local stored = redis.call('GET', KEYS[1])
if stored and not string.find(stored, '^%d+$') then
  return redis.error_reply('WRONGTYPE not a time: another program uses this key')
end
local tat = math.max(tonumber(stored) or 0, now)

-- The clock went back: without this a key would be shut until the clock is where it was.
local horizon = now + tolerance + emission
local clamped = tat > horizon
if clamped then tat = horizon end

local wait = tat - now - tolerance
local allowed = wait <= 0
if allowed then tat = tat + emission end

if allowed or clamped then
  -- %.0f because tostring() keeps 14 digits. One millisecond more because PX counts from an earlier reading.
  local drain_ms = math.ceil((tat - now) / 1000) + 1
  redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', string.format('%.0f', drain_ms))
end
if not allowed then return {0, 0, wait} end
return {1, math.floor((tolerance + emission - (tat - now)) / emission), 0}
