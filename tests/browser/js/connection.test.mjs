// The connection, with a fake clock and a fake network.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Connection } from '../../../client/rtpush/connection.js';
import { readOptions } from '../../../client/rtpush/options.js';

const STEP = 100;
let clock = 0;
let sockets = [];
let connection;
let told;

/** A WebSocket that receives what the test gives it, and answers pings by itself. */
class FakeWebSocket {
  answers = true;
  closed = false;
  pings = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    sockets.push(this);
  }

  deliver(event, data, more = {}) {
    this.onmessage({ data: JSON.stringify({ event, data, ...more }) });
  }

  confirm() {
    this.deliver('connect', { sid: 's', heartbeat: 25, recovered: false });
  }

  send(text) {
    const { event, data } = JSON.parse(text);
    if (event === 'ping') this.pings.push(clock);
    if (event === 'ping' && this.answers) queueMicrotask(() => this.deliver('pong', data));
  }

  close(code = 1006) {
    if (this.closed) return;
    this.closed = true;
    this.code = code;
    this.onclose({ code, reason: '' });
  }
}

function connect(options = {}, credentials = async () => ({ token: null, rest: null })) {
  const listener = new Proxy({}, { get: (_, name) => (...args) => told.push([name, ...args]) });
  const own = { transports: ['websocket'], randomizationFactor: 0, ...options };
  connection = new Connection(readOptions('http://push.example', own), new Map(), credentials, listener);
  connection.start();
}

const settled = () => new Promise((resume) => setImmediate(resume));
const names = () => told.map(([name]) => name).filter((name) => name !== 'latency');
const socket = () => sockets.at(-1);

/** Time passes, step by step: timers fire in their order. */
async function pass(milliseconds) {
  for (const end = clock + milliseconds; clock < end;) {
    const step = Math.min(STEP, end - clock);
    clock += step;
    mock.timers.tick(step);
    await settled();
  }
}

/** The device sleeps: all timers fire late. */
async function sleep(milliseconds) {
  clock += milliseconds;
  mock.timers.tick(milliseconds);
  await settled();
}

async function online(options, token) {
  connect(options, token);
  await settled();
  socket().confirm();
  await settled();
}

beforeEach(() => {
  [clock, sockets, told] = [1000, [], []];
  mock.timers.enable({ apis: ['setTimeout'] });
  mock.method(performance, 'now', () => clock);
  globalThis.WebSocket = FakeWebSocket;
});

afterEach(() => {
  connection.stop();
  mock.timers.reset();
  mock.restoreAll();
  delete globalThis.WebSocket;
});

test('a server that answers is pinged every fifteen seconds', async () => {
  await online();
  await pass(60_000);
  assert.deepEqual([socket().pings.length, sockets.length], [5, 1]);
});

test('a ping without an answer closes the transport after eight seconds', async () => {
  await online();
  await pass(1000);
  socket().answers = false;
  await pass(14_000 + 7900);
  assert.deepEqual(names(), ['connected']);
  await pass(200);
  assert.deepEqual(told.find(([name]) => name === 'disconnected').slice(0, 2), ['disconnected', 'ping timeout']);
});

test('an envelope that was in a buffer is no answer to a ping', async () => {
  await online();
  await pass(1000);
  socket().answers = false;
  connection.resume();
  // It arrived before the network died, and is read after the ping was sent.
  socket().deliver('n', 1, { id: 'e-1' });
  await pass(3100);
  assert.deepEqual(names(), ['connected', 'envelope', 'disconnected']);
});

test('the ping timeout is postponed while other envelopes arrive', async () => {
  await online();
  socket().answers = false;
  connection.resume();
  for (let number = 1; number <= 10; number += 1) {
    await pass(2000);
    socket().deliver('n', number, { id: `e-${number}` });
  }
  assert.ok(!names().includes('disconnected'));
  await pass(3100);
  assert.ok(names().includes('disconnected'));
});

