-- Reading.

local function load()
  if not m.epoch then return {'lost'} end
  local rows = redis.call('HVALS', tasks)
  for _, change in ipairs(redis.call('ZRANGE', changes, 0, -1)) do
    rows[#rows + 1] = string.sub(change, 1 + 40 + 1 + 16)
  end
  return {'ok', m.epoch, m.last, m.first, m.task, m.number, rows, redis.call('HGETALL', retained)}
end

local function last()
  if m.epoch ~= ask.epoch or m.run ~= ask.run then return {'lost'} end
  return {'ok', m.last}
end

local function is_superseded(seq, fields)
  return ask.conflate_after and seq > ask.conflate_after and has(fields.k) and not has(fields.s)
    and tonumber(redis.call('HGET', newest, newest_key(fields)) or 0) > seq
end

-- Pages end at about so many bytes: entries are read a few at a time.
local function read()
  if m.epoch ~= ask.epoch or m.run ~= ask.run then return {'lost'} end
  local start = math.max(ask.after + 1, m.first)
  local found, size, from = {}, 0, start
  local upto = ask.upto
  while from <= ask.upto do
    local chunk = redis.call('XRANGE', log, number(from) .. '-0', number(ask.upto) .. '-0',
      'COUNT', 16)
    local oldest = chunk[1] or next_from(from)
    if not oldest or seq_of(oldest) > from then
      -- Numbers have no gaps: others have removed something.
      if from > start then return {'ok', m.first, from - 1, found} end
      if not oldest then return {'lost'} end
      let_go(seq_of(oldest))
      return {'ok', m.first, m.first - 1, found}
    end
    for _, entry in ipairs(chunk) do
      local seq, fields = seq_of(entry), fields_of(entry)
      if seq > from then break end
      from = seq + 1
      if not is_superseded(seq, fields) then
        found[#found + 1] = entry
        size = size + #fields.d
        if size > ask.page then
          upto = seq
          from = ask.upto + 1
          break
        end
      end
    end
  end
  return {'ok', m.first, upto, found}
end

-- Others have removed an entry: what is older counts as gone, too.
local function gap(seq, found)
  if not ask.before and #found > 0 then return {'ok', m.first, seq - 1, found} end
  local oldest = next_from(seq)
  if not oldest then return {'lost'} end
  let_go(seq_of(oldest))
  return {'ok', m.first, ask.before and m.first or m.first - 1, found}
end

-- The entries with these numbers, as far as a page goes.
local function page(numbers, upto)
  local found, size = {}, 0
  if #numbers == ask.limit then upto = numbers[#numbers] end
  for _, seq in ipairs(numbers) do
    local entry = redis.call('XRANGE', log, number(seq) .. '-0', number(seq) .. '-0')[1]
    if not entry then return gap(seq, found) end
    local fields = fields_of(entry)
    if not is_superseded(seq, fields) then
      found[#found + 1] = entry
      size = size + #fields.d
      if size > ask.page then return {'ok', m.first, seq, found} end
    end
  end
  return {'ok', m.first, upto, found}
end

local function read_rooms()
  if m.epoch ~= ask.epoch or m.run ~= ask.run or not whole_index() then return {'lost'} end
  local after = math.max(ask.after, m.first - 1)
  return page(merged(function(room, upto)
    return numbers_after(room, after, upto, ask.limit)
  end, ask.upto, function(one, other) return one < other end), ask.upto)
end

local function read_newest()
  if m.epoch ~= ask.epoch or m.run ~= ask.run or not whole_index() then return {'lost'} end
  local numbers = {}
  if ask.rooms then
    numbers = merged(function(room, from)
      return numbers_before(room, ask.before, from, ask.limit)
    end, m.first, function(one, other) return one > other end)
  else
    for seq = ask.before - 1, math.max(m.first, ask.before - ask.limit), -1 do
      numbers[#numbers + 1] = seq
    end
  end
  return page(numbers, m.first)
end

-- The newest entries up to a number, newest first.
local function newest_first()
  if m.epoch ~= ask.epoch then return {'lost'} end
  return {'ok', redis.call('XREVRANGE', log, number(ask.upto) .. '-0', '-', 'COUNT', ask.limit)}
end
