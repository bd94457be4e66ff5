// A plain WebSocket is all it takes. `position` and `sid` bring back what was missed.
const $ = (id) => document.getElementById(id);
let socket;
let position = "";
let sid = "";
let me;

function connect() {
  socket = new WebSocket(`ws${location.protocol.slice(4)}//${location.host}/ws?last=${position}&sid=${sid}`);
  socket.onmessage = ({ data }) => take(JSON.parse(data));
  socket.onclose = () => {
    $("state").textContent = "away; coming back";
    setTimeout(connect, 1000 * Math.random());
  };
}

function take({ event, data, id, ack, error }) {
  if (event === "connect") {
    $("state").textContent = "connected";
    // A server that was restarted knows the log, and not who is in which room.
    if (me && data.sid !== sid) send("enter", me);
    sid = data.sid;
  } else if (event === "said") {
    const line = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = data.name;
    line.append(name, data.text);
    $("said").append(line);
    line.scrollIntoView();
  } else if (event === "here") {
    $("here").textContent = data.join(", ");
  } else if (ack === "enter" && !error) {
    $("enter").hidden = true;
    $("room").hidden = false;
    $("say").text.focus();
  } else if (error) {
    $("state").textContent = error.message;
  }
  if (id) position = id;
}

function send(event, data) {
  socket.send(JSON.stringify({ event, data, ack: event }));
}

$("enter").onsubmit = (submit) => {
  submit.preventDefault();
  me = Object.fromEntries(new FormData(submit.target));
  send("enter", me);
};

$("say").onsubmit = (submit) => {
  submit.preventDefault();
  send("say", submit.target.text.value);
  submit.target.text.value = "";
};

connect();
