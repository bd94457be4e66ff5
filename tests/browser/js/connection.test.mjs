// A connection whose time and whose network are the test's.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Connection } from '../../../client/rtpush/connection.js';
import { readOptions } from '../../../client/rtpush/options.js';

const STEP = 100;
let clock = 0;
let sockets = [];
let connection;
let told;

/** A WebSocket that hears what the test lets it hear, and by itself answers pings. */
class FakeWebSocket {
  answers = true;
  closed = false;
  pings = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    sockets.push(this);
  }

  hear(event, data, more = {}) {
    this.onmessage({ data: JSON.stringify({ event, data, ...more }) });
  }

  greet() {
    this.hear('connect', { sid: 's', heartbeat: 25, recovered: false });
  }

  send(text) {
    const { event, data } = JSON.parse(text);
    if (event === 'ping') this.pings.push(clock);
    if (event === 'ping' && this.answers) queueMicrotask(() => this.hear('pong', data));
  }

  close(code = 1006) {
    if (this.closed) return;
    this.closed = true;
    this.onclose({ code, reason: '' });
  }
}

function connect(options = {}, token = async () => null) {
  const listener = new Proxy({}, { get: (_, name) => (...args) => told.push([name, ...args]) });
  const own = { transports: ['websocket'], randomizationFactor: 0, ...options };
  connection = new Connection(readOptions('http://push.example', own), new Map(), token, listener);
  connection.start();
}

const settled = () => new Promise((resume) => setImmediate(resume));
const names = () => told.map(([name]) => name).filter((name) => name !== 'latency');
const socket = () => sockets.at(-1);

/** Time passes, step by step: what hangs on it happens in its order. */
async function pass(milliseconds) {
  for (const end = clock + milliseconds; clock < end;) {
    const step = Math.min(STEP, end - clock);
    clock += step;
    mock.timers.tick(step);
    await settled();
  }
}

/** Time passes while nothing runs: all that it should have done is late. */
async function sleep(milliseconds) {
  clock += milliseconds;
  mock.timers.tick(milliseconds);
  await settled();
}

