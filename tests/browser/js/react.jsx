// The page of tests/browser/pages/react, before it is bundled.
import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { useEvent, usePresence, useRetained, useTasks } from '../../../client/react.js';
import { io } from '../../../client/rtpush.js';

const socket = io();
window.socket = socket;

function Tasks({ name }) {
  const { tasks, finished } = useTasks(socket);
  return <ul id={name}>{[...tasks, ...finished].map((task) => <li key={task.id}>{task.id} {task.progress ?? 0} {task.status}</li>)}</ul>;
}

function Room() {
  const rooms = useRetained(socket, 'weather');
  const members = usePresence(socket, 'room');
  return <p id="room">{[...rooms].map((entry) => entry.join(' ')).join(', ')}; {members.map(({ info }) => info.name).join(' ')}</p>;
}

function App() {
  const [said, setSaid] = useState([]);
  const [late, setLate] = useState(false);
  useEvent(socket, 'said', (text) => setSaid([...said, text]));
  return (
    <>
      <Tasks name="early" />
      {late && <Tasks name="late" />}
      <Room />
      <p id="said">{said.join(' ')}</p>
      <button onClick={() => setLate(true)}>late</button>
    </>
  );
}

window.mount = () => createRoot(document.getElementById('root')).render(<StrictMode><App /></StrictMode>);
