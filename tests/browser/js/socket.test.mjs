// The socket over long-poll, with a server that is a function.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { io } from '../../../client/rtpush.js';
import { connections } from '../../../client/rtpush/lifecycle.js';
import { LOCAL } from '../../../client/rtpush/sender.js';

const CONNECT = { event: 'connect', data: { sid: 's1', heartbeat: 25, recovered: false } };
let socket;
let posts;
/** Answers, at the end of a test, what its server never answers. */
let end;
let ended;

/**
 * A server: `take` answers the envelopes of a POST, with an array or a Response.
 * Reads are held, except for those that `read` answers.
 */
function serve({ take = (envelopes) => envelopes.map(({ ack }) => ({ ack, data: null })), read = () => null } = {}) {
  posts = [];
  let reads = 0;
  mock.method(globalThis, 'fetch', async (url, options = {}) => {
    if (options.body === undefined) {
      const answer = read(reads) ?? connected(reads);
      reads += 1;
      return answer ?? new Promise((_, refuse) => options.signal.addEventListener('abort', () => refuse(new Error('aborted'))));
    }
    const all = ['', '[]'].includes(options.body) ? [] : options.body.split('\n').map((line) => JSON.parse(line));
    const pings = all.filter(({ event }) => event === 'ping');
    if (pings.length > 0) return Response.json(pings.map(({ data }) => ({ event: 'pong', data })));
    const post = { url, options, envelopes: all, body: options.body };
    posts.push(post);
    const answer = await Promise.race([take(all, post), ended]);
    return answer instanceof Response ? answer : Response.json(answer);
  });
}

async function open(options = {}) {
  socket = io('http://push.example', { transports: ['poll'], reconnectionDelay: 1, ...options });
  await fired('connect');
}

/** The answer to a client's reads: to the first one; null for those that the server holds. */
const connected = (reads) => (reads === 0 ? Response.json({ events: [CONNECT], last: 'e-1' }) : null);
const fired = (name) => new Promise((resolve) => socket.once(name, (...args) => resolve(args)));
const status = (code, body = 'nothing') => new Response(typeof body === 'string' ? body : JSON.stringify(body), { status: code });
const refusal = (code) => ({ error: { code, message: 'no' } });
const until = async (holds) => {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
};

beforeEach(() => {
  ended = new Promise((resolve) => { end = () => resolve([]); });
});

afterEach(() => {
  socket?.disconnect();
  end();
  mock.restoreAll();
});

test('what the server would refuse raises at once', async () => {
  serve();
  await open();
  const nested = (levels) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
  const ring = {};
  ring.ring = ring;
  for (const data of [nested(1500), nested(129), ring]) assert.throws(() => socket.emit('n', data), TypeError);
  for (const name of ['', 'x'.repeat(129), 7, undefined]) assert.throws(() => socket.emit(name), TypeError);
  assert.throws(() => socket.to('').emit('n'), TypeError);
  assert.throws(() => socket.keyed('x'.repeat(129)).emit('n'), TypeError);
  await socket.emitWithAck('😀'.repeat(128), nested(128));
  assert.equal(posts.length, 1);
});

test('bytes raise at once, also those that know how to become JSON', async () => {
  serve();
  await open();
  const bytes = [new Uint8Array(2), new ArrayBuffer(2), new Blob(['x']), Buffer.from('x')];
  for (const data of bytes.flatMap((one) => [one, { deep: [one] }])) {
    assert.throws(() => socket.emit('n', data), /bytes are no JSON/);
    assert.throws(() => socket.emit('n', 1, data), /bytes are no JSON/);
  }
  await socket.emitWithAck('n', { toJSON: () => 'text' });
  assert.deepEqual(posts.flatMap(({ envelopes }) => envelopes.map(({ data }) => data)), ['text']);
});

test('half of a surrogate pair is replaced, and nothing else', async () => {
  serve();
  await open();
  const odd = '😀'.slice(0, 1);
  const fine = ['😀', '\\ud83d', '\\\\ud83d', '\u001f', 'ud83d'];
  await socket.emitWithAck('n', [odd, { [odd]: `\\${odd}` }, ...fine]);
  assert.deepEqual(posts[0].envelopes[0].data, ['\ufffd', { '\ufffd': '\\\ufffd' }, ...fine]);
});

