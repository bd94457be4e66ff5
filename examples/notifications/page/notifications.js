import { io } from "/rtpush.js";

// The position is kept where it outlives the page: opened tomorrow, it shows what came today.
const $ = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user") ?? "guest";
const place = `position of ${user}`;
const socket = io({ query: { user }, last: localStorage.getItem(place) });
$("user").textContent = user;

socket.on("connect", () => {
  $("state").textContent = "connected";
});

socket.on("disconnect", () => {
  $("state").textContent = "away; coming back";
});

socket.on("notify", ({ text }) => {
  show(socket.position, text);
});

socket.on("read", ({ id }) => {
  $(id)?.classList.add("read");
  count();
});

socket.onAny(() => {
  localStorage.setItem(place, socket.position);
});

function show(id, text) {
  const line = document.createElement("li");
  line.id = id;
  line.append(text);
  const button = document.createElement("button");
  button.textContent = "Read";
  button.onclick = () => {
    line.classList.add("read");
    button.remove();
    socket.emit("read", { id });
    count();
  };
  line.append(button);
  $("list").prepend(line);
  count();
}

function count() {
  $("unread").textContent = document.querySelectorAll("li:not(.read)").length;
}
