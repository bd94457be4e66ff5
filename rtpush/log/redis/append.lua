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
-- - Idempotency keys have shares, as log/idempotency.py has it. `keys` has the number, time
--   and account of each; `keys_order` the keys of each account in order; `keys_clients` and
--   `keys_publishers` how many each account has; `keys_due` a time before which an account
--   has no key.
-- - `rooms` is the index by room: a room's numbers, 8 bytes each, in chunks. `=ROOM`
--   is its newest chunk, `LAST:ROOM` the one that ends with this number, and each begins
--   with the last number of the chunk before it. The field `#` shows that all is there:
--   without it others have removed the index, and a new epoch begins.

local log, meta, tasks, changes, ended, newest, nodes, roll, lock, leader, batch = unpack(KEYS, 1, 11)
local keys, keys_order, keys_clients, keys_publishers, keys_due, rooms = unpack(KEYS, 12, 17)
local command, ask = ARGV[1], cjson.decode(ARGV[2])
local FIRST_ARG = 3
-- What retention counts for an entry beside its data and names.
local ENTRY_BYTES = 120
local TASK_EVENTS = {task_created = true, task_progress = true, task_completed = true,
  task_failed = true}
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

-- ------------------------------------------------------------- index by room

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

-- ------------------------------------------------------------------ retention

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

-- ----------------------------------------------------------- idempotency keys

local KEY_BYTES = 16
local EXPIRE_AT_ONCE = 1000

local function is_client(account)
  return string.sub(account, 1, 7) == 'client:'
end

local function counts_of(account)
  return is_client(account) and keys_clients or keys_publishers
end

local function parsed(value)
  local seq, made, account = string.match(value, '^(%d+) (%S+) (.*)$')
  return tonumber(seq), tonumber(made), account
end

-- What the clock says. The time of the log is no measure here: it never falls, so one wrong
-- clock would stop it for as long as that was ahead.
local clock = tonumber(ask.clock)

-- Also one that comes from the future has had its time: the clock was wrong when it came.
local function has_expired(made)
  return math.abs(clock - made) > IDEMPOTENCY_FOR
end

local function place_of(account, seq, key)
  return account .. '\0' .. string.format('%016.0f', seq) .. key
end

local function forget(key, value)
  local seq, _, account = parsed(value)
  redis.call('HDEL', keys, key)
  redis.call('ZREM', keys_order, place_of(account, seq, key))
  if tonumber(redis.call('ZINCRBY', counts_of(account), -1, account)) <= 0 then
    redis.call('ZREM', counts_of(account), account)
    redis.call('ZREM', keys_due, account)
  end
  if is_client(account) then redis.call('HINCRBY', meta, 'client_keys', -1) end
end

local function forget_all_keys()
  redis.call('DEL', keys, keys_order, keys_clients, keys_publishers, keys_due)
  redis.call('HDEL', meta, 'client_keys')
end

