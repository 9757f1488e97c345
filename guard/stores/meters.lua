-- What a worker's meters have counted, merged into the fleet's. The law of this file: a bounded number of
-- commands a name, a name that holds something foreign spoils its own answer only, and time is the server's.
--
-- KEYS: for each meter key the name of its numbers, then the names of its open sets.
-- ARGV: the layout's digest (2 bytes), milliseconds to live, one letter a column, one constant (double) a column; then
--   for each name of numbers: how many sets follow (1 byte), and the numbers that were added;
--   for each name of a set: "d" (distinct) or "f" (few), its cap (2 bytes), the elements that are new (8 bytes each).
-- Answers for each name: the value as it is stored, the count of a distinct, the elements of a few, or nil: an error.
--
-- A value: digest (2 bytes), server's milliseconds modulo 2^32 (4), two bits a column for its width (absent, 2, 4 or 8
-- bytes), then the columns that are there, as of those milliseconds. Columns by letter:
--   d decaying sum (constant: 1 / half-life in s)   l leaky level (constant: rate a second)   t sum
--   n age of the newest, o of the oldest, in ms and one   m comes only from workers: the level their sum alone makes
local digest, ttl, letters = ARGV[1], ARGV[2], ARGV[3]
local columns = #letters
local constants = {struct.unpack('<' .. string.rep('d', columns), ARGV[4])}
local tag_bytes = math.ceil(columns / 4)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = digest .. struct.pack('<I4', now % 4294967296)
local nothing = string.rep('\0', tag_bytes)
local byte, char, sub, find, floor = string.byte, string.char, string.sub, string.find, math.floor

local letter, level_of = {}, {}
local kept = #string.gsub(letters, 'm', '')  -- the columns that are kept
local alone = kept
for c = 1, columns do
  letter[c] = sub(letters, c, c)
  if letter[c] == 'l' then
    alone = alone + 1
    level_of[c] = alone
  end
end

