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
 * KEYS: one a limit, question by question; those of one question have one hash tag. ARGV: one text, a line for each question
 * with the units that are needed, those that are wanted (more, for a lease), the time or, outside of tests, a dash for
 * that of Redis, the algorithm, and of each limit the limit, window and burst.
 * Answers numbers in one text, because a client reads that faster than a list; for each question: units granted (0 = refused and nothing charged, -1 = a key holds something
 * else), and of each limit: units left, milliseconds until more is left, and milliseconds until what was needed passes (0
 * when it did, -1 when it never can).
 */
export const DECIDE = script(`
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
-- Most questions of a call come from the same counter.
local known = {}
local function numbers(text)
  local all = {}
  for number in string.gmatch(text, '%d+') do all[#all + 1] = tonumber(number) end
  known[text] = all
  return all
end
local function decide(first, given, need, want, now, algorithm, at)
  local limits = {}
  local grant = want
  for i = 1, #given / 3 do
    local key = KEYS[first + i]
    -- Every field is named here, because a table that grows is made anew.
    local l = {
      key = key, limit = given[3 * i - 2], window = given[3 * i - 1], burst = given[3 * i],
      index = 0, prev = 0, curr = 0, left = 0, free = 0, count = 0, debt = 0,
    }
    local free
    if algorithm == 'sliding-window' then
      l.index, l.prev, l.curr = math.floor(now / l.window), 0, 0
      l.left = (l.index + 1) * l.window - now
      local stored = redis.call('GET', key)
      if stored then
        local index, prev, curr = string.match(stored, '^(%d+) (%d+) (%d+)$')
        index = tonumber(index)
        if index == l.index then
          l.prev, l.curr = tonumber(prev), tonumber(curr)
        elseif index == l.index - 1 then
          l.prev = tonumber(curr)
        elseif index == l.index + 1 then
          l.index, l.left, l.prev, l.curr = index, l.window, tonumber(prev), tonumber(curr)
        end
      end
      free = l.limit - l.curr - math.floor(l.prev * l.left / l.window)
    elseif algorithm == 'sliding-log' then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now - l.window)
      redis.call('ZREMRANGEBYSCORE', key, '(' .. now + l.window, '+inf')
      l.count = redis.call('ZCARD', key)
      free = l.limit - l.count
    else
      l.debt = 0
      local stored = redis.call('GET', key)
      if stored then
        local debt, at = string.match(stored, '^(%d+) (%d+)$')
        l.debt = math.max(0, tonumber(debt) - math.max(0, now - tonumber(at)) * l.limit)
      end
      free = math.floor((l.burst * l.window - l.debt) / l.window)
    end
    l.free = math.max(0, free)
    grant = math.min(grant, l.free)
    limits[i] = l
  end
  if grant < need then grant = 0 end
  answer[at] = grant
  for i = 1, #limits do
    local l = limits[i]
    local wait, reset
    if algorithm == 'sliding-window' then
      l.curr = l.curr + grant
      if grant > 0 then
        redis.call('SET', l.key, string.format('%.0f %.0f %.0f', l.index, l.prev, l.curr), 'PX', 2 * l.window)
      end
      reset = l.left
      wait = function(cost)
        if cost > l.limit then return -1 end
        local room = l.limit - cost + 1
        if l.curr < room then
          if l.prev == 0 then return 0 end
          return math.max(0, l.left - (math.ceil((room - l.curr) * l.window / l.prev) - 1))
        end
        return l.left + l.window - math.min(l.window, math.ceil(room * l.window / l.curr) - 1)
      end
    elseif algorithm == 'sliding-log' then
      if grant > 0 then
        local same = redis.call('ZCOUNT', l.key, now, now)
        -- Many at a time: a call for each unit of a costly request would hold the server for the time of a budget.
        for n = same + 1, same + grant, 500 do
          local units = {}
          for unit = n, math.min(n + 499, same + grant) do
            units[#units + 1] = now
            units[#units + 1] = string.format('%.0f-%d', now, unit)
          end
          redis.call('ZADD', l.key, unpack(units))
        end
        redis.call('PEXPIRE', l.key, 2 * l.window)
        l.count = l.count + grant
      end
      local gone = function(n)
        local found = redis.call('ZRANGE', l.key, n - 1, n - 1, 'WITHSCORES')
        return found[2] and tonumber(found[2]) + l.window - now or l.window
      end
      reset = gone(1)
      wait = function(cost)
        if cost > l.limit then return -1 end
        local leave = l.count + cost - l.limit
        return leave <= 0 and 0 or gone(leave)
      end
    else
      l.debt = l.debt + grant * l.window
      if grant > 0 then
        local life = math.max(2 * l.window, math.ceil(l.burst * l.window / l.limit))
        redis.call('SET', l.key, string.format('%.0f %.0f', l.debt, now), 'PX', life)
      end
      reset = math.ceil(l.debt / l.limit)
      wait = function(cost)
        if cost > l.burst then return -1 end
        return math.max(0, math.ceil((l.debt - (l.burst - cost) * l.window) / l.limit))
      end
    end
    local left = l.free - grant
    answer[at + i * 3 - 2] = left
    answer[at + i * 3 - 1] = left == 0 and wait(1) or reset
    answer[at + i * 3] = grant > 0 and 0 or wait(need)
  end
end
local first, at = 0, 1
for line in string.gmatch(ARGV[1], '[^\\n]+') do
  local need, want, now, algorithm, text = string.match(line, '^(%d+) (%d+) (%S+) (%S+) (.+)$')
  local given = known[text] or numbers(text)
  local count = #given / 3
  local ok, failure =
    pcall(decide, first, given, tonumber(need), tonumber(want), tonumber(now) or clock, algorithm, at)
  if not ok then
    -- One question's key may not fail the others; what the server refuses as a whole does.
    if not string.find(type(failure) == 'table' and failure.err or failure, 'WRONGTYPE', 1, true) then error(failure) end
    answer[at] = -1
    for i = at + 1, at + count * 3 do answer[i] = 0 end
  end
  first, at = first + count, at + 1 + count * 3
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
