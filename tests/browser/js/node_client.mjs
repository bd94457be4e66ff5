// The client in Node, for tests/browser/test_client.py: `node node_client.mjs ADDRESS`.
// Says on each line what it has seen; is told on stdin what to do.
import { createInterface } from 'node:readline';
import { io } from '../../../client/rtpush.js';

const say = (...words) => console.log(JSON.stringify(words));
const socket = io(process.argv[2], { reconnectionDelay: 50 });
socket.on('connect', () => say('connect', socket.transport, socket.recovered));
socket.on('disconnect', () => say('disconnect'));
socket.on('n', (number) => say('n', number));
for await (const line of createInterface({ input: process.stdin })) {
  say('answer', await socket.emitWithAck('n', Number(line)));
}
socket.disconnect();
