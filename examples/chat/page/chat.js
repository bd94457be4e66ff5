import { io } from "/rtpush.js";

// What was said while you were away comes by itself; so does the room you were in, for a while.
const $ = (id) => document.getElementById(id);
const socket = io();
let me;
let sid;

socket.on("connect", () => {
  $("state").textContent = "connected";
  // A server that was restarted knows the log, and not who is in which room.
  if (me && socket.id !== sid) enter();
  sid = socket.id;
});

socket.on("disconnect", () => {
  $("state").textContent = "away; coming back";
});

socket.on("said", ({ name, text }) => {
  const line = document.createElement("li");
  const who = document.createElement("b");
  who.textContent = name;
  line.append(who, text);
  $("said").append(line);
  line.scrollIntoView();
});

socket.on("here", (names) => {
  $("here").textContent = names.join(", ");
});

socket.on("error", ({ message }) => {
  $("state").textContent = message;
});

async function enter() {
  try {
    await socket.emitWithAck("enter", me);
    $("enter").hidden = true;
    $("room").hidden = false;
    $("say").text.focus();
  } catch (error) {
    $("state").textContent = error.message;
  }
}

$("enter").onsubmit = (submit) => {
  submit.preventDefault();
  me = Object.fromEntries(new FormData(submit.target));
  enter();
};

$("say").onsubmit = (submit) => {
  submit.preventDefault();
  socket.emit("say", submit.target.text.value);
  submit.target.text.value = "";
};
