import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { MESSAGES, pickLanguage } from '../../../client/i18n.js';
import { io } from '../../../client/rtpush.js';
import { Cursor, isBehind, parsePosition } from '../../../client/rtpush/cursor.js';
import { Emitter } from '../../../client/rtpush/emitter.js';
import { Fallback, backoff } from '../../../client/rtpush/fallback.js';
import { newId } from '../../../client/rtpush/ids.js';
import { credentialsOf, headersOf, protocolsOf } from '../../../client/rtpush/credentials.js';
import { origin, readOptions } from '../../../client/rtpush/options.js';
import { Outbox } from '../../../client/rtpush/outbox.js';
import { Presence } from '../../../client/rtpush/presence.js';
import { RetainedValues } from '../../../client/rtpush/retained.js';
import { SseParser } from '../../../client/rtpush/sse_parser.js';
import { TaskList } from '../../../client/rtpush/tasks.js';
import { WebSocketManager } from '../../../client/websocket.js';

const TRANSPORTS = ['websocket', 'sse', 'poll'];
const DELAYS = { reconnectionDelay: 1000, reconnectionDelayMax: 5000, randomizationFactor: 0.5 };

test('a position is an epoch and a number', () => {
  assert.deepEqual(parsePosition('a1-12'), ['a1', 12]);
  for (const odd of ['', '-', '12', '-12', 'a-', 'a-x', 'a--', 'a-b-12', null, 7, {}]) assert.equal(parsePosition(odd), null);
});

test('behind means the same epoch, and not later', () => {
  assert.ok(isBehind('e-9', 'e-9'));
  assert.ok(isBehind('e-9', 'e-10'));
  assert.ok(!isBehind('e-11', 'e-10'));
  assert.ok(!isBehind('f-1', 'e-10'));
  assert.ok(!isBehind('e-1', null));
});

test('a cursor takes each event once, and every unlogged one', () => {
  const cursor = new Cursor();
  const taken = (event, id, room) => cursor.take({ event, id, room });
  assert.deepEqual([taken('n', 'e-1'), taken('n', 'e-1'), taken('n', 'e-3'), taken('n', 'e-2'), taken('n'), taken('n', 'odd')], [true, false, true, false, true, true]);
  assert.equal(cursor.last, 'e-3');
  assert.ok(taken('n', 'f-1'));
});

test('a state moves no cursor', () => {
  const cursor = new Cursor();
  cursor.advance('e-5');
  assert.ok(cursor.take({ event: 'state', id: 'e-9', data: { entries: [] } }));
  assert.equal(cursor.last, 'e-5');
});

test('a state is handed on as what it changes', () => {
  const values = new RetainedValues();
  const kept = (key, data, seq, more) => ({ event: 'e', key, data, id: `e-${seq}`, ...more });
  const take = (envelope) => values.take(envelope).filter(({ event }) => event === 'e').map(({ key, data, retained }) => [key, data, retained]);
  const state = (seq, entries, where) => take({ event: 'state', id: `e-${seq}`, data: { entries: entries.map((one) => ({ ...one, retained: true })) }, ...where });
  const tasks = (seq, where) => take({ event: 'active_tasks', id: `e-${seq}`, data: {}, ...where });
  assert.deepEqual(state(2, [kept('x', 1, 1), kept('y', 1, 2)]), [['x', 1, true], ['y', 1, true]]);
  assert.deepEqual(tasks(2), []);
  assert.deepEqual(take(kept('x', 2, 3, { retain: true })), [['x', 2, undefined]]);
  take(kept('x', 9, 4));
  take(kept('x', 0, 5, { retain: true, rewound: 'e-1' }));
  assert.deepEqual([...values.of('e')], [['y', 1], ['x', 2]]);
  assert.deepEqual(state(6, [kept('r', 1, 6, { room: 'room' })], { room: 'room' }), [['r', 1, true]]);
  assert.deepEqual(tasks(6, { room: 'room' }), []);
  assert.deepEqual([...values.of('e', 'room')], [['r', 1]]);
  assert.deepEqual(state(9, [kept('x', 2, 3), kept('z', 1, 8)]), [['z', 1, true], ['y', null, true], ['r', null, true]]);
  take(kept('r', 1, 10, { room: 'room', retain: true }));
  values.leave('room');
  assert.equal(values.of('e', 'room').size, 0);
  assert.deepEqual(tasks(12), [['x', null, true], ['z', null, true]]);
});

