-- Idempotency keys.
--
-- Idempotency keys have shares, as log/idempotency.py has it. `keys` has the number, time
-- and account of each; `keys_order` the keys of each account in order; `keys_clients` and
-- `keys_publishers` how many each account has; `keys_due` a time before which an account
-- has no key.

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

local function has_expired(made)
  return now - made > IDEMPOTENCY_FOR
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
  redis.call('HSET', keys, key, number(seq) .. ' ' .. ask.now .. ' ' .. account)
  redis.call('ZADD', keys_order, 0, place_of(account, seq, key))
  if tonumber(redis.call('ZINCRBY', counts_of(account), 1, account)) == 1 then
    redis.call('ZADD', keys_due, ask.now, account)
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
  for _, account in ipairs(redis.call('ZRANGEBYSCORE', keys_due, '-inf',
      '(' .. seconds(now - IDEMPOTENCY_FOR), 'LIMIT', 0, 100)) do
    left = forget_expired_of(account, left) or 0
  end
end
