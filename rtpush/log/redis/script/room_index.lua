-- The index by room.
--
-- `rooms` has a room's numbers, 8 bytes each, in chunks. `=ROOM`
-- is its newest chunk, `LAST:ROOM` the one that ends with this number, and each begins
-- with the last number of the chunk before it. The field `#` shows that all is there:
-- without it others have removed the index, and a new epoch begins.

local CHUNK_BYTES = 512

local function packed(value)
  return struct.pack('>I8', value)
end

local function at(chunk, place)
  return (struct.unpack('>I8', chunk, place))
end

local function last_of(chunk)
  return at(chunk, #chunk - 7)
end

local function chunk_before(chunk, room)
  local last = at(chunk, 1)
  if last >= m.first then return redis.call('HGET', rooms, number(last) .. ':' .. room) end
end

local function whole_index()
  return redis.call('HEXISTS', rooms, '#') == 1
end

-- The newest chunks of rooms.
local function newest_chunks(names)
  local fields = {}
  for i, room in ipairs(names) do fields[i] = '=' .. room end
  return redis.call('HMGET', rooms, unpack(fields))
end

-- What is to be written when a room's numbers, packed, are added behind a chunk.
local function extend(changes, room, chunk, added)
  for place = 1, #added, 8 do
    if #chunk >= CHUNK_BYTES then
      local last = last_of(chunk)
      changes[#changes + 1] = number(last) .. ':' .. room
      changes[#changes + 1] = chunk
      chunk = packed(last)
    end
    chunk = chunk .. string.sub(added, place, place + 7)
  end
  changes[#changes + 1] = '=' .. room
  changes[#changes + 1] = chunk
end

-- Add the numbers of a batch: packed, for each room. One command for many rooms.
local function index(numbers)
  local names = {}
  for room in pairs(numbers) do names[#names + 1] = room end
  for first = 1, #names, 500 do
    local some = {unpack(names, first, math.min(first + 499, #names))}
    local changes = {}
    for i, chunk in ipairs(newest_chunks(some)) do
      extend(changes, some[i], chunk or packed(0), numbers[some[i]])
    end
    for i = 1, #changes, 1000 do
      redis.call('HSET', rooms, unpack(changes, i, math.min(i + 999, #changes)))
    end
  end
end

-- Entries go, fewer than a hundred: their numbers and their rooms, oldest first.
local function unindex(seqs, names)
  if #seqs == 0 then return end
  local fields = {}
  for i, chunk in ipairs(newest_chunks(names)) do
    -- An older chunk goes with the last entry that it has.
    local alone = chunk and last_of(chunk) <= seqs[i]
    fields[i] = alone and '=' .. names[i] or number(seqs[i]) .. ':' .. names[i]
  end
  redis.call('HDEL', rooms, unpack(fields))
end

-- Remove the chunks of entries that others have removed.
local function sweep_index()
  local cursor = '0'
  repeat
    local answer = redis.call('HSCAN', rooms, cursor, 'COUNT', 1000)
    cursor = answer[1]
    for i = 1, #answer[2], 2 do
      local field, chunk = answer[2][i], answer[2][i + 1]
      if field ~= '#' and last_of(chunk) < m.first then redis.call('HDEL', rooms, field) end
    end
  until cursor == '0'
end

local function numbers_after(room, after, upto, limit)
  local chunks, chunk = {}, redis.call('HGET', rooms, '=' .. room)
  while chunk and last_of(chunk) > after do
    chunks[#chunks + 1] = chunk
    chunk = chunk_before(chunk, room)
  end
  local found = {}
  for i = #chunks, 1, -1 do
    for place = 9, #chunks[i], 8 do
      local seq = at(chunks[i], place)
      if seq > upto or #found == limit then return found end
      if seq > after then found[#found + 1] = seq end
    end
  end
  return found
end

local function numbers_before(room, before, from, limit)
  local found, chunk = {}, redis.call('HGET', rooms, '=' .. room)
  while chunk do
    for place = #chunk - 7, 9, -8 do
      local seq = at(chunk, place)
      if seq < from or #found == limit then return found end
      if seq < before then found[#found + 1] = seq end
    end
    chunk = chunk_before(chunk, room)
  end
  return found
end

-- The first numbers of all rooms that are asked for, in order.
local function merged(find, bound, order)
  local found = {}
  local function cut()
    table.sort(found, order)
    for i = #found, ask.limit + 1, -1 do found[i] = nil end
    -- What lies behind so many is of no use: the rooms to come need not look there.
    if #found == ask.limit then bound = found[ask.limit] end
  end
  for _, room in ipairs(ask.rooms) do
    for _, seq in ipairs(find(room, bound)) do found[#found + 1] = seq end
    if #found > 2 * ask.limit then cut() end
  end
  cut()
  return found
end