test('a state tells of members as the server does, and the tabs of one person count as one', () => {
  const values = new RetainedValues();
  const handlers = [];
  const socket = { retained: (event, room) => values.of(event, room), onEnvelope: (handler) => handlers.push(handler) };
  const [ids, people] = ['id', 'subject'].map((by) => new Presence(socket, 'r', by));
  const told = [];
  for (const [by, view] of [['id', ids], ['subject', people]]) {
    for (const event of ['join', 'change', 'leave']) view.on(event, ({ id }) => told.push(`${by} ${event} ${id}`));
  }
  const take = (envelope) => {
    const found = values.take(envelope);
    found.forEach((one) => handlers.forEach((handler) => handler(one)));
    return [found.at(-1), told.splice(0)];
  };
  const member = (id, subject, name) => ({ id, subject, info: { name } });
  const present = (seq, data) => take({ event: 'presence', room: 'r', id: `e-${seq}`, data });
  const [one, two, other] = [member('1', 'ann'), member('2', 'ann'), member('3')];
  assert.deepEqual(present(1, { joined: [one] })[1], ['id join 1', 'subject join 1']);
  assert.deepEqual(present(2, { joined: [two, other] })[1].sort(), ['id join 2', 'id join 3', 'subject join 3']);
  assert.deepEqual(present(3, { left: [two] })[1], ['id leave 2']);
  assert.deepEqual(people.members.map(({ id }) => id), ['1', '3']);
  const entries = [[8, member('3', undefined, 'Cy')], [7, member('4')]].map(([seq, data]) => ({ event: 'presence', room: 'r', key: data.id, data, retained: true, id: `e-${seq}` }));
  const [state, heard] = take({ event: 'state', room: 'r', id: 'e-9', data: { entries } });
  const { joined, changed, left } = state.data;
  assert.deepEqual([joined, changed, left].map((members) => members.map(({ id }) => id)), [['4'], ['3'], ['1']]);
  assert.deepEqual(heard.filter((text) => text.startsWith('subject')), ['subject leave 1', 'subject join 4', 'subject change 3'].sort((a, b) => heard.indexOf(a) - heard.indexOf(b)));
});

test('a snapshot moves the cursor, but never back; after a resync, anywhere', () => {
  const cursor = new Cursor();
  assert.ok(cursor.take({ event: 'active_tasks', id: 'e-5' }));
  assert.ok(cursor.take({ event: 'active_tasks', id: 'e-5' }));
  assert.ok(!cursor.take({ event: 'active_tasks', id: 'e-4' }));
  assert.ok(!cursor.take({ event: 'n', id: 'e-5' }));
  cursor.take({ event: 'resync' });
  assert.equal(cursor.last, null);
  assert.ok(cursor.take({ event: 'active_tasks', id: 'e-4' }));
});

test("a room's snapshot covers that room and nothing else", () => {
  const cursor = new Cursor();
  cursor.take({ event: 'active_tasks', id: 'e-5', room: 'r' });
  assert.equal(cursor.last, null);
  assert.ok(cursor.take({ event: 'n', id: 'e-3' }));
  assert.ok(!cursor.take({ event: 'n', id: 'e-4', room: 'r' }));
  assert.ok(cursor.take({ event: 'n', id: 'e-6', room: 'r' }));
  cursor.take({ event: 'active_tasks', id: 'e-9', room: 'r' });
  cursor.leave('r');
  assert.ok(cursor.take({ event: 'n', id: 'e-8', room: 'r' }));
});

test('backoff grows up to its maximum, with jitter', () => {
  assert.deepEqual([0, 1, 2, 3, 99].map((n) => backoff(n, DELAYS, () => 0.5)), [1000, 2000, 4000, 5000, 5000]);
  assert.deepEqual([0, 1].map((random) => backoff(0, DELAYS, () => random)), [500, 1500]);
});

