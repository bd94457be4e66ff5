-- What happens to the log in Redis, each command as one atomic step.
--
-- Rules that hold here:
--
-- - The node decides, the script checks what the decision rests on: that the log
--   is still the one the node knows (epoch, run), that no task event has come
--   since (task), and that no idempotency key of the batch has been used. If
--   not, nothing changes and the answer says what to look at.
-- - `meta` names the process of Redis (run) that the log was last known to be
--   whole on. Another process may have lost its newest entries: until every
--   node that was alive has confirmed that what it read is there (the roll),
--   nothing is appended; if one cannot, or stays away, a new epoch begins.
-- - A batch has a number that rises with each of its node. The same number again
--   gets the same answer; a smaller one comes too late.

local log, meta, tasks, ended, newest, nodes, roll, lock, leader, batch = unpack(KEYS, 1, 10)
local FIRST_KEY = 11
local command, ask = ARGV[1], cjson.decode(ARGV[2])
local FIRST_ARG = 3
-- What retention counts for an entry beside its data and names.
local ENTRY_BYTES = 100
local TRIM_AT_ONCE = 1000
local IDEMPOTENCY_FOR = 600

local now = tonumber(ask.now)
local m = {}
local names = {'epoch', 'run', 'time', 'last', 'first', 'bytes', 'task', 'number'}
for i, value in ipairs(redis.call('HMGET', meta, unpack(names))) do
  m[names[i]] = i > 3 and tonumber(value) or value
end

local function number(value)
  return string.format('%.0f', value)
end

local function seq_of(entry)
  return tonumber(string.match(entry[1], '^(%d+)'))
end

