-- Looking: is the log still the one that a node has read, and which nodes live?

local function begin()
  redis.call('DEL', log, meta, tasks, changes, ended, newest, nodes, roll, lock, rooms, retained)
  redis.call('HSET', rooms, '#', 1)
  forget_all_keys()
  redis.call('HSET', meta, 'epoch', ask.new_epoch, 'run', ask.run, 'last', 0, 'first', 1,
    'bytes', 0, 'time', 0, 'task', 0, 'number', 0)
end

local function begin_epoch()
  redis.call('HSET', meta, 'epoch', ask.new_epoch, 'run', ask.run)
  redis.call('DEL', roll)
  if not whole_index() or (m.last >= m.first and not next_from(m.last)) then
    -- The stream's end is gone: what is left of it cannot be followed from its numbers. Or
    -- the index is: what is left could not be read by room.
    redis.call('DEL', log, newest, rooms)
    redis.call('HSET', rooms, '#', 1)
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
  if not whole_index() then return begin_epoch() end
  local oldest = next_from(m.first)
  if oldest and seq_of(oldest) > m.first then let_go(seq_of(oldest)) end
  if m.epoch and m.run ~= ask.run then
    local answer = call_roll()
    if answer then return answer end
  end
  trim()
  forget_expired_keys()
  redis.call('ZADD', nodes, seconds(now), ask.node)
  redis.call('ZREMRANGEBYSCORE', nodes, '-inf', seconds(now - 3600))
  redis.call('HSET', meta, 'wall_ahead', wall_ahead())
  return {'ok', m.first, redis.call('TIME'), seconds(now)}
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
