// Written as for Socket.IO; only the script's address has changed.
const socket = io(PUSH, { transports: ['websocket', 'polling'] });
const $ = (id) => document.getElementById(id);

socket.on('connect', () => {
  $('state').textContent = 'connected';
});
socket.on('disconnect', () => {
  $('state').textContent = 'away; coming back';
});
socket.on('active_tasks', ({ tasks, finished }) => {
  $('tasks').replaceChildren();
  [...finished].reverse().forEach((task) => ended(task, task.result?.text ?? task.error));
  tasks.forEach(progress);
});
socket.on('task_created', progress);
socket.on('task_progress', progress);
socket.on('task_completed', (task) => ended(task, task.result.text));
socket.on('task_failed', (task) => ended(task, task.error));

function line(task) {
  let item = document.getElementById(`task-${task.id}`);
  if (item === null) {
    item = document.createElement('li');
    item.id = `task-${task.id}`;
    item.append(document.createElement('b'), document.createElement('div'));
    $('tasks').prepend(item);
  }
  if (task.formData) item.firstChild.textContent = task.formData.prompt;
  return item;
}

function progress(task) {
  const bar = document.createElement('progress');
  bar.max = 100;
  bar.value = task.progress ?? 0;
  line(task).lastChild.replaceChildren(bar, task.message ?? 'waiting');
}

function ended(task, text) {
  line(task).lastChild.textContent = text;
}

$('form').onsubmit = async (submit) => {
  submit.preventDefault();
  const body = JSON.stringify({ prompt: $('prompt').value });
  $('form').reset();
  await fetch('/api/generate', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
};
