-- Appending: a batch is stored as a whole, or refused.

local function repeated_keys()
  local found = {}
  for place = 0, ask.keys - 1 do
    local value = redis.call('HGET', keys, ARGV[FIRST_ARG + place])
    if value then
      local seq, made = parsed(value)
      if not has_expired(made) then
        found[#found + 1] = place
        found[#found + 1] = seq
      end
    end
  end
  return found
end

local function add(seq, arg)
  local event, room, key, data, skip, ack, account, args, retain, once = unpack(ARGV, arg, arg + 9)
  local batch_id = m.epoch .. '.' .. ask.node .. '.' .. number(ask.batch)
  local fields = {'n', batch_id, 't', ask.now, 'e', event, 'd', data}
  -- Only the task board and retained events count what an account has added.
  local about_task = TASK_EVENTS[event]
  local charged, wall = (about_task or has(retain)) and account or '', about_task and ask.wall or ''
  for name, value in pairs({r = room, k = key, s = skip, a = ack, c = charged, w = wall,
      m = args, x = retain}) do
    if has(value) then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  redis.call('XADD', log, number(seq) .. '-0', unpack(fields))
  if has(key) and not has(skip) then
    redis.call('HSET', newest, newest_key({r = room, e = event, k = key, x = retain}), number(seq))
  end
  if has(once) then remember(once, seq, account) end
  m.bytes = m.bytes + size_of({e = event, d = data, r = room, k = key, s = skip, a = ack})
end

-- `tasks` has each task as a whole, `changes` the events since, of one task side by side: each
-- behind the digest of the task's key, which has always 40 characters, and the event's number.
local function change_tasks(arg)
  for i = arg, #ARGV, 5 do
    local key, number, row, replaces, finished = unpack(ARGV, i, i + 4)
    local digest = redis.sha1hex(key)
    if replaces == '0' then
      redis.call('ZADD', changes, 0, digest .. ':' .. number .. row)
    else
      redis.call('ZREMRANGEBYLEX', changes, '[' .. digest .. ':', '(' .. digest .. ';')
      redis.call('ZREM', ended, key)
      if row == '' then
        redis.call('HDEL', tasks, key)
      else
        redis.call('HSET', tasks, key, row)
        if finished == '1' then redis.call('ZADD', ended, ask.now, key) end
      end
    end
  end
end

-- `retained` has each value behind the number of its entry, its place in that, and what else the
-- node says of it. The node's numbers count within the batch.
local function change_retained(base, arg, count)
  for i = arg, arg + 3 * (count - 1), 3 do
    local entry, name, value = unpack(ARGV, i, i + 2)
    if value == '' then
      redis.call('HDEL', retained, name)
    else
      redis.call('HSET', retained, name, number(base + entry) .. ' ' .. value)
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
  if m.epoch ~= ask.epoch or m.run ~= ask.run or not whole_index() then return refuse('lost') end
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
  local base, numbers = m.last, {}
  if tonumber(m.time) > now then ask.now = m.time end
  local first_entry = FIRST_ARG + ask.keys
  if ask.keys > 0 then forget_expired_keys() end
  for i = 1, ask.entries do
    local arg = first_entry + 10 * (i - 1)
    add(base + i, arg)
    local room = ARGV[arg + 1]
    numbers[room] = (numbers[room] or '') .. packed(base + i)
  end
  index(numbers)
  local first_value = first_entry + 10 * ask.entries
  change_retained(base, first_value, ask.retained)
  change_tasks(first_value + 3 * ask.retained)
  m.last = base + ask.entries
  if ask.last_task > 0 then m.task, m.number = base + ask.last_task, ask.number end
  redis.call('HSET', meta, 'last', number(m.last), 'bytes', number(m.bytes), 'time', ask.now,
    'task', number(m.task), 'number', number(m.number), 'wall_ahead', wall_ahead())
  redis.call('HSET', batch, 'n', number(ask.batch), 'base', number(base))
  redis.call('EXPIRE', batch, 3600)
  trim()
  return {'ok', base, m.first}
end