-- {format, columns that are there, bytes} for the bits that say how wide the columns are.
local shapes = {}
local function shape_of(tags)
  local format, there, size = {'<'}, {}, 0
  for c = 1, columns do
    local width = floor(byte(tags, floor((c - 1) / 4) + 1) / 4 ^ ((c - 1) % 4)) % 4
    if width > 0 then
      local age = letter[c] == 'n' or letter[c] == 'o'
      format[#format + 1] = width == 1 and 'H' or width == 3 and 'd' or age and 'I4' or 'f'
      there[#there + 1] = c
      size = size + 2 ^ width
    end
  end
  local shape = {table.concat(format), there, size}
  shapes[tags] = shape
  return shape
end

-- The columns that begin at a place of a text, nil where there is none; nil alone when these are no columns.
local function read(text, at)
  local tags = sub(text, at, at + tag_bytes - 1)
  if #tags ~= tag_bytes then return nil end
  local shape = shapes[tags] or shape_of(tags)
  if #text ~= at - 1 + tag_bytes + shape[3] then return nil end
  local row, there = {}, shape[2]
  if #there > 0 then
    local found = {struct.unpack(shape[1], text, at + tag_bytes)}
    for i = 1, #there do row[there[i]] = found[i] end
  end
  return row
end

-- One column as it is now: x as it was dt milliseconds ago (nil: it was not), and what was added (nil: nothing).
local merge = {
  d = function(x, d, dt, half_lives)
    if x and dt > 0 then x = x * 2 ^ (-dt * half_lives / 1000) end
    x = (x or 0) + (d or 0)
    return x > 1e-6 and x or x < -1e-6 and x or 0
  end,
  l = function(x, d, dt, rate, level) return math.max((x or 0) - dt * rate / 1000 + (d or 0), level or 0) end,
  t = function(x, d) return (x or 0) + (d or 0) end,
  n = function(x, d, dt)
    if not x then return d end
    x = x + dt
    return d and d < x and d or x
  end,
  o = function(x, d, dt)
    if not x then return d end
    x = x + dt
    return d and d > x and d or x
  end,
}

-- The value of a key that was `was` dt milliseconds ago (nil: there was none) and to which `delta` was added.
local function merged(was, dt, delta)
  local tags, there, bits, unit, count = '', {}, 0, 1, 0
  for c = 1, kept do
    local x, d = was and was[c], delta[c]
    if x or d then
      local kind = letter[c]
      local level = kind == 'l' and delta[level_of[c]]
      if kind == 'l' and not was then x = level or 0 else x = merge[kind](x, d, dt, constants[c], level) end
      if x ~= 0 then
        local width
        if x > 0 and x <= 65535 and x == floor(x) then width = 1
        elseif kind == 'n' or kind == 'o' then width = x < 4294967296 and 2 or 3
        else width = (x > -65536 and x < 65536) and 2 or 3 end
        bits = bits + width * unit
        count = count + 1
        there[count] = x
      end
    end
    if unit == 64 then
      tags = tags .. char(bits)
      bits, unit = 0, 1
    else
      unit = unit * 4
    end
  end
  if unit > 1 then tags = tags .. char(bits) end
  tags = tags .. sub(nothing, #tags + 1)
  if count == 0 then return head .. tags end
  return head .. tags .. struct.pack((shapes[tags] or shape_of(tags))[1], unpack(there))
end

local function failed(answer) return type(answer) == 'table' and answer.err end

local function numbers(name, argument)
  local stored = redis.pcall('GET', name)
  if failed(stored) then return false end
  local was, dt = nil, 0
  if stored and sub(stored, 1, 2) == digest then
    was = read(stored, 7)
    -- Modulo 2^32 ms; in the upper half the clock has gone back.
    if was then dt = (now - struct.unpack('<I4', stored, 3)) % 4294967296 end
    if dt >= 2147483648 then dt = 0 end
  end
  local delta = read(argument, 2)
  if not delta then return false end
  local value = merged(was, dt, delta)
  local asked = sub(argument, 2, 1 + tag_bytes) == nothing
  if not asked and failed(redis.pcall('SET', name, value, 'PX', ttl)) then return false end
  return value
end

local function distinct(name, argument)
  if #argument > 3 then
    local elements = {}
    for i = 4, #argument, 8 do elements[#elements + 1] = sub(argument, i, i + 7) end
    if failed(redis.pcall('PFADD', name, unpack(elements))) then return false end
  end
  local count = redis.pcall('PFCOUNT', name)
  if failed(count) then return false end
  return count
end

-- The cap's newest elements, oldest first. What is in it already stays in its place.
local function few(name, argument)
  local elements = redis.pcall('GET', name)
  if failed(elements) then return false end
  elements = elements or ''
  if #elements % 8 ~= 0 then elements = '' end
  if #argument == 3 then return elements end
  for i = 4, #argument, 8 do
    local element = sub(argument, i, i + 7)
    local at = find(elements, element, 1, true)
    while at and at % 8 ~= 1 do at = find(elements, element, at + 1, true) end
    if not at then elements = elements .. element end
  end
  elements = sub(elements, -8 * struct.unpack('<H', argument, 2))
  if failed(redis.pcall('SET', name, elements, 'PX', ttl)) then return false end
  return elements
end

local answers = {}
local i = 1
while i <= #KEYS do
  local argument = ARGV[4 + i]
  local sets = byte(argument, 1)
  local asked = sub(argument, 2, 1 + tag_bytes) == nothing
  answers[i] = numbers(KEYS[i], argument)
  for s = i + 1, i + sets do
    local of_set = ARGV[4 + s]
    if byte(of_set, 1) == 100 then answers[s] = distinct(KEYS[s], of_set) else answers[s] = few(KEYS[s], of_set) end
    if answers[s] and (not asked or #of_set > 3) then redis.pcall('PEXPIRE', KEYS[s], ttl) end
  end
  i = i + sets + 1
end
return answers