test('an old pong does not answer a new ping', async () => {
  await online();
  socket().answers = false;
  connection.resume();
  const asked = clock;
  await pass(1000);
  connection.resume();
  socket().deliver('pong', { sent: asked });
  await pass(3100);
  assert.ok(names().includes('disconnected'));
});

test('after a sleep the client pings again before it closes the transport', async () => {
  await online();
  await pass(14_900);
  socket().answers = false;
  await pass(200);
  await sleep(3_600_000);
  assert.deepEqual(names(), ['connected']);
  socket().answers = true;
  connection.resume();
  await pass(60_000);
  assert.deepEqual(names(), ['connected']);
});

test('throttled timers do not keep a dead transport open', async () => {
  await online();
  await pass(1000);
  socket().answers = false;
  // As in a tab that has been hidden for minutes: timers fire once a minute.
  for (let minute = 0; minute < 3; minute += 1) await sleep(60_000);
  assert.ok(names().includes('disconnected'));
});

test('the idle timeout of a proxy is learned, and forgotten when the network goes', async () => {
  await online({ reconnectionDelay: 100 });
  const idle = async () => {
    await pass(10_000);
    if (clock - socket().pings.at(-1) < 10_000) return;
    socket().close();
    await pass(200);
    socket().confirm();
    await settled();
  };
  await idle();
  await idle();
  assert.equal(sockets.length, 3);
  // From now on the client pings often enough.
  for (let count = 0; count < 6; count += 1) await idle();
  assert.equal(sockets.length, 3);
  connection.offline();
  await pass(200);
  socket().confirm();
  await pass(14_000);
  assert.equal(socket().pings.length, 1);
});

test('one cut does not change the ping interval', async () => {
  await online({ reconnectionDelay: 100 });
  await pass(3000);
  socket().close();
  await pass(200);
  socket().confirm();
  await pass(14_000);
  assert.equal(socket().pings.length, 1);
});

test('the close code decides whether the client reconnects', async () => {
  const back = { 1000: true, 1001: true, 1006: true, 1011: true, 4400: false, 4401: false, 4403: false, 4499: false, 4500: true, 4508: true, 4999: true };
  for (const [code, expected] of Object.entries(back)) {
    await online();
    const before = sockets.length;
    socket().close(Number(code));
    assert.equal(connection.active, expected, code);
    await pass(10_000);
    assert.equal(sockets.length > before, expected, code);
    connection.stop();
  }
});

test('the client waits a random part of retry_after', async () => {
  mock.method(Math, 'random', () => 0.5);
  await online({ reconnectionDelay: 1000 });
  socket().deliver('disconnect', { reason: 'too much', code: 4529, retry_after: 60 });
  assert.deepEqual([names(), connection.active], [['connected', 'disconnected'], true]);
  await pass(30_900);
  assert.equal(sockets.length, 1);
  await pass(200);
  assert.equal(sockets.length, 2);
  // The `error` envelope ahead of a close names it too.
  socket().deliver('error', { code: 'unavailable', message: 'full', retry_after: 20 });
  socket().close(4503);
  await settled();
  assert.deepEqual(told.at(-1)[1], { code: 4503, message: 'full', retryAfter: 20 });
  await pass(11_900);
  assert.equal(sockets.length, 2);
  await pass(200);
  assert.equal(sockets.length, 3);
});

test('the client asks for another token when one is refused, at most twice in a row', async () => {
  let asked = 0;
  const auth = () => `t${asked += 1}`;
  await online({ auth }, async () => ({ token: auth(), rest: null }));
  assert.deepEqual(socket().protocols, ['rtpush', 'bearer.t1']);
  socket().close(4401);
  await pass(1000);
  assert.deepEqual(socket().protocols, ['rtpush', 'bearer.t2']);
  socket().close(4401);
  await pass(5000);
  socket().close(4401);
  await pass(60_000);
  assert.deepEqual([asked, connection.active], [3, false]);
});

