-- The log in Redis: each command is one atomic step. The files of this folder are one script,
-- in the order that connection.py has; this is the first, with what the others share.
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

local log, meta, tasks, changes, ended, newest, nodes, roll, lock, leader, batch = unpack(KEYS, 1, 11)
local keys, keys_order, keys_clients, keys_publishers, keys_due, rooms, retained = unpack(KEYS, 12, 18)
local command, ask = ARGV[1], cjson.decode(ARGV[2])
local FIRST_ARG = 3
-- What retention counts for an entry beside its data and names.
local ENTRY_BYTES = 85
local KEYED_ENTRY_BYTES = 30
local TASK_EVENTS = {task_created = true, task_progress = true, task_completed = true,
  task_failed = true, task_cancel = true, task_cancelled = true, task_claimed = true,
  task_requeued = true}
local TRIM_AT_ONCE = 1000
local IDEMPOTENCY_FOR = 600

local m = {}
local names = {'epoch', 'run', 'time', 'last', 'first', 'bytes', 'task', 'number', 'wall_ahead'}
for i, value in ipairs(redis.call('HMGET', meta, unpack(names))) do
  m[names[i]] = i > 3 and tonumber(value) or value
end

-- The log's clock, which passes on each node by itself. A node that opens the log has none
-- yet: what has passed while it was closed is known by the wall clock alone.
local now = tonumber(ask.now)
if ask.epoch == '' then
  now = math.max(tonumber(ask.wall) - (m.wall_ahead or 0), tonumber(m.time or 0))
end

local function number(value)
  return string.format('%.0f', value)
end

local function seconds(value)
  return string.format('%.6f', value)
end

-- By it the clock goes on when the log is opened again: see log/clock.py.
local function wall_ahead()
  return seconds(tonumber(ask.wall) - now)
end

local function seq_of(entry)
  return tonumber(string.match(entry[1], '^(%d+)'))
end

local function fields_of(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields
end

local function has(value)
  return value ~= nil and value ~= ''
end

-- An event that is not retained does not stand for one that is.
local function newest_key(fields)
  local retain = has(fields.x) and '\0' or ''
  return (fields.r or '') .. '\0' .. fields.e .. '\0' .. fields.k .. retain
end

-- What retention counts for an entry: the same as the log in SQLite. The index of keyed entries
-- holds the names once more.
local function size_of(fields)
  local names = 0
  for _, name in ipairs({'e', 'r', 'k', 's', 'a'}) do
    names = names + #(fields[name] or '')
  end
  local indexed = has(fields.k) and KEYED_ENTRY_BYTES + names or 0
  return ENTRY_BYTES + #fields.d + names + indexed
end
