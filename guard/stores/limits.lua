-- Many limits in one call, by the server's clock. The law of this file: the same sums as guard/stores/plans.py, each
-- entry whole or not at all, and nothing that goes wrong with one entry touches another.
--
-- ARGV[1] is the number of workers in the fleet. Each entry has eight words: op, n, cur, a, b, c, d, e. It takes the
-- next n KEYS: names of one counter, the newest first, of which the first that exists counts; `cur` says which of them
-- is today's, to be written to when none does (see `names.py`).
--
--   r  rate        a emission  b tolerance  c waiting  d wanted beside  e cost
--   p  afterwards  a emission  b tolerance  c to charge
--   q  quota       a count     b period     c waiting                   e cost
--   x  afterwards  a count     b period     c to charge
--   c  places      a count     b lapse ms   c waiting  d held here      e worker
--   w  workers                 b lapse ms                               e worker
--
-- Answers five whole numbers for each: how many of those waiting are admitted (-1: it failed, and the next is a
-- reason), where the lease begins (from now), how many it holds, how long the next has to wait, how many are left.
-- All times in microseconds, exact in a double until the year 2255.
local call, pcall_, floor, max, min = redis.call, redis.pcall, math.floor, math.max, math.min
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local fleet = tonumber(ARGV[1])
local DAY, DEBT, LEASE = 86400000000, 86400000000, 5000000
local FAILED = {WRONGTYPE = 1, OOM = 2, READONLY = 3, NOPERM = 4, MISCONF = 5}

local function fail(said)
  local word = type(said) == 'string' and said or said.err or ''
  return -1, FAILED[string.match(word, '^%-?(%u+)')] or 9, 0, 0, 0
end

local function write(key, value, lives)
  -- One millisecond more because PX counts from an earlier reading; %.0f because tostring() keeps 14 digits.
  local said = pcall_('SET', key, value, 'PX', string.format('%.0f', math.ceil(lives / 1000) + 1))
  return type(said) == 'table' and said.err and said or nil
end

-- The value that counts, the name to write it to, and the old name it leaves; a table when it cannot be told.
local function find(at, n, cur)
  for i = 1, n do
    local value = pcall_('GET', KEYS[at + i])
    if type(value) == 'table' then return value end
    if value then
      if not string.find(value, '^%d+$') then return {err = 'WRONGTYPE another program uses this key'} end
      if i > cur then return tonumber(value), KEYS[at + cur], KEYS[at + i] end
      return tonumber(value), KEYS[at + i]
    end
  end
  return 0, KEYS[at + cur]
end

local function store(key, old, value, lives)
  local failed = write(key, string.format('%.0f', value), lives)
  if not failed and old then pcall_('DEL', old) end
  return failed
end

local function rate(at, n, cur, emission, tolerance, waiting, beside, cost)
  local stored, key, old = find(at, n, cur)
  if type(stored) == 'table' then return fail(stored) end
  local tat = max(stored, now)
  -- The clock went back: without this a key would be shut until the clock is where it was.
  local horizon = now + tolerance + emission
  local clamped = tat > horizon
  if clamped then tat = horizon end

  local room = floor((now + tolerance - tat) / emission) + 1
  local admitted = max(0, min(waiting, floor(room / cost)))
  local from, extra = tat + admitted * cost * emission, 0
  local start = from
  if admitted == waiting and beside > 0 then
    -- A lease lies far enough ahead to last five seconds, or an eighth of the burst.
    start = max(from, now + min(LEASE, tolerance / 8) - beside * emission)
    start = floor(start)
    extra = min(beside, floor((floor((now + tolerance - start) / emission) + 1) / (2 * fleet)))
    if extra < 1 then extra, start = 0, from end
  end
  local after = start + extra * emission
  if after > tat or clamped then
    local failed = store(key, old, after, after - now)
    if failed then return fail(failed) end
  end
  local left = floor((now + tolerance - after) / emission) + 1
  local wait = 0
  if admitted < waiting then wait = max(1, after + (cost - 1) * emission - tolerance - now) end
  return admitted, start - now, extra, wait, max(0, left)
end

local function afterwards(at, n, cur, emission, tolerance, units)
  local stored, key, old = find(at, n, cur)
  if type(stored) == 'table' then return fail(stored) end
  local tat = min(max(stored, now) + units * emission, now + tolerance + DEBT)
  if units > 0 then
    local failed = store(key, old, tat, tat - now)
    if failed then return fail(failed) end
  end
  local wait = max(0, tat - now - tolerance)
  return wait == 0 and 1 or 0, 0, 0, wait, max(0, floor((now + tolerance - tat) / emission) + 1)
end