test('an attempt tries all transports, the one that connected last first', () => {
  const fallback = new Fallback(TRANSPORTS, 'x');
  assert.deepEqual(fallback.order(), TRANSPORTS);
  fallback.connected('sse');
  assert.deepEqual(fallback.order(), ['sse', 'websocket', 'poll']);
  fallback.forget();
  assert.deepEqual(fallback.order(), TRANSPORTS);
});

test('the transport that connected last gets two attempts without fallback, unless it times out', () => {
  const fallback = new Fallback(TRANSPORTS, 'x');
  assert.equal(fallback.waitsFor('websocket', false), false);
  for (let again = 0; again < 2; again += 1) {
    fallback.connected('websocket');
    assert.deepEqual([1, 2, 3].map(() => fallback.waitsFor('websocket', false)), [true, true, false]);
  }
  fallback.connected('websocket');
  assert.deepEqual([fallback.waitsFor('sse', false), fallback.waitsFor('websocket', true)], [false, false]);
});

test('the transport that connected last is remembered for the next page', (context) => {
  const kept = new Map();
  globalThis.sessionStorage = { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value) };
  context.after(() => delete globalThis.sessionStorage);
  new Fallback(TRANSPORTS, 'x').connected('poll');
  assert.deepEqual(new Fallback(TRANSPORTS, 'x').order()[0], 'poll');
  assert.deepEqual(new Fallback(TRANSPORTS, 'another server').order(), TRANSPORTS);
  kept.set('x', '__proto__');
  assert.deepEqual(new Fallback(TRANSPORTS, 'x').order(), TRANSPORTS);
});

const PATIENT = { retries: 3, ackTimeout: Infinity, timeout: Infinity };

/** An outbox whose connection can be up or down. */
function outboxWith(line) {
  return new Outbox((text) => {
    if (line.up) line.sent.push(text);
    return line.up;
  });
}

test('unanswered events are sent again, in order, under the same key', () => {
  const line = { up: false, sent: [] };
  const outbox = outboxWith(line);
  const ends = [];
  for (const event of ['a', 'b']) outbox.add({ event }, PATIENT, (error, data) => ends.push([event, error, data]));
  assert.deepEqual(line.sent, []);
  line.up = true;
  outbox.resend();
  const [first, second] = line.sent.map((text) => JSON.parse(text));
  outbox.settle(first.ack, null, 5);
  outbox.settle(first.ack, null, 6);
  for (const odd of [999, '__proto__', undefined, {}]) outbox.settle(odd, null);
  outbox.resend();
  assert.deepEqual(line.sent.map((text) => JSON.parse(text).event), ['a', 'b', 'b']);
  assert.equal(line.sent[1], line.sent[2]);
  assert.notEqual(first.idempotency_key, second.idempotency_key);
  assert.deepEqual(ends, [['a', null, 5]]);
});

test('an event without an answer is sent again, on every connection', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const line = { up: true, sent: [] };
  const outbox = outboxWith(line);
  const codes = [];
  outbox.add({ event: 'a' }, { ...PATIENT, ackTimeout: 1000 }, (error) => codes.push(error.code));
  context.mock.timers.tick(1000);
  assert.equal(line.sent.length, 2);
  line.up = false;
  context.mock.timers.tick(5000);
  line.up = true;
  outbox.resend();
  context.mock.timers.tick(999);
  assert.equal(line.sent.length, 3);
  context.mock.timers.tick(1);
  assert.equal(line.sent.length, 4);
  context.mock.timers.tick(9000);
  assert.deepEqual([line.sent.length, codes], [4, ['given_up']]);
  outbox.add({ event: 'b' }, { ...PATIENT, timeout: 50 }, (error) => codes.push(error.code));
  context.mock.timers.tick(50);
  assert.deepEqual(codes, ['given_up', 'timeout']);
});

