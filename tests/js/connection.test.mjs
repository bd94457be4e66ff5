import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MESSAGES, pickLanguage } from '../../client/i18n.js';
import { Ladder, backoff } from '../../client/ladder.js';
import { Outbox } from '../../client/outbox.js';
import { isSeen, parsePosition } from '../../client/position.js';

const KINDS = ['websocket', 'sse', 'poll'];
const most = () => 1;

test('a position is split at its last dash', () => {
  assert.deepEqual(parsePosition('a-b-12'), { epoch: 'a-b', seq: 12 });
  for (const odd of ['', '-', '12', '-12', 'a-', 'a-x', 'a--', null, 7, {}]) assert.equal(parsePosition(odd), null);
});

test('seen means the same epoch, and not later', () => {
  assert.ok(isSeen('e-9', 'e-9'));
  assert.ok(isSeen('e-9', 'e-10'));
  assert.ok(!isSeen('e-11', 'e-10'));
  assert.ok(!isSeen('f-1', 'e-10'));
  assert.ok(!isSeen('e-1', null));
});

test('what never worked is left at once, a full round costs a wait', () => {
  const ladder = new Ladder(KINDS);
  const waits = [1, 2, 3].map(() => ladder.failed(most));
  assert.deepEqual(waits, [0, 0, 500]);
  assert.equal(ladder.kind, 'websocket');
});

test('what worked gets a second try', () => {
  const ladder = new Ladder(KINDS, 'sse');
  assert.equal(ladder.kind, 'sse');
  ladder.succeeded('websocket');
  assert.equal(ladder.failed(most), 500);
  assert.equal(ladder.kind, 'websocket');
  assert.equal(ladder.failed(most), 0);
  assert.equal(ladder.kind, 'sse');
});

test('a forced transport is tried again and again, ever more slowly', () => {
  const ladder = new Ladder(['poll'], 'websocket');
  assert.deepEqual([1, 2, 3].map(() => ladder.failed(most)), [500, 1000, 2000]);
  assert.equal(backoff(99, most), 15_000);
});

test('what is unanswered is sent again, in order, under the same key', () => {
  const outbox = new Outbox();
  const ends = [];
  const first = outbox.add({ event: 'a' }, (error) => ends.push(error));
  const second = outbox.add({ event: 'b' }, (error) => ends.push(error));
  assert.deepEqual(outbox.takeAll(), [first, second]);
  outbox.settle({ ack: first.ack, data: null });
  outbox.settle({ ack: first.ack, data: null });
  outbox.settle({ ack: 999 });
  assert.deepEqual(outbox.takeAll(), [second]);
  assert.notEqual(first.idempotency_key, second.idempotency_key);
  assert.deepEqual(ends, [null]);
});

test('the outbox is bounded, in number and in tries', () => {
  const outbox = new Outbox();
  const codes = [];
  for (let index = 0; index < 501; index += 1) outbox.add({ event: 'a' }, (error) => codes.push(error.code));
  assert.deepEqual(codes, ['queue_full']);
  for (let index = 0; index < 7; index += 1) outbox.takeAll();
  assert.equal(codes.filter((code) => code === 'given_up').length, 500);
  assert.deepEqual(outbox.takeAll(), []);
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