test('one event that the server cannot take does not refuse the others of its batch', async () => {
  for (const answer of [() => status(413), () => status(400, refusal('bad_envelope'))]) {
    let held;
    const take = async (envelopes) => {
      if (envelopes[0].event === 'first') await new Promise((resolve) => { held = resolve; });
      return envelopes.some(({ data }) => data === 3) ? answer() : envelopes.map(({ ack, data }) => ({ ack, data }));
    };
    serve({ take });
    await open();
    socket.emit('first');
    await until(() => held);
    const answers = Promise.allSettled([1, 2, 3, 4, 5].map((number) => socket.emitWithAck('n', number)));
    held();
    const codes = (await answers).map(({ value, reason }) => value ?? reason.code);
    assert.deepEqual(codes, [1, 2, answer().status === 413 ? 'too_large' : 'bad_envelope', 4, 5]);
    assert.ok(socket.connected);
    socket.disconnect();
    mock.restoreAll();
  }
});

test('a batch is measured in bytes', async () => {
  let held;
  const take = async (envelopes, { body }) => {
    if (envelopes[0].event === 'first') await new Promise((resolve) => { held = resolve; });
    return Buffer.byteLength(body) > 1_000_000 ? status(413) : envelopes.map(({ ack }) => ({ ack }));
  };
  serve({ take });
  await open();
  socket.emit('first');
  await until(() => held);
  const answers = Array.from({ length: 30 }, () => socket.emitWithAck('n', '漢'.repeat(30_000)));
  held();
  await Promise.all(answers);
  assert.deepEqual(posts.map(({ envelopes }) => envelopes.length), [1, 11, 11, 8]);
});

test('a POST says that it is JSON, and names the session alone', async () => {
  serve();
  await open({ query: { app: 'x' } });
  await socket.join('r');
  assert.deepEqual([...posts[0].url.searchParams], [['sid', 's1']]);
  assert.equal(posts[0].options.headers['content-type'], 'application/json');
});

test('a join may ask for what happened before, which does not move the position', async () => {
  const before = { event: 'said', data: 1, room: 'r', rewound: 'e-0' };
  serve({ read: (count) => (count === 1 ? Response.json({ events: [before], last: 'e-1' }) : null) });
  const said = [];
  const opening = open();
  socket.onEnvelope((envelope) => said.push(envelope));
  await opening;
  await socket.join('r', { rewind: 20 });
  await until(() => said.some(({ rewound }) => rewound === 'e-0'));
  assert.deepEqual(posts[0].envelopes[0].data, { room: 'r', rewind: 20 });
});

test('too many requests: the client waits, and stays connected', async () => {
  let refused = 0;
  const late = () => new Response('', { status: 429, headers: { 'retry-after': '0.01' } });
  serve({
    take: (envelopes) => (refused++ < 2 ? late() : envelopes.map(({ ack }) => ({ ack, data: 7 }))),
    read: (count) => (count === 1 || count === 2 ? late() : null),
  });
  await open();
  let lost = 0;
  socket.on('disconnect', () => { lost += 1; });
  assert.equal(await socket.emitWithAck('n'), 7);
  assert.deepEqual([refused, lost], [3, 0]);
});

for (const code of [400, 401, 403]) {
  test(`a page with status ${code} that the server did not send ends nothing for good`, async () => {
    const pages = ['<h1>Maintenance</h1>', { error: { code } }, { error: 'no' }, 'null'];
    serve({ read: (count) => (count < pages.length ? status(code, pages[count]) : connected(count - pages.length)) });
    socket = io('http://push.example', { transports: ['poll'], reconnectionDelay: 1 });
    const errors = [];
    socket.on('connect_error', ({ message }) => errors.push(message));
    await fired('connect');
    assert.equal(errors.length, pages.length);
    assert.match(errors[0], new RegExp(`HTTP ${code}`));
  });
}