test('the outbox is bounded, in number, in size and in tries', () => {
  const line = { up: false, sent: [] };
  const outbox = outboxWith(line);
  const codes = [];
  const end = (error) => error && codes.push(error.code);
  for (let index = 0; index < 1001; index += 1) outbox.add({ event: 'a' }, { ...PATIENT, retries: 2 }, end);
  assert.deepEqual(codes, ['queue_full']);
  line.up = true;
  const counts = [1, 2, 3, 4].map(() => outbox.resend() ?? line.sent.splice(0).length);
  assert.deepEqual(counts, [64, 64, 64, 64]);
  assert.equal(codes.filter((code) => code === 'given_up').length, 64);
  codes.length = 0;
  for (let index = 0; index < 3; index += 1) outbox.add({ event: 'a', data: 'x'.repeat(6 << 20) }, PATIENT, end);
  assert.deepEqual(codes, ['queue_full']);
});

test('no more events are in flight than the server remembers answers of', () => {
  const line = { up: true, sent: [] };
  const outbox = outboxWith(line);
  for (let index = 0; index < 100; index += 1) outbox.add({ data: index }, PATIENT, () => {});
  const sent = () => line.sent.map((text) => JSON.parse(text));
  const upTo = (begin, end) => Array.from({ length: end - begin }, (_, index) => begin + index);
  assert.deepEqual(sent().map(({ data }) => data), upTo(0, 64));
  outbox.settle(sent()[5].ack, null);
  outbox.settle(sent()[0].ack, null);
  assert.deepEqual(sent().map(({ data }) => data), upTo(0, 66));
  line.sent.length = 0;
  outbox.resend();
  assert.deepEqual(sent().map(({ data }) => data), [...upTo(1, 5), ...upTo(6, 66)]);
  while (line.sent.length > 0) outbox.settle(JSON.parse(line.sent.shift()).ack, null);
  outbox.resend();
  assert.deepEqual(line.sent, []);
});

test('a message that is too large: the largest that was sent is refused', () => {
  const line = { up: true, sent: [] };
  const outbox = outboxWith(line);
  const codes = [];
  const add = (data) => outbox.add({ data }, PATIENT, (error) => codes.push([data.length, error.code]));
  add('small');
  add('much larger');
  line.up = false;
  add('larger still, and not sent yet');
  outbox.refuseLargest();
  assert.deepEqual(codes, [[11, 'too_large']]);
});

test('listeners come and go as in Socket.IO', () => {
  const emitter = new Emitter();
  const heard = [];
  const one = (data) => heard.push(`one ${data}`);
  const two = (data) => heard.push(`two ${data}`);
  emitter.on('__proto__', one).once('__proto__', two).once('x', one).off('x', one);
  emitter.fire('__proto__', 1);
  emitter.fire('__proto__', 2);
  emitter.fire('x', 3);
  emitter.off('__proto__').fire('__proto__', 4);
  emitter.on('x', one).removeListener('x', one).on('x', one).removeAllListeners('x').fire('x', 6);
  emitter.on('x', one).off().fire('x', 5);
  assert.deepEqual(heard, ['one 1', 'two 1', 'one 2']);
  assert.throws(() => emitter.on('x', null), TypeError);
  assert.deepEqual([emitter.hasListeners('x'), emitter.listeners('x')], [false, []]);
});

test('options have the names and defaults of Socket.IO', () => {
  const options = readOptions('ws://push.example:8080?a=1', {});
  assert.deepEqual([options.base, options.query, options.reconnectionDelay], ['http://push.example:8080/', [['a', '1']], 1000]);
  const other = readOptions('https://push.example', { path: '/live', query: { b: '2' }, transports: ['polling'], reconnectionAttempts: 5, withCredentials: true });
  assert.deepEqual([other.base, other.query, other.transports], ['https://push.example/live/', [['b', '2']], ['sse', 'poll']]);
  assert.deepEqual([other.reconnectionAttempts, other.cookies], [5, 'include']);
  // None at all, as far as timers go.
  assert.deepEqual([false, Infinity].map((timeout) => readOptions('http://a', { timeout }).timeout), [2 ** 31 - 1, 2 ** 31 - 1]);
});

