// The position is kept where it outlives the page: opened tomorrow, it shows what came today.
const $ = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user") ?? "guest";
const place = `position of ${user}`;
$("user").textContent = user;

function connect() {
  const last = localStorage.getItem(place) ?? "";
  const query = new URLSearchParams({ user, last });
  const socket = new WebSocket(`ws${location.protocol.slice(4)}//${location.host}/ws?${query}`);
  socket.onmessage = ({ data }) => take(JSON.parse(data), socket);
  socket.onclose = () => {
    $("state").textContent = "away; coming back";
    setTimeout(connect, 1000 * Math.random());
  };
}

function take({ event, data, id, room }, socket) {
  if (event === "connect") {
    $("state").textContent = "connected";
  } else if (event === "notify") {
    show(id, data.text, socket);
  } else if (event === "read") {
    $(data.id)?.classList.add("read");
  }
  // A room's own snapshot says nothing of the other rooms.
  if (id && !(event === "active_tasks" && room)) localStorage.setItem(place, id);
  $("unread").textContent = document.querySelectorAll("li:not(.read)").length;
}

function show(id, text, socket) {
  const line = document.createElement("li");
  line.id = id;
  line.append(text);
  const button = document.createElement("button");
  button.textContent = "Read";
  button.onclick = () => {
    line.classList.add("read");
    button.remove();
    socket.send(JSON.stringify({ event: "read", data: { id } }));
    $("unread").textContent = document.querySelectorAll("li:not(.read)").length;
  };
  line.append(button);
  $("list").prepend(line);
}

connect();
