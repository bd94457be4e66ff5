import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as boards from '../../../client/board.js';
import { titleOf } from '../../../client/format.js';

const NOW = 1_800_000_000_000;
const PNG = 'data:image/png;base64,AAAA';

function fold(...envelopes) {
  const board = boards.emptyBoard();
  envelopes.forEach((envelope, index) => boards.applyEvent(board, envelope, NOW + index));
  return board;
}

const created = (id, more = {}) => ({ event: 'task_created', data: { id, formData: { prompt: `p${id}` }, mode: 'weave', ...more } });
const progress = (id, more) => ({ event: 'task_progress', data: { id, ...more } });
const completed = (id, image = PNG) => ({ event: 'task_completed', data: { id, result: { image } } });
const failed = (id, error) => ({ event: 'task_failed', data: { id, error } });
const snapshot = (tasks, finished = [], more = {}) => ({ event: 'active_tasks', data: { tasks, finished }, ...more });

test('a task lives from its creation to its end', () => {
  const board = fold(created('a'), progress('a', { progress: 40, message: 'half', preview: PNG }));
  assert.equal(board.tasks.get('a').progress, 40);
  assert.equal(board.tasks.get('a').picture, PNG);
  boards.applyEvent(board, completed('a'), NOW);
  assert.equal(board.tasks.size, 0);
  const task = board.finished.get('a');
  assert.deepEqual([task.status, task.progress, task.prompt, task.picture], ['completed', 100, 'pa', PNG]);
});

test('a text grows, on from what a snapshot held, and stays when the task ends', () => {
  const board = fold(snapshot([{ id: 'a', text: 'Once ' }]), progress('a', { append: { text: 'upon ' } }));
  assert.equal(board.tasks.get('a').text, 'Once upon ');
  for (const append of [7, null, {}, { text: 5 }, { text: ['x'] }]) boards.applyEvent(board, progress('a', { append }), NOW);
  boards.applyEvent(board, { event: 'task_completed', data: { id: 'a', append: { text: 'a time' } } }, NOW);
  assert.equal(board.finished.get('a').text, 'Once upon a time');
  boards.applyEvent(board, progress('b', { text: 'new', append: { log: ['x'] } }), NOW);
  assert.equal(board.tasks.get('b').text, 'new');
});

test('a claimed task is for any worker, and begins anew when that is lost', () => {
  const board = fold(created('a'), created('b', { worker: 'publisher' }), { event: 'task_estimates', data: { tasks: [{ id: 'a', place: 1, eta: NOW }, { id: 'b', place: 'x', eta: -1 }] } });
  assert.deepEqual([...board.tasks.values()].map(({ place, eta }) => [place, eta]), [[1, NOW], [null, null]]);
  boards.applyEvent(board, { event: 'task_claimed', data: { id: 'a', worker: 'gpu', attempt: 1 } }, NOW);
  boards.applyEvent(board, progress('a', { attempt: 1, progress: 5, message: 'm', append: { text: 'half' } }), NOW);
  const { worker, taken, place } = board.tasks.get('a');
  assert.deepEqual([worker, taken, place, boards.hasWorker(board)], [null, true, null, true]);
  boards.applyEvent(board, { event: 'task_requeued', data: { id: 'a', attempt: 1, lost: 1, text: null, worker: null, progress: 0 } }, NOW);
  const task = board.tasks.get('a');
  assert.deepEqual([task.taken, task.progress, task.message, task.text], [false, 0, '', '']);
});

test('a task is asked to end, and ends', () => {
  const board = fold(created('a'), { event: 'task_cancel', data: { id: 'a' } }, { event: 'task_cancel', data: { id: 'unknown' } });
  assert.deepEqual([...board.tasks.values()].map((task) => task.status), ['cancelling']);
  boards.applyEvent(board, { event: 'task_cancelled', data: { id: 'a' } }, NOW);
  boards.applyEvent(board, snapshot([{ id: 'b', status: 'cancelling' }], [...board.finished.values()]), NOW);
  assert.deepEqual([board.tasks.get('b').status, board.finished.get('a').status], ['cancelling', 'cancelled']);
});

test('1 and "1" are one task', () => {
  const board = fold(created(1), progress('1', { progress: 7 }), failed(1, 'no ink'));
  assert.deepEqual([...board.finished.keys()], ['1']);
  assert.equal(board.finished.get('1').error, 'no ink');
});

test('an end is final, and progress of the unknown is a birth', () => {
  const board = fold(failed('a', 'x'), completed('a'), progress('a', { progress: 5 }), progress('b', { progress: 5 }));
  assert.equal(board.finished.get('a').status, 'failed');
  assert.deepEqual([...board.tasks.keys()], ['b']);
});