test('an address or transports that could never connect raise nothing: the socket says it', async (context) => {
  context.mock.method(console, 'warn', () => {});
  const cases = [['http://'], ['http://[bad'], ['::bad'], ['/ns'], ['http://push.example/ns'], ['http://a', { path: 'http://[' }],
    ...[[], ['webtransport'], ['websocket']].map((transports) => ['http://push.example', { transports, shared: true }])];
  for (const [address, options] of cases) {
    const socket = io(address, options);
    const told = new Promise((resolve) => socket.on('connect_error', resolve));
    const waits = assert.rejects(socket.emitWithAck('x'), { code: 'connect_error' });
    assert.match((await told).message, new RegExp(`^io\\("${address.replaceAll('[', '\\[')}"\\): `));
    await waits;
    assert.deepEqual([socket.active, (await told).data.code], [false, 4400], address);
  }
});

test('where there is no WebSocket, SSE takes its place, or a class that is given', async (context) => {
  const warn = context.mock.method(console, 'warn', () => {});
  const own = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  delete globalThis.WebSocket;
  context.after(() => own && Object.defineProperty(globalThis, 'WebSocket', own));
  const made = [];
  class Refused {
    constructor(...args) {
      made.push(args);
      // As Node's does when the server refuses: no `close` follows.
      setTimeout(() => this.onerror({}));
    }

    close() {}
  }
  assert.deepEqual(readOptions('http://a', {}).transports, ['sse', 'poll']);
  assert.ok(warn.mock.callCount() <= 1);
  assert.deepEqual(readOptions('http://a', { WebSocket: Refused }).transports, TRANSPORTS);
  const error = async (options) => {
    const socket = io('http://a', { transports: ['websocket'], auth: 't', reconnection: false, extraHeaders: { 'x-app': '1' }, ...options });
    return new Promise((resolve) => socket.on('connect_error', resolve));
  };
  assert.equal((await error({ WebSocket: Refused })).message, 'the connection was lost');
  // Node's own takes headers in its second argument.
  globalThis.WebSocket = Refused;
  await error();
  const headers = { 'x-app': '1' };
  const protocols = ['rtpush', 'bearer.t'];
  assert.deepEqual(made.map(([, ...rest]) => rest), [[protocols, { headers }], [{ protocols, headers }, { headers }]]);
  delete globalThis.WebSocket;
});

test('a server that speaks nonsense: nothing is thrown, and nothing believed', async () => {
  const nonsense = [
    '', 'null', '7', '[]', '"x"', '{}', '{"event":7}', '{"event":null,"id":{}}',
    '{"event":"active_tasks","id":"-","data":{"tasks":[]}}', '{"ack":{"a":1}}',
    '{"ack":"__proto__","error":7}', '{"event":"pong","data":null}',
    '{"event":"connect","id":"e-5","data":{"sid":"forged"}}',
    '{"event":"n","id":"e-6","room":{"a":1},"data":5}',
    '{"event":"n","id":"e-7","data":6}', '{"event":"n","id":"e-4","data":7}',
    '{"event":"n","id":"nonsense","data":8}',
  ];
  class Talking {
    constructor() {
      const greeting = '{"event":"connect","data":{"sid":"s","heartbeat":"x","recovered":1}}';
      setImmediate(() => [greeting, ...nonsense].forEach((data) => this.onmessage({ data })));
    }

    send() {}

    close() {}
  }
  const socket = io('http://push.example', { transports: ['websocket'], WebSocket: Talking });
  const seen = [];
  socket.on('n', (data) => seen.push(data));
  while (seen.length < 3) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([seen, socket.id, socket.position], [[5, 6, 8], 's', 'e-7']);
  socket.disconnect();
});

test('the classic script connects to where it was loaded from', async (context) => {
  context.after(() => {
    delete globalThis.document;
    delete globalThis.location;
    delete origin.url;
  });
  globalThis.location = { origin: 'http://page.example' };
  globalThis.document = { currentScript: { src: 'http://page.example/live/dist/rtpush.min.js' }, baseURI: 'http://page.example/a' };
  await import('../../../client/classic.js');
  const base = (...args) => readOptions(...args).base;
  assert.deepEqual([base('', {}), base('', { path: '/' }), base('http://push.example', {})], ['http://page.example/live/', 'http://page.example/', 'http://push.example/']);
});

