const state = document.getElementById("state");
const pointers = new Map();
let socket;
let next;

function connect() {
  socket = new WebSocket(`ws${location.protocol.slice(4)}//${location.host}/ws`);
  socket.onmessage = ({ data }) => take(JSON.parse(data));
  socket.onclose = () => {
    state.textContent = "away; coming back";
    pointers.forEach((pointer) => pointer.remove());
    pointers.clear();
    setTimeout(connect, 1000 * Math.random());
  };
}

function take({ event, data }) {
  if (event === "connect") state.textContent = "connected";
  if (event === "moved") place(data);
  if (event === "gone") {
    pointers.get(data.who)?.remove();
    pointers.delete(data.who);
  }
}

function place({ who, x, y }) {
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
}

// At most one message for each picture that the screen shows.
addEventListener("pointermove", ({ clientX, clientY }) => {
  if (next === undefined) requestAnimationFrame(send);
  next = { x: clientX / innerWidth, y: clientY / innerHeight };
});

function send() {
  if (socket.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ event: "move", data: next }));
  }
  next = undefined;
}

connect();