-- The calendar period (UTC) of now: its number, and when it ends. Months by the days from 1 March of the year 0
-- (the days-to-civil algorithm of H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
local function months_to(number)
  local year, month = floor(number / 12), number % 12 + 1
  if month <= 2 then year = year - 1 end
  local era = floor(year / 400)
  local of_era = year - era * 400
  local of_year = floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5)
  return era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
end

local function period_of(period)
  local day = floor(now / DAY)
  if period == 'day' then return day, (day + 1) * DAY end
  local days = day + 719468
  local era = floor(days / 146097)
  local of_era = days - era * 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local shifted = floor((5 * of_year + 2) / 153)
  local month = shifted < 10 and shifted + 3 or shifted - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  local number = year * 12 + month - 1
  return number, months_to(number + 1) * DAY
end

-- A quota is stored as one number: the period times 2^38, and what was used of it.
local BASE = 274877906944
local function quota(at, n, cur, count, period, waiting, charge, cost)
  local budget = charge ~= nil
  local stored, key, old = find(at, n, cur)
  if type(stored) == 'table' then return fail(stored) end
  local number, ends = period_of(period)
  local used = floor(stored / BASE) == number and stored % BASE or 0
  local admitted = 0
  charge = charge or 0
  if charge > 0 then
    used = min(used + charge, BASE - 1)
  elseif cost > 0 then
    admitted = max(0, min(waiting, floor((count - used) / cost)))
    used = used + admitted * cost
  else
    admitted = used < count and waiting or 0
  end
  if admitted * cost > 0 or charge > 0 then
    local failed = store(key, old, number * BASE + used, ends - now)
    if failed then return fail(failed) end
  end
  local wait = (admitted < waiting or (budget and used >= count)) and ends - now or 0
  return admitted, 0, 0, wait, max(0, count - used)
end

local function places(at, n, cur, count, lapse, waiting, held, worker)
  local others = 0
  local moment = floor(now / 1000)
  for i = 1, n do
    local found = pcall_('HGETALL', KEYS[at + i])
    if found.err then return fail(found) end
    for f = 1, #found, 2 do
      local places_, ends = string.match(found[f + 1], '^(%d+):(%d+)$')
      if not places_ then return fail('WRONGTYPE another program uses this key') end
      if tonumber(ends) <= moment then
        call('HDEL', KEYS[at + i], found[f])
      elseif found[f] ~= worker then
        others = others + tonumber(places_)
      elseif i ~= cur then
        call('HDEL', KEYS[at + i], found[f])
      end
    end
  end
  local admitted = max(0, min(waiting, count - others - held))
  local key, mine = KEYS[at + cur], held + admitted
  local said
  if mine > 0 then
    said = pcall_('HSET', key, worker, string.format('%.0f:%.0f', mine, moment + lapse))
    if type(said) ~= 'table' then said = pcall_('PEXPIRE', key, lapse) end
  else
    said = pcall_('HDEL', key, worker)
  end
  if type(said) == 'table' then return fail(said) end
  return admitted, 0, 0, admitted < waiting and 1 or 0, max(0, count - others - mine)
end

local function workers(at, lapse, worker)
  local key, moment = KEYS[at + 1], floor(now / 1000)
  local said = pcall_('ZADD', key, moment + lapse, worker)
  if type(said) == 'table' then return fail(said) end
  call('ZREMRANGEBYSCORE', key, '-inf', moment)
  call('PEXPIRE', key, lapse)
  return call('ZCARD', key), 0, 0, 0, 0
end

local answers, at = {}, 0
for entry = 2, #ARGV, 8 do
  local op, n, cur = ARGV[entry], tonumber(ARGV[entry + 1]), tonumber(ARGV[entry + 2])
  local a, b, c = tonumber(ARGV[entry + 3]), ARGV[entry + 4], tonumber(ARGV[entry + 5])
  local d, e = tonumber(ARGV[entry + 6]), ARGV[entry + 7]
  local first, second, third, fourth, fifth
  if op == 'r' then
    first, second, third, fourth, fifth = rate(at, n, cur, a, tonumber(b), c, d, tonumber(e))
  elseif op == 'q' then
    first, second, third, fourth, fifth = quota(at, n, cur, a, b, c, nil, tonumber(e))
  elseif op == 'c' then
    first, second, third, fourth, fifth = places(at, n, cur, a, tonumber(b), c, d, e)
  elseif op == 'p' then
    first, second, third, fourth, fifth = afterwards(at, n, cur, a, tonumber(b), c)
  elseif op == 'x' then
    first, second, third, fourth, fifth = quota(at, n, cur, a, b, 0, c, 1)
  else
    first, second, third, fourth, fifth = workers(at, tonumber(b), e)
  end
  local last = #answers
  answers[last + 1], answers[last + 2], answers[last + 3] = first, second, third
  answers[last + 4], answers[last + 5] = fourth, fifth
  at = at + n
end
return answers