-- The oldest key of an account, and its value.
local function oldest_of(account)
  local prefix = (account or '') .. '\0'
  local place = redis.call('ZRANGEBYLEX', keys_order, '[' .. prefix, '+', 'LIMIT', 0, 1)[1]
  if place and string.sub(place, 1, #prefix) == prefix then
    local key = string.sub(place, -KEY_BYTES)
    return key, redis.call('HGET', keys, key)
  end
end

local function forget_oldest(account)
  local key, value = oldest_of(account)
  -- Others have removed a part of it: nothing of it can be relied on.
  if value then forget(key, value) else forget_all_keys() end
end

local function largest(counts)
  local found = redis.call('ZREVRANGE', counts, 0, 0, 'WITHSCORES')
  return found[1], tonumber(found[2] or 0)
end

local function make_room(account)
  if is_client(account) then
    local count = tonumber(redis.call('ZSCORE', keys_clients, account) or 0)
    if count >= (account == 'client:' and ask.clients_keys or ask.client_keys) then
      forget_oldest(account)
    elseif tonumber(redis.call('HGET', meta, 'client_keys') or 0) >= ask.clients_keys then
      forget_oldest(largest(keys_clients))
    end
  end
  if redis.call('HLEN', keys) >= ask.max_keys then
    local client, most = largest(keys_clients)
    local publisher, most_of_publishers = largest(keys_publishers)
    forget_oldest(most > most_of_publishers and client or publisher)
  end
end

local function remember(key, seq, account)
  local before = redis.call('HGET', keys, key)
  if before then forget(key, before) end
  make_room(account)
  redis.call('HSET', keys, key, number(seq) .. ' ' .. ask.clock .. ' ' .. account)
  redis.call('ZADD', keys_order, 0, place_of(account, seq, key))
  if tonumber(redis.call('ZINCRBY', counts_of(account), 1, account)) == 1 then
    redis.call('ZADD', keys_due, clock, account)
  end
  if is_client(account) then redis.call('HINCRBY', meta, 'client_keys', 1) end
end

local function forget_expired_of(account, left)
  while left > 0 and redis.call('ZSCORE', counts_of(account), account) do
    local key, value = oldest_of(account)
    if not value then return forget_all_keys() end
    local _, made = parsed(value)
    if not has_expired(made) then
      redis.call('ZADD', keys_due, made, account)
      break
    end
    forget(key, value)
    left = left - 1
  end
  return left
end

local function forget_expired_keys()
  if redis.call('HLEN', keys) ~= redis.call('ZCARD', keys_order) then return forget_all_keys() end
  local left = EXPIRE_AT_ONCE
  for _, bounds in ipairs({{'-inf', '(' .. (clock - IDEMPOTENCY_FOR)},
      {'(' .. (clock + IDEMPOTENCY_FOR), '+inf'}}) do
    for _, account in ipairs(redis.call('ZRANGEBYSCORE', keys_due, bounds[1], bounds[2],
        'LIMIT', 0, 100)) do
      left = forget_expired_of(account, left) or 0
    end
  end
end

local function keep_keys_for_a_while()
  for _, name in ipairs({keys, keys_order, keys_clients, keys_publishers, keys_due}) do
    redis.call('EXPIRE', name, 2 * IDEMPOTENCY_FOR)
  end
end

-- ------------------------------------------------------------------ appending

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
  local event, room, key, data, skip, ack, account, args, once = unpack(ARGV, arg, arg + 8)
  local batch_id = m.epoch .. '.' .. ask.node .. '.' .. number(ask.batch)
  local fields = {'n', batch_id, 't', ask.now, 'e', event, 'd', data}
  -- Only the task board counts what an account has added.
  local charged = TASK_EVENTS[event] and account or ''
  for name, value in pairs({r = room, k = key, s = skip, a = ack, c = charged, m = args}) do
    if has(value) then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  redis.call('XADD', log, number(seq) .. '-0', unpack(fields))
  if has(key) and not has(skip) then
    redis.call('HSET', newest, newest_key({r = room, e = event, k = key}), number(seq))
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
    local arg = first_entry + 9 * (i - 1)
    add(base + i, arg)
    local room = ARGV[arg + 1]
    numbers[room] = (numbers[room] or '') .. packed(base + i)
  end
  index(numbers)
  if ask.keys > 0 then keep_keys_for_a_while() end
  change_tasks(first_entry + 9 * ask.entries)
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
  redis.call('DEL', log, meta, tasks, changes, ended, newest, nodes, roll, lock, rooms)
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
  local rows = redis.call('HVALS', tasks)
  for _, change in ipairs(redis.call('ZRANGE', changes, 0, -1)) do
    rows[#rows + 1] = string.sub(change, 1 + 40 + 1 + 16)
  end
  return {'ok', m.epoch, m.last, m.first, m.task, m.number, rows}
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

local commands = {append = append, look = look, lead = lead, leave = leave, load = load, last = last,
  read = read, read_rooms = read_rooms, read_newest = read_newest, newest = newest_first}
return commands[command]()