test('an answer that is not from rtpush is no connection', async () => {
  serve({ read: (count) => (count === 0 ? Response.json({}) : connected(count - 1)) });
  socket = io('http://push.example', { transports: ['poll'], reconnectionDelay: 1 });
  await fired('connect_error');
  await fired('connect');
  assert.equal(socket.id, 's1');
});

test('a refusal by the server itself is final', async () => {
  serve({ read: () => status(403, refusal('forbidden')) });
  socket = io('http://push.example', { transports: ['poll'] });
  const answer = socket.emitWithAck('n');
  const [error] = await fired('connect_error');
  assert.deepEqual([error.message, error.data.code, socket.active], ['no', 4403, false]);
  await assert.rejects(answer, { code: 'connect_error', message: 'no' });
});

test('all that waits is settled at the end, whichever end it is', async () => {
  const never = () => new Promise(() => {});
  const ends = {
    disconnect: () => socket.disconnect(),
    'the server': () => serve({ read: () => status(403, refusal('forbidden')) }),
    'the attempts': () => serve({ read: () => status(502) }),
  };
  for (const [name, end] of Object.entries(ends)) {
    let read;
    serve({ take: never, read: (count) => (count === 1 ? new Promise((resolve) => { read = resolve; }) : null) });
    await open({ reconnectionAttempts: 2, transports: ['poll'] });
    const told = [];
    socket.emit('a', (answer) => told.push(answer.error.code));
    socket.timeout(60_000).emit('b', (error) => told.push(error.code));
    const promise = socket.emitWithAck('c').catch((error) => told.push([error instanceof Error, error.code]));
    await until(() => read);
    mock.restoreAll();
    end();
    read(status(502));
    await promise;
    const code = name === 'the server' ? 'connect_error' : 'disconnected';
    assert.deepEqual(told, [code, code, [true, code]], name);
    mock.restoreAll();
  }
});

test('what a handler emits after the end is for the next connection', async () => {
  serve();
  await open();
  let answer;
  socket.once('disconnect', () => { answer = socket.emitWithAck('later'); });
  socket.disconnect();
  serve();
  socket.connect();
  assert.equal(await answer, null);
});

test('an event whose handler ends the session is not sent into the next one', async () => {
  let read;
  serve({
    take: () => {
      read(Response.json({ events: [{ event: 'disconnect', data: { reason: 'bye', code: 4403 } }], last: 'e-1' }));
      return new Promise(() => {});
    },
    read: (count) => (count === 1 ? new Promise((resolve) => { read = resolve; }) : null),
  });
  await open();
  mock.method(console, 'warn', () => {});
  socket.emit('logout');
  assert.deepEqual((await fired('disconnect'))[0], 'io server disconnect');
  serve();
  socket.connect();
  await fired('connect');
  await socket.emitWithAck('after');
  assert.deepEqual(posts.flatMap(({ envelopes }) => envelopes.map(({ event }) => event)), ['after']);
});

test('rooms that are too long for an address go ahead of it', async () => {
  const rooms = Array.from({ length: 100 }, (_, index) => `${index}-${'я'.repeat(73)}`);
  const prepared = [];
  let reads = 0;
  let lose;
  mock.method(globalThis, 'fetch', async (url, { body, signal } = {}) => {
    assert.ok(url.href.length < 2100, url.href.length);
    if (url.pathname === '/session') {
      prepared.push(JSON.parse(body));
      return Response.json({ sid: `prepared.${prepared.length}` });
    }
    if (body !== undefined) return Response.json(body.split('\n').map((line) => JSON.parse(line)).map(({ event, ack, data }) => (event === 'ping' ? { event: 'pong', data } : { ack })));
    const query = Object.fromEntries(url.searchParams);
    reads += 1;
    if (reads === 1) return Response.json({ events: [CONNECT], last: 'e-1' });
    if (query.timeout === '0') {
      assert.deepEqual(query, { sid: 'prepared.1', timeout: '0' });
      return Response.json({ events: [{ event: 'connect', data: { ...CONNECT.data, sid: 's2', recovered: true } }], last: 'e-1' });
    }
    await Promise.race([new Promise((resolve) => { lose = resolve; }), ended, new Promise((resolve) => { signal.onabort = resolve; })]);
    // The server has lost the session.
    if (query.known === '1') return status(404, refusal('not_found'));
    return Response.json({ events: [], last: 'e-1' });
  });
  await open();
  await Promise.all(rooms.map((room) => socket.join(room)));
  lose();
  await until(() => reads === 3);
  lose();
  await fired('connect');
  assert.deepEqual(prepared, [{ rooms, last: 'e-1', sid: 's1' }]);
  assert.deepEqual([socket.id, socket.recovered], ['s2', true]);
});