local function fields_of(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields
end

local function newest_key(fields)
  return (fields.r or '') .. '\0' .. fields.e .. '\0' .. fields.k
end

local function has(value)
  return value ~= nil and value ~= ''
end

-- What retention counts for an entry: the same as the log in SQLite. Its names count twice,
-- since the index of keyed entries holds them once more.
local function size_of(fields)
  local size = ENTRY_BYTES + #fields.d
  for _, name in ipairs({'e', 'r', 'k', 's', 'a'}) do
    size = size + 2 * #(fields[name] or '')
  end
  return size
end

-- Others have removed what stood before this entry: readers of it are told, as of what
-- retention has let go of. What it had in bytes is not known any more, so it is shared out.
local function let_go(first)
  local kept = (m.last - first + 1) / (m.last - m.first + 1)
  m.first, m.bytes = first, math.floor(m.bytes * kept)
  redis.call('HSET', meta, 'first', number(m.first), 'bytes', number(m.bytes))
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
    for _, entry in ipairs(oldest) do
      local seq, fields = seq_of(entry), fields_of(entry)
      enough = seq >= m.last or (m.last - seq < ask.count and m.bytes <= ask.bytes
        and tonumber(fields.t) >= now - ask.age)
      if enough then break end
      m.bytes = m.bytes - size_of(fields)
      if has(fields.k) and redis.call('HGET', newest, newest_key(fields)) == number(seq) then
        redis.call('HDEL', newest, newest_key(fields))
      end
      first = seq + 1
    end
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

-- ------------------------------------------------------------------ appending

local function repeated_keys()
  local found = {}
  for i = FIRST_KEY, #KEYS do
    local value = redis.call('GET', KEYS[i])
    if value then
      local seq, made = string.match(value, '^(%d+) (.+)$')
      if now - tonumber(made) <= IDEMPOTENCY_FOR then
        found[#found + 1] = i - FIRST_KEY
        found[#found + 1] = tonumber(seq)
      end
    end
  end
  return found
end

local function add(seq, arg)
  local event, room, key, data, skip, ack, once = unpack(ARGV, arg, arg + 6)
  local batch_id = m.epoch .. '.' .. ask.node .. '.' .. number(ask.batch)
  local fields = {'n', batch_id, 't', ask.now, 'e', event, 'd', data}
  for name, value in pairs({r = room, k = key, s = skip, a = ack}) do
    if has(value) then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  redis.call('XADD', log, number(seq) .. '-0', unpack(fields))
  if has(key) and not has(skip) then
    redis.call('HSET', newest, newest_key({r = room, e = event, k = key}), number(seq))
  end
  if has(once) then
    -- Kept a little longer than it counts: the time of the log decides.
    redis.call('SET', KEYS[FIRST_KEY + tonumber(once)], number(seq) .. ' ' .. ask.now,
      'EX', IDEMPOTENCY_FOR + 60)
  end
  m.bytes = m.bytes + size_of({e = event, d = data, r = room, k = key, s = skip, a = ack})
end

local function change_tasks(arg)
  for i = arg, #ARGV, 3 do
    local key, row, finished = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    redis.call('ZREM', ended, key)
    if row == '' then
      redis.call('HDEL', tasks, key)
    else
      redis.call('HSET', tasks, key, row)
      if finished == '1' then redis.call('ZADD', ended, ask.now, key) end
    end
  end
end

-- Nothing was stored. A copy of this batch that is still on its way must not be
-- stored either, once its node decides anew.
local function refuse(...)
  if ask.again then redis.call('HSET', batch, 'n', number(ask.batch), 'base', '') end
  return {...}
end

local function append()
  local earlier = redis.call('HMGET', batch, 'n', 'base')
  if earlier[1] and tonumber(earlier[1]) >= ask.batch then
    if tonumber(earlier[1]) == ask.batch and has(earlier[2]) then
      return {'ok', tonumber(earlier[2]), m.first}
    end
    return {'late'}
  end
  if m.epoch ~= ask.epoch or m.run ~= ask.run then return refuse('lost') end
  local found = repeated_keys()
  if #found > 0 then return refuse('seen', found) end
  if ask.tasks then
    local holder = redis.call('GET', lock)
    if m.task ~= ask.task or tonumber(m.time) > now or (holder and holder ~= ask.node) then
      -- Whoever has lost too often is let go first.
      if ask.losses >= 3 and not holder then redis.call('SET', lock, ask.node, 'PX', 1000) end
      return refuse('stale', m.last)
    end
    if holder then redis.call('DEL', lock) end
  end
  local base = m.last
  if tonumber(m.time) > now then ask.now = m.time end
  for i = 1, ask.entries do add(base + i, FIRST_ARG + 7 * (i - 1)) end
  change_tasks(FIRST_ARG + 7 * ask.entries)
  m.last = base + ask.entries
  if ask.last_task > 0 then m.task, m.number = base + ask.last_task, ask.number end
  redis.call('HSET', meta, 'last', number(m.last), 'bytes', number(m.bytes), 'time', ask.now,
    'task', number(m.task), 'number', number(m.number))
  redis.call('HSET', batch, 'n', number(ask.batch), 'base', number(base))
  redis.call('EXPIRE', batch, 3600)
  trim()
  return {'ok', base, m.first}
end

-- -------------------------------------------------------------------- looking

local function begin()
  redis.call('DEL', log, meta, tasks, ended, newest, nodes, roll, lock)
  redis.call('HSET', meta, 'epoch', ask.new_epoch, 'run', ask.run, 'last', 0, 'first', 1,
    'bytes', 0, 'time', 0, 'task', 0, 'number', 0)
end

local function begin_epoch()
  redis.call('HSET', meta, 'epoch', ask.new_epoch, 'run', ask.run)
  redis.call('DEL', roll)
  if m.last >= m.first and not next_from(m.last) then
    -- The stream's end is gone: what is left of it cannot be followed from its numbers.
    redis.call('DEL', log, newest)
    redis.call('HSET', meta, 'first', number(m.last + 1), 'bytes', 0)
  end
  return {'lost'}
end

-- Is what the node has read still there? nil when it is, else what it is not.
local function verdict()
  if ask.epoch ~= m.epoch then return 'other' end
  if ask.last > m.last then return 'gone' end
  if ask.last < m.first - 1 then return 'other' end
  if ask.last < m.first then return nil end
  local entry = redis.call('XRANGE', log, number(ask.last) .. '-0', number(ask.last) .. '-0')[1]
  if not entry or fields_of(entry).n ~= ask.batch_id then return 'gone' end
end

-- Has everybody who was alive confirmed what they read? Else how it ends.
local function call_roll()
  if redis.call('HGET', roll, 'run') ~= ask.run then
    redis.call('DEL', roll)
    redis.call('HSET', roll, 'run', ask.run, 'until', now + ask.lease)
  end
  if ask.epoch ~= '' then redis.call('HSET', roll, 'node ' .. ask.node, 1) end
  local last = redis.call('ZRANGE', nodes, -1, -1, 'WITHSCORES')[2]
  local alive = {}
  if last then alive = redis.call('ZRANGEBYSCORE', nodes, tonumber(last) - ask.lease, '+inf') end
  for _, node in ipairs(alive) do
    if redis.call('HEXISTS', roll, 'node ' .. node) == 0 then
      if now > tonumber(redis.call('HGET', roll, 'until')) then return begin_epoch() end
      return {'held'}
    end
  end
  redis.call('HSET', meta, 'run', ask.run)
  redis.call('DEL', roll)
end

local function look()
  if not m.epoch then
    begin()
    if ask.epoch ~= '' then return {'lost'} end
    m.first, m.last, m.bytes = 1, 0, 0
  elseif ask.epoch ~= '' then
    local found = verdict()
    if found == 'other' then return {'lost'} end
    if found == 'gone' then return begin_epoch() end
  elseif m.last >= m.first and not next_from(m.last) then
    return begin_epoch()
  end
  local oldest = next_from(m.first)
  if oldest and seq_of(oldest) > m.first then let_go(seq_of(oldest)) end
  if m.epoch and m.run ~= ask.run then
    local answer = call_roll()
    if answer then return answer end
  end
  trim()
  redis.call('ZADD', nodes, ask.now, ask.node)
  redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - 3600)
  return {'ok', m.first, redis.call('TIME')}
end

-- The first that asks leads, until it has not asked for as long as a lease.
local function lead()
  redis.call('SET', leader, ask.node, 'NX', 'PX', ask.lease * 1000)
  if redis.call('GET', leader) ~= ask.node then return {'no'} end
  redis.call('PEXPIRE', leader, ask.lease * 1000)
  return {'ok'}
end

local function leave()
  redis.call('ZREM', nodes, ask.node)
  if redis.call('GET', leader) == ask.node then redis.call('DEL', leader) end
  return {'ok'}
end

-- -------------------------------------------------------------------- reading

local function load()
  if not m.epoch then return {'lost'} end
  return {'ok', m.epoch, m.last, m.first, m.task, m.number, redis.call('HVALS', tasks)}
end

local function last()
  if m.epoch ~= ask.epoch or m.run ~= ask.run then return {'lost'} end
  return {'ok', m.last}
end

-- Pages end at about so many bytes: entries are read a few at a time.
local function read()
  if m.epoch ~= ask.epoch or m.run ~= ask.run then return {'lost'} end
  local start = math.max(ask.after + 1, m.first)
  local found, size, at = {}, 0, start
  local upto = ask.upto
  while at <= ask.upto do
    local chunk = redis.call('XRANGE', log, number(at) .. '-0', number(ask.upto) .. '-0',
      'COUNT', 16)
    local oldest = chunk[1] or next_from(at)
    if not oldest or seq_of(oldest) > at then
      -- Numbers have no gaps: others have removed something.
      if at > start then return {'ok', m.first, at - 1, found} end
      if not oldest then return {'lost'} end
      let_go(seq_of(oldest))
      return {'ok', m.first, m.first - 1, found}
    end
    for _, entry in ipairs(chunk) do
      local seq, fields = seq_of(entry), fields_of(entry)
      if seq > at then break end
      at = seq + 1
      local gone = ask.conflate_after and seq > ask.conflate_after and has(fields.k)
        and not has(fields.s)
      gone = gone and tonumber(redis.call('HGET', newest, newest_key(fields)) or 0) > seq
      if not gone then
        found[#found + 1] = entry
        size = size + #fields.d
        if size > ask.page then
          upto = seq
          at = ask.upto + 1
          break
        end
      end
    end
  end
  return {'ok', m.first, upto, found}
end

-- The newest entries up to a number, newest first.
local function newest_first()
  if m.epoch ~= ask.epoch then return {'lost'} end
  return {'ok', redis.call('XREVRANGE', log, number(ask.upto) .. '-0', '-', 'COUNT', ask.limit)}
end

local commands = {append = append, look = look, lead = lead, leave = leave, load = load, last = last, read = read,
  newest = newest_first}
return commands[command]()