test('when the auth function fails, the client tries again', async () => {
  let works = false;
  const token = async () => {
    if (!works) throw new Error('no network');
    return { token: 't', rest: null };
  };
  connect({}, token);
  await pass(500);
  assert.deepEqual([told[0][0], told[0][1].message], ['error', 'auth failed: Error: no network']);
  works = true;
  await pass(1000);
  assert.equal(sockets.length, 1);
});

test('the backoff ends when there is a network again', async () => {
  await online({ reconnectionDelay: 60_000, reconnectionDelayMax: 60_000 });
  connection.offline();
  assert.equal(sockets.length, 1);
  connection.resume();
  await settled();
  assert.equal(sockets.length, 2);
});

test('a page that was suspended reconnects at once', async () => {
  await online({ reconnectionDelay: 60_000, reconnectionDelayMax: 60_000 });
  connection.suspend();
  assert.equal(sockets[0].code, 4001);
  connection.resume();
  await settled();
  assert.equal(sockets.length, 2);
});

test('a transport that times out falls back at once, even the one that worked', async () => {
  const fetched = [];
  mock.method(globalThis, 'fetch', async (url) => {
    fetched.push(url.pathname);
    return new Promise(() => {});
  });
  await online({ transports: ['websocket', 'sse'], reconnectionDelay: 100 });
  socket().close();
  await pass(200);
  assert.equal(sockets.length, 2);
  // Another network, with a proxy that swallows WebSockets.
  await pass(3700);
  assert.deepEqual(fetched, []);
  await pass(200);
  assert.deepEqual(fetched, ['/sse']);
});

test('a POST that waits for a handler holds up no ping', async () => {
  const answer = (value, after = 0) => new Promise((done) => setTimeout(() => done(Response.json(value)), after));
  const sent = [];
  let reads = 0;
  mock.method(globalThis, 'fetch', (_url, { body } = {}) => {
    if (body === undefined) {
      const connect = { event: 'connect', data: { sid: 's', heartbeat: 25 } };
      return reads++ ? answer({ events: [], last: 'e-1' }, 25_000) : answer({ events: [connect], last: 'e-1' });
    }
    const { event, data } = JSON.parse(body);
    sent.push(event);
    // The application handles the order for a minute; meanwhile it answers pings.
    return event === 'order' ? answer([{ ack: 1, data: 'done' }], 60_000) : answer([{ event: 'pong', data }]);
  });
  connect({ transports: ['poll'] });
  await pass(1000);
  connection.send([JSON.stringify({ event: 'order', ack: 1 })]);
  await pass(61_000);
  assert.deepEqual(told.find(([name]) => name === 'reply')[1], { ack: 1, data: 'done' });
  assert.ok(sent.filter((event) => event === 'ping').length >= 3);
  assert.ok(!names().includes('disconnected'));
});

test('a gateway that cuts idle reads is asked for shorter ones', async () => {
  const reads = [];
  mock.method(globalThis, 'fetch', (url, { body } = {}) => {
    if (body !== undefined) return Promise.resolve(Response.json([{ event: 'pong', data: JSON.parse(body).data }]));
    const timeout = url.searchParams.get('timeout');
    if (timeout === '0') return Promise.resolve(Response.json({ events: [{ event: 'connect', data: { sid: 's', heartbeat: 25 } }], last: 'e-1' }));
    const seconds = Number(timeout ?? 25);
    reads.push(seconds);
    return new Promise((done, cut) => {
      if (seconds < 18) setTimeout(() => done(Response.json({ events: [], last: 'e-1' })), seconds * 1000);
      else setTimeout(() => cut(new Error('the gateway')), 18_000);
    });
  });
  connect({ transports: ['poll'], reconnectionDelay: 100 });
  // A ping is answered meanwhile, and shows no life of the read.
  await pass(80_000);
  assert.deepEqual([reads.slice(0, 3).map(Math.round), reads.length > 4], [[25, 25, 9], true]);
  assert.equal(names().filter((name) => name === 'disconnected').length, 2);
});