test('what is said while the page is put away leaves by requests that outlive it', async () => {
  let held;
  serve({ take: (envelopes, { url }) => (url.searchParams.has('last') ? envelopes.map(({ ack }) => ({ ack })) : new Promise((resolve) => { held = resolve; })) });
  await open({ auth: { token: 't', name: 'Ada' }, query: { app: 'x' }, reconnectionDelay: 60_000, reconnectionDelayMax: 60_000 });
  socket.emit('unanswered');
  await until(() => held);
  socket.once('disconnect', () => socket.emit('while it closes'));
  const connection = [...connections].at(-1);
  connection.suspend();
  await until(() => posts.length === 2);
  socket.emit('two').volatile.emit('three');
  socket.emit('too large', 'x'.repeat(60_000));
  await until(() => posts.length === 3);
  assert.deepEqual(posts.map(({ envelopes }) => envelopes.map(({ event }) => event)), [['unanswered'], ['unanswered', 'while it closes'], ['two', 'three']]);
  for (const { url, options } of posts.slice(1)) {
    assert.deepEqual([...url.searchParams], [['app', 'x'], ['sid', 's1'], ['last', 'e-1'], ['close', 'away']]);
    assert.deepEqual([options.keepalive, options.headers.authorization, typeof options.headers['rtpush-auth']], [true, 'Bearer t', 'string']);
  }
  assert.equal(posts[0].envelopes[0].idempotency_key, posts[1].envelopes[0].idempotency_key);
  // The page comes back: the answers are still to come.
  serve();
  connection.resume();
  await socket.emitWithAck('back');
  assert.deepEqual(posts.flatMap(({ envelopes }) => envelopes.map(({ event }) => event)), ['unanswered', 'while it closes', 'two', 'too large', 'back']);
  // Also what waits for a connection.
  connection.offline();
  socket.emit('offline');
  serve();
  connection.suspend();
  await until(() => posts.length === 1);
  assert.deepEqual(posts[0].envelopes.map(({ event }) => event), ['offline']);
});

test('a page that is put away says goodbye once, also without a word, and goes on when it is back', async () => {
  serve();
  await open();
  const connection = [...connections].at(-1);
  connection.suspend();
  await until(() => posts.length === 1);
  assert.deepEqual([posts[0].body, posts[0].options.keepalive, posts[0].url.search], ['', true, '?sid=s1&last=e-1&close=away']);
  const reads = [];
  serve({ read: () => Response.json({ events: [{ ...CONNECT, data: { ...CONNECT.data, recovered: true } }], last: 'e-1' }) });
  const fetched = globalThis.fetch;
  mock.method(globalThis, 'fetch', (url, options) => (reads.push(url.search), fetched(url, options)));
  connection.resume();
  await fired('connect');
  assert.match(reads[0], /sid=s1/);
  assert.deepEqual([socket.recovered, posts.length], [true, 0]);
});

