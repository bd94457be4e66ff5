import { io } from "/rtpush.js";

const ROOM = "board";
const state = document.getElementById("state");
const pointers = new Map();
const socket = io();
const present = socket.presence(ROOM);
let next;

socket.on("connect", () => {
  state.textContent = "connected";
});

socket.on("disconnect", () => {
  state.textContent = "away; coming back";
});

present.on("join", ({ id, info }) => {
  const pointer = document.createElement("div");
  pointer.className = "pointer";
  pointer.style.background = `hsl(${info.hue} 70% 50%)`;
  pointers.set(id, pointer);
});

present.on("leave", ({ id }) => {
  pointers.get(id)?.remove();
  pointers.delete(id);
});

socket.on("moved", ({ who, where }) => {
  const pointer = pointers.get(who);
  if (!pointer) return;
  // Fractions of the window: others have windows of another size.
  pointer.style.left = `${100 * where?.x}%`;
  pointer.style.top = `${100 * where?.y}%`;
  document.body.append(pointer);
});

// At most one message for each picture that the screen shows; nobody needs an old one.
addEventListener("pointermove", ({ clientX, clientY }) => {
  if (next === undefined) requestAnimationFrame(send);
  next = { x: clientX / innerWidth, y: clientY / innerHeight };
});

function send() {
  socket.volatile.emit("moved", next);
  next = undefined;
}

await socket.join(ROOM, { presence: { hue: Math.floor(360 * Math.random()) } });
