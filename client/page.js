/**
 * The page: connects the board, the socket and the views.
 *
 * Rules that hold here:
 * - Events change the board, and the page draws the board once per frame, nothing
 *   else. A thousand events in a frame cost one drawing.
 * - What the user does is an event too: the page sends it, and shows it when the
 *   server sends it back. Only a new task is shown at once, as a draft.
 */

import { addDraft, applyEvent, confirmDraft, emptyBoard, refuseDraft } from './board.js';
import { Cards } from './cards.js';
import { setAttribute, setText } from './dom.js';
import { TaskForm } from './form.js';
import { errorOf, refusalOf, statusOf, titleOf } from './format.js';
import { otherLanguage, pickLanguage, setLanguage, t, translate } from './i18n.js';
import { load, save } from './prefs.js';
import { newId } from './rtpush/ids.js';
import { setUpTerminal, showCommand } from './terminal.js';
import { toast } from './toasts.js';
import { Viewer, download } from './viewer.js';
import { WebSocketManager } from './websocket.js';

const TRANSPORTS = ['websocket', 'sse', 'poll'];
const TICK = 1000;

const root = document.documentElement;
const find = (id) => document.getElementById(id);
const board = emptyBoard();
const ownTasks = new Set();
let drawRequested = false;

const viewer = new Viewer(find('viewer'));
const cards = new Cards(find('cards'), { cancel, retry, download, enlarge: (task) => viewer.open(task) });
const form = new TaskForm(find('task-form'), (formData) => createTask(formData, formData.mode, null));
// Relative to the page, so that a reverse proxy may mount the server below any path.
const path = new URL('.', document.baseURI).pathname;
const manager = new WebSocketManager({ options: { path, transports: allowedTransports() }, showToast });
manager.connect();
const socket = manager.socket;

function allowedTransports() {
  const forced = new URLSearchParams(location.search).get('transport');
  return TRANSPORTS.includes(forced) ? [forced] : TRANSPORTS;
}

function stateOf() {
  if (socket.connected) return 'online';
  if (!socket.active) return 'failed';
  return root.dataset.state === 'connecting' ? 'connecting' : 'offline';
}

function onEvent(envelope) {
  if (envelope.event === 'error') return toast('error', 'bad', t('toast_error', { reason: refusalOf(envelope.data) }));
  if (applyEvent(board, envelope, Date.now())) requestDraw();
  return undefined;
}

function onStatus() {
  root.dataset.state = stateOf();
  if (socket.connected) root.dataset.transport = socket.transport;
  else delete root.dataset.transport;
  drawStatus();
}

const NOTICES = {
  connected: (transport) => toast('connection', 'good', t('toast_connected', { transport: t(`transport_${transport}`) })),
  lost: () => toast('connection', 'warning', t('toast_lost')),
  recovered: () => toast('connection', 'good', t('toast_recovered')),
  refreshed: () => toast('connection', 'good', t('toast_refreshed')),
  stopped: (reason) => {
    const text = reason === '' ? t('toast_stopped') : t('toast_stopped_reason', { reason });
    toast('connection', 'bad', text, { stay: true });
  },
};

function showToast(_text, _type, name, detail) {
  NOTICES[name](detail);
}

/** Publish a task event to the task's room. */
function publish(event, data, room) {
  return (room === null ? socket : socket.to(room)).emitWithAck(event, data);
}

function createTask(formData, mode, room) {
  const data = { id: newId(), formData, mode, startTime: Date.now() };
  ownTasks.add(data.id);
  addDraft(board, data, Date.now());
  publish('task_created', data, room).then(() => confirmDraft(board, data.id), (error) => onRefused(data.id, error));
  draw();
  // On a phone the board lies below the form.
  cards.reveal(data.id);
}

function onRefused(id, error) {
  if (refuseDraft(board, id, refusalOf(error), Date.now())) requestDraw();
  toastError(error);
}

function retry(task) {
  const formData = task.formData ?? { prompt: task.prompt, mode: task.mode };
  createTask(formData, task.mode, task.room);
}

function cancel(task) {
  publish('task_cancel', { id: task.id }, task.room).catch(toastError);
}

function toastError(error) {
  toast('error', 'bad', t('toast_error', { reason: refusalOf(error) }));
}

function requestDraw() {
  if (drawRequested) return;
  drawRequested = true;
  // A hidden tab has no frames, and its title and announcements still matter.
  if (document.hidden) setTimeout(draw, TICK);
  else requestAnimationFrame(draw);
}

function draw() {
  drawRequested = false;
  const now = Date.now();
  const hidden = cards.show(board, now);
  viewer.follow(board);
  find('board-empty').hidden = board.tasks.size + board.finished.size > 0;
  find('hidden-count').hidden = hidden === 0;
  setText(find('hidden-count'), t('hidden_count', { n: hidden }));
  find('active-count').hidden = board.tasks.size === 0;
  setText(find('active-count'), t('active_count', { n: board.tasks.size }));
  announceOwn();
}

/** Screen readers announce only the user's own tasks: those of all clients would never end. */
function announceOwn() {
  for (const id of ownTasks) {
    const task = board.finished.get(id);
    if (!task) continue;
    ownTasks.delete(id);
    const status = statusOf(task);
    const words = t(`announce_${status}`, { prompt: titleOf(task) });
    setText(find('announcer'), status === 'failed' ? `${words}. ${errorOf(task)}` : words);
  }
}

function drawStatus() {
  const { transport, latency } = socket;
  setText(find('light-name'), transport === null ? t(`light_${root.dataset.state}`) : t(`transport_${transport}`));
  setText(find('light-rtt'), latency === null ? '' : t('milliseconds', { n: Math.max(1, Math.round(latency)) }));
}

function applyLanguage(language) {
  setLanguage(language);
  translate(document);
  cards.clear();
  form.refresh();
  showCommand(find('terminal'));
  drawThemeButton();
  drawStatus();
  draw();
}

function drawThemeButton() {
  setAttribute(find('theme'), 'aria-label', t(root.dataset.theme === 'dark' ? 'theme_to_light' : 'theme_to_dark'));
}

function switchTheme() {
  root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
  save('localStorage', 'theme', root.dataset.theme);
  drawThemeButton();
}

function switchLanguage() {
  const language = otherLanguage();
  save('localStorage', 'lang', language);
  applyLanguage(language);
}

setUpTerminal(find('terminal'));
find('lang').addEventListener('click', switchLanguage);
find('theme').addEventListener('click', switchTheme);
applyLanguage(load('localStorage', 'lang') ?? pickLanguage(navigator.languages ?? [navigator.language]));
setInterval(() => cards.tick(Date.now()), TICK);
socket.onEnvelope(onEvent);
manager.on('status', onStatus);
