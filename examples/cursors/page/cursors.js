import { io } from "/rtpush.js";

const state = document.getElementById("state");
const pointers = new Map();
const socket = io();
let next;

socket.on("connect", () => {
  state.textContent = "connected";
});

socket.on("disconnect", () => {
  state.textContent = "away; coming back";
  pointers.forEach((pointer) => pointer.remove());
  pointers.clear();
});

socket.on("moved", ({ who, x, y }) => {
  if (!pointers.has(who)) {
    const pointer = document.createElement("div");
    pointer.className = "pointer";
    pointer.style.background = `hsl(${(who * 137) % 360} 70% 50%)`;
    document.body.append(pointer);
    pointers.set(who, pointer);
  }
  // Fractions of the window: others have windows of another size.
  pointers.get(who).style.left = `${100 * x}%`;
  pointers.get(who).style.top = `${100 * y}%`;
});

socket.on("gone", ({ who }) => {
  pointers.get(who)?.remove();
  pointers.delete(who);
});

// At most one message for each picture that the screen shows; nobody needs an old one.
addEventListener("pointermove", ({ clientX, clientY }) => {
  if (next === undefined) requestAnimationFrame(send);
  next = { x: clientX / innerWidth, y: clientY / innerHeight };
});

function send() {
  socket.volatile.emit("move", next);
  next = undefined;
}