test('a snapshot is the whole truth', () => {
  const board = fold(created('gone'), created('stays'), completed('old'),
    snapshot([{ id: 'stays', progress: 50 }], [{ id: 'done', status: 'completed' }, { id: 'bad', error: 'x' }]));
  assert.deepEqual([...board.tasks.keys()], ['stays']);
  assert.deepEqual([...board.finished.values()].map((task) => [task.id, task.status]), [['bad', 'failed'], ['done', 'completed']]);
});

test("a room's snapshot leaves other rooms alone", () => {
  const board = fold(created('a'), { ...created('b'), room: 'r' }, snapshot([{ id: 'c' }], [], { room: 'r' }));
  assert.deepEqual([...board.tasks.keys()].sort(), ['a', 'c']);
  assert.equal(board.tasks.get('c').room, 'r');
});

test('a draft outlives snapshots until the server has answered', () => {
  const board = boards.emptyBoard();
  boards.addDraft(board, created('a').data, NOW);
  boards.applyEvent(board, snapshot([]), NOW);
  assert.ok(board.tasks.get('a').draft);
  boards.confirmDraft(board, 'a');
  boards.applyEvent(board, snapshot([]), NOW);
  assert.equal(board.tasks.size, 0);
});

test('a refused draft fails; a confirmed one does not', () => {
  const board = boards.emptyBoard();
  boards.addDraft(board, created('a').data, NOW);
  boards.addDraft(board, created('b').data, NOW);
  boards.applyEvent(board, created('b'), NOW);
  assert.equal(boards.refuseDraft(board, 'a', 'full', NOW), true);
  assert.equal(boards.refuseDraft(board, 'b', 'full', NOW), false);
  assert.equal(board.finished.get('a').error, 'full');
  assert.deepEqual([...board.tasks.keys()], ['b']);
});

test('hostile data neither throws nor pollutes', () => {
  const odd = [null, 7, 'x', [], true, { toString: null }, { prompt: {} }];
  const board = boards.emptyBoard();
  for (const value of odd) {
    for (const event of ['task_created', 'task_progress', 'task_completed', 'task_failed', 'active_tasks', 'no_such', 7]) {
      boards.applyEvent(board, { event, data: value }, NOW);
      boards.applyEvent(board, { event, data: { id: value } }, NOW);
      const data = { id: 'odd', formData: value, mode: value, startTime: value, progress: value, message: value, result: value, error: value, preview: value };
      boards.applyEvent(board, { event, data, room: value }, NOW);
      boards.applyEvent(board, { event: 'active_tasks', data: { tasks: value, finished: [value, data] } }, NOW);
    }
  }
  const evil = JSON.parse('{"id":"__proto__","__proto__":{"polluted":1},"formData":{"__proto__":{"polluted":1},"prompt":"x"},"constructor":{"prototype":{"polluted":1}}}');
  boards.applyEvent(board, { event: 'task_created', data: evil, room: 'r' }, NOW);
  assert.equal({}.polluted, undefined);
  assert.equal(board.tasks.get('__proto__').polluted, undefined);
  assert.equal(board.tasks.get('__proto__').prompt, 'x');
});

test('only pictures that carry their own bytes are taken', () => {
  for (const image of ['https://evil.example/x.png', 'javascript:alert(1)', 'data:text/html;base64,AAAA', 'data:image/svg+xml,<svg/>', 7]) {
    assert.equal(fold(created('a'), completed('a', image)).finished.get('a').picture, null);
  }
});

test('numbers are clamped, and seconds are understood', () => {
  const board = fold(created('a', { startTime: NOW / 1000 - 60 }), progress('a', { progress: 1e9 }), created('b', { startTime: NOW * 2 }));
  assert.equal(board.tasks.get('a').startedAt, NOW - 60_000);
  assert.equal(board.tasks.get('a').progress, 100);
  assert.ok(board.tasks.get('b').startedAt <= NOW + 2);
});

test('the youngest comes first', () => {
  const board = fold(created('a', { startTime: NOW - 3000 }), created('b', { startTime: NOW - 1000 }), created('c', { startTime: NOW - 2000 }), completed('b'), completed('a'));
  assert.deepEqual(boards.tasksByStart(board).map((task) => task.id), ['b', 'c', 'a']);
});

test('the finished are bounded', () => {
  const board = fold(...Array.from({ length: 200 }, (_, index) => completed(index)));
  assert.equal(board.finished.size, 50);
  assert.ok(board.finished.has('199'));
});

test('a task without a prompt has a title or its id to show', () => {
  const board = fold(created('a', { formData: { title: 'Backup' } }), created('b', { formData: null, title: 'Tests' }), created('job-17', { formData: null }));
  assert.deepEqual(['a', 'b', 'job-17'].map((id) => titleOf(board.tasks.get(id))), ['Backup', 'Tests', 'job-17']);
});

test('a result may be text', () => {
  const ends = (result) => [...fold({ event: 'task_completed', data: { id: 'a', result } }).finished.values()][0].text;
  assert.deepEqual([{ text: 'dawn at lake a' }, 'plain', { text: {} }, null].map(ends), ['dawn at lake a', 'plain', '', '']);
});