test('another person who logs in begins anew, and gets nothing of what the last one left', async () => {
  const jwt = (sub, more) => ['{}', JSON.stringify({ sub, more }), ''].map((text) => Buffer.from(text).toString('base64url')).join('.');
  const others = { 'by the subject': jwt('ben'), 'by a token that is no JWT': 'x', 'by another field': { token: jwt('ada', 'renewed'), name: 'Ben' } };
  for (const [name, other] of Object.entries(others)) {
    const queries = [];
    const fail = [];
    const present = [];
    let auth = jwt('ada');
    let sid = 's1';
    serve({
      take: (envelopes) => {
        present.push(...envelopes.filter(({ data }) => data?.presence).map(({ data }) => data.room));
        return envelopes[0]?.event === 'left' ? new Promise(() => {}) : envelopes.map(({ ack }) => ({ ack }));
      },
      read: (count) => (count % 2 === 1
        ? new Promise((resolve) => fail.push(() => resolve(status(502))))
        : Response.json({ events: [{ ...CONNECT, data: { ...CONNECT.data, sid } }], last: 'e-1' })),
    });
    const fetched = globalThis.fetch;
    mock.method(globalThis, 'fetch', (url, options = {}) => {
      if (options.body === undefined && url.searchParams.get('timeout') === '0') queries.push(url.searchParams);
      return fetched(url, options);
    });
    await open({ auth: () => auth });
    await socket.join('r', { presence: { name: 'Ada' } });
    const again = async () => {
      await until(() => fail.length > 0);
      fail.shift()();
      await fired('connect');
    };
    auth = jwt('ada', 'renewed');
    await again();
    const left = assert.rejects(socket.emitWithAck('left'), { code: 'disconnected' });
    const joining = assert.rejects(socket.join('s'), { code: 'disconnected' });
    auth = other;
    await again();
    await Promise.all([left, joining]);
    assert.deepEqual(queries.map((query) => [query.get('sid'), query.get('last'), query.getAll('room')]), [
      [null, null, []], ['s1', 'e-1', ['r']], [null, null, []],
    ], name);
    // A new session of the second one does not say of her what the first one said of herself.
    await socket.join('r');
    sid = 's2';
    await again();
    await socket.emitWithAck('x');
    assert.deepEqual(present, ['r']);
    // What a page asks for between two logins is for the second one.
    socket.disconnect();
    socket.auth = jwt('cy');
    const joined = socket.join('t');
    socket.connect();
    await joined;
    assert.deepEqual([queries.at(-1).get('sid'), socket.rooms], [null, ['t']]);
    socket.disconnect();
    fail.forEach((answer) => answer());
    mock.restoreAll();
  }
});

test('disconnect sends what was emitted before, and says goodbye', async () => {
  let answer;
  serve({ take: (envelopes) => (envelopes[0]?.event === 'a' ? new Promise((resolve) => { answer = resolve; }) : []) });
  await open();
  const warn = mock.method(console, 'warn', () => {});
  socket.emit('a');
  await until(() => answer);
  socket.emit('b');
  socket.emit('c');
  socket.disconnect();
  assert.ok(!posts[0].options.signal.aborted);
  answer([]);
  await until(() => posts.length === 3);
  assert.deepEqual(posts.map(({ envelopes }) => envelopes.map(({ event }) => event)), [['a'], ['b', 'c'], []]);
  assert.deepEqual([...posts[2].url.searchParams], [['sid', 's1'], ['close', '1']]);
  assert.deepEqual(posts.map(({ options }) => options.keepalive), [true, true, true]);
  assert.equal(warn.mock.callCount(), 0);
});

test('with ackTimeout or retries a callback gets the error first, as in Socket.IO', async () => {
  for (const options of [{ ackTimeout: 5000 }, { retries: 3 }]) {
    serve({ take: (envelopes) => envelopes.map(({ ack, event }) => (event === 'bad' ? { ack, ...refusal('bad_task') } : { ack, data: 7 })) });
    await open(options);
    assert.deepEqual(await new Promise((done) => socket.emit('good', (...args) => done(args))), [null, 7]);
    const [error] = await new Promise((done) => socket.emit('bad', (...args) => done(args)));
    assert.deepEqual([error instanceof Error, error.code], [true, 'bad_task']);
    socket.disconnect();
  }
});

test('reconnection that a handler turns off allows no further attempt', async () => {
  serve({ read: () => status(502) });
  socket = io('http://push.example', { transports: ['poll'], reconnectionDelay: 1 });
  socket.on('reconnect_error', () => { socket.io.opts.reconnection = false; });
  const attempts = [];
  socket.on('reconnect_attempt', (number) => attempts.push(number));
  await fired('reconnect_failed');
  assert.deepEqual([attempts, socket.active], [[1], false]);
  assert.ok(LOCAL.has('reconnect_failed'));
});

