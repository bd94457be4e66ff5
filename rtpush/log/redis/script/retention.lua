-- Retention: what the log lets go of.

-- Others have removed what stood before this entry: readers of it are told, as of what
-- retention has let go of. What it had in bytes is not known any more, so it is shared out.
local function let_go(first)
  local kept = (m.last - first + 1) / (m.last - m.first + 1)
  m.first, m.bytes = first, math.floor(m.bytes * kept)
  redis.call('HSET', meta, 'first', number(m.first), 'bytes', number(m.bytes))
  sweep_index()
end

-- The oldest entry that is there from a number on.
local function next_from(seq)
  return redis.call('XRANGE', log, number(seq) .. '-0', '+', 'COUNT', 1)[1]
end

-- Retention, a part of it at a time. The newest entry stays.
local function trim()
  local first, at_once, enough = m.first, 1, m.last <= m.first
  while not enough and first - m.first < TRIM_AT_ONCE do
    local oldest = redis.call('XRANGE', log, number(first) .. '-0', '+', 'COUNT', at_once)
    local gone, gone_rooms = {}, {}
    for _, entry in ipairs(oldest) do
      local seq, fields = seq_of(entry), fields_of(entry)
      enough = seq >= m.last or (m.last - seq < ask.count and m.bytes <= ask.bytes
        and tonumber(fields.t) >= now - ask.age)
      if enough then break end
      m.bytes = m.bytes - size_of(fields)
      if has(fields.k) and redis.call('HGET', newest, newest_key(fields)) == number(seq) then
        redis.call('HDEL', newest, newest_key(fields))
      end
      gone[#gone + 1], gone_rooms[#gone + 1] = seq, fields.r or ''
      first = seq + 1
    end
    unindex(gone, gone_rooms)
    enough = enough or #oldest == 0
    at_once = 50
  end
  if first > m.first then
    m.first = first
    redis.call('XTRIM', log, 'MINID', number(first) .. '-0')
    redis.call('HSET', meta, 'first', number(first), 'bytes', number(m.bytes))
  end
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', ended, '-inf', '(' .. (now - ask.finished_for),
      'LIMIT', 0, 100)) do
    redis.call('HDEL', tasks, key)
    redis.call('ZREM', ended, key)
  end
end