test('a manager that connects twice has its handlers once', async (context) => {
  let reads = 0;
  const events = [{ event: 'connect', data: { sid: 's' } }, { event: 'said', data: 1, id: 'e-2' }];
  context.mock.method(globalThis, 'fetch', async (_url, { body, signal } = {}) => {
    if (body !== undefined) return Response.json([]);
    reads += 1;
    return reads === 1 ? Response.json({ events, last: 'e-2' }) : new Promise((_, refuse) => signal.addEventListener('abort', refuse));
  });
  const manager = new WebSocketManager({ url: 'http://push.example', options: { transports: ['poll'] } });
  const heard = [];
  manager.on('said', (data) => heard.push(data));
  manager.connect();
  manager.connect();
  while (reads < 2) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(heard, [1]);
  manager.disconnect();
});

test('an address may be a host, and the page has one or not', (context) => {
  const base = (address) => readOptions(address, {}).base;
  context.mock.method(console, 'warn', () => {});
  assert.deepEqual(['localhost:5000', 'push.example', '//a:1'].map(base), ['https://localhost:5000/', 'https://push.example/', 'https://a:1/']);
  // As under server-side rendering: nothing connects, and nothing throws.
  assert.deepEqual([readOptions('', {}).autoConnect, io().active], [false, false]);
  context.after(() => {
    delete globalThis.location;
    delete globalThis.document;
  });
  globalThis.location = { origin: 'http://page.example' };
  assert.deepEqual(['', 'localhost:5000'].map(base), ['http://page.example/', 'http://localhost:5000/']);
  // A `srcdoc` frame, and then a `data:` worker.
  globalThis.location = { origin: 'null' };
  globalThis.document = { baseURI: 'http://page.example/path?a=1' };
  assert.equal(base(''), 'http://page.example/');
  delete globalThis.document;
  assert.equal(base('http://push.example'), 'http://push.example/');
});

test('ids need no crypto', (context) => {
  const own = Object.getOwnPropertyDescriptor(globalThis, 'crypto');
  context.after(() => Object.defineProperty(globalThis, 'crypto', own));
  Object.defineProperty(globalThis, 'crypto', { value: undefined, configurable: true });
  assert.match(newId(), /^[0-9a-f]{32}$/);
  assert.notEqual(newId(), newId());
});

test('an option without meaning gives one warning', (context) => {
  const warn = context.mock.method(console, 'warn', () => {});
  for (let index = 0; index < 3; index += 1) readOptions('http://a', { noSuchOption: true, '__proto__': null });
  assert.equal(warn.mock.callCount(), 1);
});

