// What runs inside Redis: two constant scripts, for decisions on requests and for the roll of gateways that are alive.
import { hash } from 'node:crypto'

/** A script and the name that Redis knows it by. */
export interface Script {
  readonly text: string
  readonly sha: string
}

function script(text: string): Script {
  return { text, sha: hash('sha1', text) }
}

/**
 * Decide on requests, one after the other and each under all its limits at once; the arithmetic is that of cell.ts, the
 * clock is Redis's own.
 * KEYS: one a limit, question by question; those of one question have one hash tag. ARGV: one text with four words a
 * question, which are the units that are needed, those that are wanted (more, for a lease), the time or, outside of tests, a
 * dash for that of Redis, and the number of the argument behind this one that names its algorithm and the limit, window and
 * burst of each limit.
 * Answers numbers in one text, because a client reads that faster than a list; for each question: units granted (0 =
 * refused and nothing charged, -1 = a key holds something else), and of each limit: units left, milliseconds until more is
 * left, and milliseconds until what was needed passes (0 when it did, -1 when it never can).
 */
export const DECIDE = script(`
local call, floor, ceil, max = redis.call, math.floor, math.ceil, math.max
local match, format = string.match, string.format

-- An algorithm is made for all questions with the same limits, for tables of each question's own would cost more than all
-- else, and only where it is asked for. It tells what is free, how it is charged, and when there is more; between these it
-- remembers what it found of the i-th limit of the question at hand.
local algorithms = {}

algorithms['sliding-window'] = function()
  local index, prev, curr, left = {}, {}, {}, {}
  return {
    life = function(limit, window) return 2 * window end,
    free = function(i, key, limit, window, burst, now)
      local at = floor(now / window)
      local before, within, rest = 0, 0, (at + 1) * window - now
      local stored = call('GET', key)
      if stored then
        local was, older, newer = match(stored, '^(%d+) (%d+) (%d+)$')
        was = tonumber(was)
        if was == at then
          before, within = tonumber(older), tonumber(newer)
        elseif was == at - 1 then
          before = tonumber(newer)
        elseif was == at + 1 then
          at, rest, before, within = was, window, tonumber(older), tonumber(newer)
        end
      end
      index[i], prev[i], curr[i], left[i] = at, before, within, rest
      return limit - within - floor(before * rest / window)
    end,
    charge = function(i, key, units, life)
      curr[i] = curr[i] + units
      call('SET', key, format('%.0f %.0f %.0f', index[i], prev[i], curr[i]), 'PX', life)
    end,
    reset = function(i) return left[i] end,
    wait = function(i, cost, key, limit, window)
      if cost > limit then return -1 end
      local room = limit - cost + 1
      if curr[i] < room then
        if prev[i] == 0 then return 0 end
        return max(0, left[i] - (ceil((room - curr[i]) * window / prev[i]) - 1))
      end
      return left[i] + window - math.min(window, ceil(room * window / curr[i]) - 1)
    end,
  }
end

algorithms['sliding-log'] = function()
  local count = {}
  local function gone(key, n, window, now)
    local found = call('ZRANGE', key, n - 1, n - 1, 'WITHSCORES')
    return found[2] and tonumber(found[2]) + window - now or window
  end
  return {
    life = function(limit, window) return 2 * window end,
    free = function(i, key, limit, window, burst, now)
      call('ZREMRANGEBYSCORE', key, '-inf', now - window)
      call('ZREMRANGEBYSCORE', key, '(' .. now + window, '+inf')
      count[i] = call('ZCARD', key)
      return limit - count[i]
    end,
    charge = function(i, key, units, life, window, now)
      local same = call('ZCOUNT', key, now, now)
      -- Many at a time: a call for each unit of a costly request would hold the server for the time of a budget.
      for n = same + 1, same + units, 500 do
        local added = {}
        for unit = n, math.min(n + 499, same + units) do
          added[#added + 1] = now
          added[#added + 1] = format('%.0f-%d', now, unit)
        end
        call('ZADD', key, unpack(added))
      end
      call('PEXPIRE', key, life)
      count[i] = count[i] + units
    end,
    reset = function(i, key, limit, window, now) return gone(key, 1, window, now) end,
    wait = function(i, cost, key, limit, window, burst, now)
      if cost > limit then return -1 end
      local leave = count[i] + cost - limit
      return leave <= 0 and 0 or gone(key, leave, window, now)
    end,
  }
end

algorithms['token-bucket'] = function()
  local debt = {}
  return {
    life = function(limit, window, burst) return max(2 * window, ceil(burst * window / limit)) end,
    free = function(i, key, limit, window, burst, now)
      local owed = 0
      local stored = call('GET', key)
      if stored then
        local were, at = match(stored, '^(%d+) (%d+)$')
        owed = max(0, tonumber(were) - max(0, now - tonumber(at)) * limit)
      end
      debt[i] = owed
      return floor((burst * window - owed) / window)
    end,
    charge = function(i, key, units, life, window, now)
      debt[i] = debt[i] + units * window
      call('SET', key, format('%.0f %.0f', debt[i], now), 'PX', life)
    end,
    reset = function(i, key, limit) return ceil(debt[i] / limit) end,
    wait = function(i, cost, key, limit, window, burst)
      if cost > burst then return -1 end
      return max(0, ceil((debt[i] - (burst - cost) * window) / limit))
    end,
  }
end

-- The limits that a question names, read once a call: most questions of a call come from the same counter.
local known = {}
local function limitsOf(name)
  local all = known[name]
  if all then return all end
  all = {}
  local algorithm, numbers = match(ARGV[1 + name], '^(%S+) (.+)$')
  all.algorithm = algorithms[algorithm]()
  for limit, window, burst in string.gmatch(numbers, '(%d+) (%d+) (%d+)') do
    limit, window, burst = tonumber(limit), tonumber(window), tonumber(burst)
    -- As a text, because Redis takes long to write a number.
    local life = format('%.0f', all.algorithm.life(limit, window, burst))
    all[#all + 1] = { limit, window, burst, life }
  end
  known[name] = all
  return all
end

local answer = {}
local function decide(limits, first, need, want, now, at)
  local algorithm = limits.algorithm
  local grant = want
  answer[at] = 0
  for i = 1, #limits do
    local l = limits[i]
    local free = max(0, algorithm.free(i, KEYS[first + i], l[1], l[2], l[3], now))
    if free < grant then grant = free end
    answer[at + i * 3 - 2], answer[at + i * 3 - 1], answer[at + i * 3] = free, 0, 0
  end
  if grant < need then grant = 0 end
  answer[at] = grant
  for i = 1, #limits do
    local l, key, spot = limits[i], KEYS[first + i], at + i * 3 - 2
    local limit, window, burst = l[1], l[2], l[3]
    if grant > 0 then algorithm.charge(i, key, grant, l[4], window, now) end
    local rest = answer[spot] - grant
    answer[spot] = rest
    answer[spot + 1] = rest == 0 and algorithm.wait(i, 1, key, limit, window, burst, now)
      or algorithm.reset(i, key, limit, window, now)
    if grant == 0 then answer[spot + 2] = algorithm.wait(i, need, key, limit, window, burst, now) end
  end
end

local time = call('TIME')
local clock = time[1] * 1000 + floor(time[2] / 1000)
local first, at = 0, 1
for need, want, now, name in string.gmatch(ARGV[1], '(%d+) (%d+) (%S+) (%d+)') do
  local limits = limitsOf(name)
  local ok, failure = pcall(decide, limits, first, tonumber(need), tonumber(want), tonumber(now) or clock, at)
  local last = at + #limits * 3
  if not ok then
    -- One question's key may not fail the others; what the server refuses as a whole does.
    if not string.find(type(failure) == 'table' and failure.err or failure, 'WRONGTYPE', 1, true) then error(failure) end
    answer[at] = -1
    for i = at + 1, last do answer[i] = 0 end
  end
  first, at = first + #limits, last + 1
end
return table.concat(answer, ' ')
`)

/**
 * Say that a gateway is alive, and count those that were within the last five seconds.
 * KEYS: the roll. ARGV: the gateway's name. Also what a store that failed is probed with: it writes, as a decision does.
 */
export const ALIVE = script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 5000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now + 5000, '+inf')
redis.call('PEXPIRE', KEYS[1], 10000)
return redis.call('ZCARD', KEYS[1])
`)
