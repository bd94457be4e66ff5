import { io } from "/rtpush.js";

const ROOM = "board";
const state = document.getElementById("state");
const pointers = new Map();
const socket = io();
const present = socket.presence(ROOM);
// By this a page knows its own pointer, also after a restart of the server.
const me = String(Math.random());
let next;

socket.on("connect", () => {
  state.textContent = "connected";
});

socket.on("disconnect", () => {
  state.textContent = "away; coming back";
});

present.on("join", ({ info }) => {
  const pointer = document.createElement("div");
  pointer.className = "pointer";
  pointer.style.background = `hsl(${info.hue} 70% 50%)`;
  pointers.set(info.who, pointer);
});

present.on("leave", ({ info }) => {
  pointers.get(info.who)?.remove();
  pointers.delete(info.who);
});

socket.on("moved", ({ who, x, y }) => {
  const pointer = pointers.get(who);
  if (!pointer || who === me) return;
  // Fractions of the window: others have windows of another size.
  pointer.style.left = `${100 * x}%`;
  pointer.style.top = `${100 * y}%`;
  document.body.append(pointer);
});

// At most one message for each picture that the screen shows; nobody needs an old one.
addEventListener("pointermove", ({ clientX, clientY }) => {
  if (next === undefined) requestAnimationFrame(send);
  next = { x: clientX / innerWidth, y: clientY / innerHeight };
});

function send() {
  socket.volatile.to(ROOM).emit("moved", { who: me, ...next });
  next = undefined;
}

await socket.join(ROOM, { presence: { who: me, hue: Math.floor(360 * Math.random()) } });