/** The rows of a table: the names in its first column, and what it says of them. */
function table(heading) {
  const page = readFileSync(new URL('../../../docs/how-to/from-socketio.md', import.meta.url), 'utf8');
  const section = page.split(/^## /m).find((text) => text.startsWith(heading));
  const rows = [...section.matchAll(/^\| (.*`.*) \| (.*) \|$/gm)];
  return rows.map(([, names, words]) => [[...names.matchAll(/`(\w+)(?:\(\))?`/g)].map(([, name]) => name), words]);
}

test('what the docs say of Socket.IO is so', (context) => {
  const warn = context.mock.method(console, 'warn', () => {});
  const socket = io('http://push.example', { autoConnect: false });
  for (const [object, heading] of [[socket, 'The socket'], [socket.io, 'The manager']]) {
    for (const [names, words] of table(heading)) {
      const isEvents = names.includes('reconnect') || words.startsWith('not fired');
      for (const name of isEvents ? [] : names) {
        assert.equal(name === 'connect_error' || name in object, !/not there|set them/.test(words), `${heading}: ${name}`);
      }
    }
  }
  for (const [names, words] of table('Options')) {
    for (const name of names) {
      warn.mock.resetCalls();
      readOptions('http://push.example', { [name]: undefined });
      assert.equal(warn.mock.callCount(), words.startsWith('no meaning') ? 1 : 0, name);
    }
  }
});

test('a token is given, held by an object, returned, promised or passed on', async () => {
  const ways = ['t', { token: 't' }, () => 't', async () => ({ token: 't' }), (done) => done({ token: 't' }), async (done) => done({ token: 't' })];
  for (const way of ways) assert.deepEqual(await credentialsOf(way), { token: 't', rest: null });
  for (const none of [undefined, null, {}, () => null, () => undefined]) assert.deepEqual(await credentialsOf(none), { token: null, rest: null });
  await assert.rejects(credentialsOf(() => Promise.reject(new Error('no'))), /no/);
  await assert.rejects(credentialsOf(() => { throw new Error('no'); }), /no/);
  await assert.rejects(credentialsOf(() => new Promise(() => {}), 1), /in time/);
});

test('the rest of auth travels beside the token', async () => {
  const ada = { username: 'Ada 💡', scopes: ['?>~'] };
  const credentials = await credentialsOf(() => ({ ...ada, token: 't' }));
  assert.match(credentials.rest, /^[\w-]+$/);
  assert.deepEqual(JSON.parse(Buffer.from(credentials.rest, 'base64url')), ada);
  assert.deepEqual(headersOf(credentials), { authorization: 'Bearer t', 'rtpush-auth': credentials.rest });
  assert.deepEqual(protocolsOf(credentials), ['rtpush', 'bearer.t', `auth.${credentials.rest}`]);
  assert.deepEqual(protocolsOf({ token: null, rest: null }), []);
});

/** A task without what the list itself says of it. */
const said = ({ status, createdAt, startedAt, ...fields }) => fields;

test('a task is queued, runs, is asked to end and ends', () => {
  const list = new TaskList();
  list.apply({ event: 'active_tasks', id: 'e-1', data: { tasks: [], finished: [] } });
  const seen = ['task_created', 'task_progress', 'task_cancel', 'task_cancelled'].map((event, i) => {
    list.apply({ event, id: `e-${i + 2}`, data: { id: 1 } });
    const { status, createdAt, startedAt, endTime } = list.value.tasks[0] ?? list.value.finished[0];
    return [status, ...[createdAt, startedAt, endTime].map((time) => time > 1.6e12)];
  });
  assert.deepEqual(seen, [['queued', true, false, false], ['running', true, true, false], ['cancelling', true, true, false], ['cancelled', true, true, true]]);
});

test('a list of tasks knows claims, places and times', () => {
  const list = new TaskList();
  list.apply({ event: 'active_tasks', id: 'e-1', data: { tasks: [{ id: 1, status: 'queued' }], finished: [], estimates: [{ id: 1, place: 2, eta: 5 }] } });
  list.apply({ event: 'task_estimates', data: { tasks: [{ id: '1', place: 1, eta: 4 }, { id: 'gone', place: 1, eta: null }] } });
  const seen = [['task_claimed', { worker: 'w', attempt: 1 }], ['task_progress', { append: { text: 'a' } }], ['task_requeued', { text: null, worker: null }], ['task_progress', { append: { text: 'b' } }]].map(([event, data], i) => {
    list.apply({ event, id: `e-${i + 2}`, data: { id: 1, ...data } });
    const { status, worker, text, place } = list.value.tasks[0];
    return [status, worker, text, place];
  });
  assert.deepEqual(seen, [['running', 'w', undefined, null], ['running', 'w', 'a', null], ['queued', null, null, null], ['running', null, 'b', null]]);
  assert.equal(list.value.tasks[0].eta, 4);
});

test('fields of a task grow', () => {
  const list = new TaskList();
  list.apply({ event: 'active_tasks', id: 'e-5', data: { tasks: [{ id: 1, text: 'a', lines: [1] }], finished: [] } });
  list.apply({ event: 'task_progress', id: 'e-6', data: { id: 1, progress: 5, append: { text: 'b', lines: [2, [3]], more: 'c' } } });
  assert.deepEqual(list.value.tasks.map(said), [{ id: 1, text: 'ab', lines: [1, 2, [3]], more: 'c', progress: 5 }]);
  list.apply({ event: 'task_completed', id: 'e-7', data: { id: 1, append: { text: '.' } } });
  assert.equal(list.value.finished[0].text, 'ab.');
  assert.equal('append' in list.value.finished[0], false);
});

test('a list of tasks is its snapshot and what came after', () => {
  const list = new TaskList();
  list.apply({ event: 'task_progress', id: 'e-6', data: { id: 1, progress: 60 } });
  list.apply({ event: 'task_progress', id: 'e-4', data: { id: 1, progress: 40 } });
  assert.deepEqual(list.value.tasks, []);
  list.apply({ event: 'active_tasks', id: 'e-5', data: { tasks: [{ id: 1, progress: 50 }], finished: [] } });
  assert.deepEqual(list.value.tasks.map(said), [{ id: 1, progress: 60 }]);
  list.apply({ event: 'task_created', id: 'e-7', room: 'r', data: { id: 2 } });
  list.apply({ event: 'task_completed', id: 'e-8', data: { id: '1', result: 5 } });
  assert.deepEqual(list.value.tasks.map(said), [{ id: 2, room: 'r' }]);
  assert.deepEqual(list.value.finished.map(({ id, status, result }) => [id, status, result]), [['1', 'completed', 5]]);
  list.apply({ event: 'active_tasks', id: 'e-9', room: 'r', data: { tasks: [{ id: 3, room: 'r' }], finished: [] } });
  assert.deepEqual([list.value.tasks.map(({ id }) => id), list.value.finished.length], [[3], 1]);
  for (const data of [null, 7, 'x', []]) list.apply({ event: 'task_created', data });
  const before = list.value;
  // Names that are those of properties, which every object has.
  for (const event of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) assert.equal(list.apply({ event, id: 'e-20', data: { id: 3 } }), false);
  assert.equal(list.value, before);
  list.apply({ event: 'task_created', id: 'e-21', data: { id: '1' } });
  assert.deepEqual([said(list.value.tasks.at(-1)), list.value.finished], [{ id: '1' }, []]);
});

test('events of a stream come in pieces of any size', () => {
  const stream = 'retry: 1000\n\nid: e-1\ndata: {"a":1}\n\n: nothing\n\ndata: one\ndata: two\n\nevent: x\ndata: three';
  for (const size of [1, 2, 3, 7, 1000]) {
    const parser = new SseParser();
    const found = [];
    for (let at = 0; at < stream.length; at += size) found.push(...parser.feed(stream.slice(at, at + size)));
    assert.deepEqual([...found, ...parser.feed(''), ...parser.feed('\n\n')].filter(Boolean), [' {"a":1}', ' one\n two', ' three']);
  }
});

test('a long event is searched once, in however many pieces it comes', (context) => {
  const { split, includes } = String.prototype;
  let searched = 0;
  for (const [name, method] of Object.entries({ split, includes })) {
    context.mock.method(String.prototype, name, function counted(...args) {
      searched += this.length;
      return method.apply(this, args);
    });
  }
  const parser = new SseParser();
  parser.feed('data: ');
  for (let index = 0; index < 1000; index += 1) parser.feed('x'.repeat(1000));
  const [data] = parser.feed('\n\n');
  assert.equal(data.length, 1_000_001);
  assert.ok(searched < 4_000_000, String(searched));
});

test('both languages say everything, with the same values', () => {
  const values = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
  assert.deepEqual(Object.keys(MESSAGES.zh).sort(), Object.keys(MESSAGES.en).sort());
  for (const [key, text] of Object.entries(MESSAGES.en)) assert.deepEqual(values(MESSAGES.zh[key]), values(text), key);
});

test('the language is the first one that we speak', () => {
  assert.equal(pickLanguage(['fr', 'zh-TW', 'en']), 'zh');
  assert.equal(pickLanguage(['constructor', 'fr']), 'en');
});