async function online(options, token) {
  connect(options, token);
  await settled();
  socket().greet();
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

test('who answers is asked every fifteen seconds, and kept', async () => {
  await online();
  await pass(60_000);
  assert.deepEqual([socket().pings.length, sockets.length], [5, 1]);
});

test('who does not answer is dead after eight seconds', async () => {
  await online();
  await pass(1000);
  socket().answers = false;
  await pass(14_000 + 7900);
  assert.deepEqual(names(), ['up']);
  await pass(200);
  assert.deepEqual(told.find(([name]) => name === 'down').slice(0, 2), ['down', 'ping timeout']);
});

test('what was on its way for long is no answer', async () => {
  await online();
  await pass(1000);
  socket().answers = false;
  connection.wake();
  // Arrived before the line went dead, and read after the question was asked.
  socket().hear('n', 1, { id: 'e-1' });
  await pass(3100);
  assert.deepEqual(names(), ['up', 'envelope', 'down']);
});

test('an answer behind much else is waited for while that arrives', async () => {
  await online();
  socket().answers = false;
  connection.wake();
  for (let number = 1; number <= 10; number += 1) {
    await pass(2000);
    socket().hear('n', number, { id: `e-${number}` });
  }
  assert.ok(!names().includes('down'));
  await pass(3100);
  assert.ok(names().includes('down'));
});

test('an old answer does not count for a new question', async () => {
  await online();
  socket().answers = false;
  connection.wake();
  const asked = clock;
  await pass(1000);
  connection.wake();
  socket().hear('pong', { sent: asked });
  await pass(3100);
  assert.ok(names().includes('down'));
});

test('after a sleep it asks again before it judges', async () => {
  await online();
  await pass(14_900);
  socket().answers = false;
  await pass(200);
  await sleep(3_600_000);
  assert.deepEqual(names(), ['up']);
  socket().answers = true;
  connection.wake();
  await pass(60_000);
  assert.deepEqual(names(), ['up']);
});

test('where timers are slow it judges all the same', async () => {
  await online();
  await pass(1000);
  socket().answers = false;
  // As in a tab that has been hidden for minutes: one turn a minute.
  for (let turn = 0; turn < 3; turn += 1) await sleep(60_000);
  assert.ok(names().includes('down'));
});

test('a network that cuts idle connections is learned, and forgotten with it', async () => {
  await online({ reconnectionDelay: 100 });
  const idle = async () => {
    await pass(10_000);
    if (clock - socket().pings.at(-1) < 10_000) return;
    socket().close();
    await pass(200);
    socket().greet();
    await settled();
  };
  await idle();
  await idle();
  assert.equal(sockets.length, 3);
  // Asks often enough from now on.
  for (let turn = 0; turn < 6; turn += 1) await idle();
  assert.equal(sockets.length, 3);
  connection.cut();
  await pass(200);
  socket().greet();
  await pass(14_000);
  assert.equal(socket().pings.length, 1);
});

test('one cut is no habit', async () => {
  await online({ reconnectionDelay: 100 });
  await pass(3000);
  socket().close();
  await pass(200);
  socket().greet();
  await pass(14_000);
  assert.equal(socket().pings.length, 1);
});

test('the close code says who comes back', async () => {
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

test('it waits a random part of what the server asks for', async () => {
  mock.method(Math, 'random', () => 0.5);
  await online({ reconnectionDelay: 1000 });
  socket().hear('disconnect', { reason: 'too much', code: 4529, retry_after: 60 });
  assert.deepEqual([names(), connection.active], [['up', 'down'], true]);
  await pass(30_900);
  assert.equal(sockets.length, 1);
  await pass(200);
  assert.equal(sockets.length, 2);
  // A refusal says so too, ahead of its close.
  socket().hear('error', { code: 'unavailable', message: 'full', retry_after: 20 });
  socket().close(4503);
  await settled();
  assert.deepEqual(told.at(-1)[1], { code: 4503, message: 'full', retryAfter: 20 });
  await pass(11_900);
  assert.equal(sockets.length, 2);
  await pass(200);
  assert.equal(sockets.length, 3);
});

test('a token that is refused is asked for anew, but not for ever', async () => {
  let asked = 0;
  const auth = () => `t${asked += 1}`;
  await online({ auth }, async () => auth());
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

test('a token that cannot be had is asked for again', async () => {
  let works = false;
  const token = async () => {
    if (!works) throw new Error('no network');
    return 't';
  };
  connect({}, token);
  await pass(500);
  assert.deepEqual([told[0][0], told[0][1].message], ['error', 'auth failed: Error: no network']);
  works = true;
  await pass(1000);
  assert.equal(sockets.length, 1);
});

test('waiting ends when there is a network again', async () => {
  await online({ reconnectionDelay: 60_000, reconnectionDelayMax: 60_000 });
  connection.cut();
  assert.equal(sockets.length, 1);
  connection.wake();
  await settled();
  assert.equal(sockets.length, 2);
});

test('a page that was put away is back at once', async () => {
  await online({ reconnectionDelay: 60_000, reconnectionDelayMax: 60_000 });
  connection.rest();
  assert.ok(sockets[0].closed);
  connection.wake();
  await settled();
  assert.equal(sockets.length, 2);
});

test('a transport that is silent makes way at once, also the one that worked', async () => {
  const fetched = [];
  mock.method(globalThis, 'fetch', async (url) => {
    fetched.push(url.pathname);
    return new Promise(() => {});
  });
  await online({ transports: ['websocket', 'sse'], reconnectionDelay: 100 });
  socket().close();
  await pass(200);
  assert.equal(sockets.length, 2);
  // Another network, which swallows it.
  await pass(3700);
  assert.deepEqual(fetched, []);
  await pass(200);
  assert.deepEqual(fetched, ['/sse']);
});

test('an answer that takes its time is no silence', async () => {
  const answer = (value, after = 0) => new Promise((done) => setTimeout(() => done({ ok: true, json: async () => value }), after));
  const said = [];
  let reads = 0;
  mock.method(globalThis, 'fetch', (_url, { body } = {}) => {
    if (body === undefined) {
      const greeting = { event: 'connect', data: { sid: 's', heartbeat: 25 } };
      return reads++ ? answer({ events: [], last: 'e-1' }, 25_000) : answer({ events: [greeting], last: 'e-1' });
    }
    const [{ event, data }] = JSON.parse(body);
    said.push(event);
    // The application works on the order for a minute; what else is said is heard meanwhile.
    return event === 'order' ? answer([{ ack: 1, data: 'done' }], 60_000) : answer([{ event: 'pong', data }]);
  });
  connect({ transports: ['poll'] });
  await pass(1000);
  connection.send([JSON.stringify({ event: 'order', ack: 1 })]);
  await pass(61_000);
  assert.deepEqual(told.find(([name]) => name === 'reply')[1], { ack: 1, data: 'done' });
  assert.ok(said.filter((event) => event === 'ping').length >= 3);
  assert.ok(!names().includes('down'));
});
