// Keeps what a socket fires, for a test to look at.
window.begin = (options = {}, address = '') => {
  const record = { seen: [], life: [], tasks: null };
  const socket = io(address, options);
  socket.on('n', (number) => record.seen.push(number));
  for (const name of ['connect', 'disconnect', 'connect_error', 'reconnect_attempt', 'reconnect', 'reconnect_failed', 'resync', 'error']) {
    socket.on(name, (...args) => record.life.push([name, ...args.map((arg) => (arg instanceof Error ? { message: arg.message, code: arg.code, data: arg.data } : arg))]));
  }
  socket.on('active_tasks', (data) => {
    record.tasks = data.tasks.map((task) => task.id);
    record.life.push(['active_tasks']);
  });
  Object.assign(window, { socket, record });
};