test('retained events reach handlers as if they came now', async () => {
  const entry = { event: 'weather', key: 'a', data: 1, retained: true, id: 'e-1' };
  const events = [{ event: 'state', id: 'e-2', data: { entries: [entry] } }, { event: 'active_tasks', id: 'e-2', data: {} }, { event: 'weather', key: 'b', data: 2, retain: true, id: 'e-3' }];
  serve({ read: (count) => (count === 1 ? Response.json({ events, last: 'e-3' }) : null) });
  socket = io('http://push.example', { transports: ['poll'] });
  const heard = [];
  socket.on('weather', (data) => heard.push(data));
  await until(() => heard.length === 2);
  assert.deepEqual([heard, [...socket.retained('weather')]], [[1, 2], [['a', 1], ['b', 2]]]);
  await new Promise((resolve) => socket.to('r').retain('a').emit('weather', null, resolve));
  const { room, key, retain, data } = posts.at(-1).envelopes[0];
  assert.deepEqual([room, key, retain, data], ['r', 'a', true, null]);
  await socket.emitWithAck('weather', 1);
  assert.equal(posts.at(-1).envelopes[0].retain, undefined);
});

test('listeners of every event, of both directions', async () => {
  serve({ read: (count) => (count === 1 ? Response.json({ events: [{ event: 'pair', id: 'e-2', data: [1, 2], args: true }], last: 'e-2' }) : null) });
  socket = io('http://push.example', { transports: ['poll'] });
  const heard = [];
  const note = (name) => (...args) => heard.push([name, ...args]);
  const [first, second, sent] = [note('first'), note('second'), note('sent')];
  socket.onAny(second).prependAny(first).onAnyOutgoing(sent).prependAnyOutgoing(first);
  assert.deepEqual([socket.listenersAny(), socket.listenersAnyOutgoing()], [[first, second], [first, sent]]);
  await new Promise((resolve) => socket.on('pair', (...args) => resolve(heard.push(args))));
  assert.deepEqual(heard.splice(0), [['first', 'pair', 1, 2], ['second', 'pair', 1, 2], [1, 2]]);
  assert.equal(socket.io.engine.transport.name, 'polling');
  socket.offAnyOutgoing(first);
  await socket.emitWithAck('x', 1, 2);
  assert.deepEqual(heard, [['sent', 'x', 1, 2]]);
  assert.deepEqual([posts[0].envelopes[0].data, posts[0].envelopes[0].args], [[1, 2], true]);
  assert.deepEqual([socket.offAny().listenersAny(), socket.offAnyOutgoing().listenersAnyOutgoing()], [[], []]);
});

test('the whole of auth travels when the client connects, and not with a POST', async () => {
  const headers = [];
  serve();
  const fetched = globalThis.fetch;
  mock.method(globalThis, 'fetch', (url, options = {}) => {
    headers.push([options.body === undefined, options.headers['rtpush-auth'], options.headers.authorization, url.search]);
    return fetched(url, options);
  });
  await open({ auth: { username: 'Ada', token: 't' } });
  await socket.emitWithAck('x');
  const rest = Buffer.from('{"username":"Ada"}').toString('base64url');
  assert.deepEqual(headers[0].slice(0, 3), [true, rest, 'Bearer t']);
  assert.deepEqual(headers.find(([isRead]) => !isRead).slice(0, 3), [false, undefined, 'Bearer t']);
  assert.ok(headers.every(([, , , search]) => !search.includes('Ada') && !search.includes(rest)));
});

test('error, pong and heartbeat are events like any other when they are logged', async () => {
  const events = ['error', 'pong', 'heartbeat', 'typing'].map((event, index) => ({ event, id: `e-${index + 2}`, data: { own: event } }));
  serve({ read: (count) => (count === 1 ? Response.json({ events, last: 'e-5' }) : null) });
  socket = io('http://push.example', { transports: ['poll'] });
  const heard = [];
  for (const { event } of events) socket.on(event, ({ own }) => heard.push(own));
  await until(() => heard.length === 4);
  await socket.emitWithAck('error', 'x');
  assert.equal(posts[0].envelopes[0].event, 'error');
  assert.throws(() => socket.volatile.emit('error'), /reserved/);
});
