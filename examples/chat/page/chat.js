import { io } from "/rtpush.js";

// What was said while you were away comes by itself, and you are here again by yourself.
const $ = (id) => document.getElementById(id);
const socket = io();

socket.on("connect", () => {
  $("state").textContent = "connected";
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

socket.on("error", ({ message }) => {
  $("state").textContent = message;
});

$("enter").onsubmit = async (submit) => {
  submit.preventDefault();
  const { name, room } = Object.fromEntries(new FormData(submit.target));
  const present = socket.presence(room);
  const show = () => {
    $("here").textContent = present.members.map(({ info }) => info.name).sort().join(", ");
  };
  present.on("join", show).on("change", show).on("leave", show);
  try {
    // The last 50 messages first, then what is said from now on.
    await socket.join(room, { rewind: 50, presence: { name } });
    $("enter").hidden = true;
    $("room").hidden = false;
    $("say").text.focus();
  } catch (error) {
    present.close();
    $("state").textContent = error.message;
  }
};

$("say").onsubmit = (submit) => {
  submit.preventDefault();
  socket.emit("say", submit.target.text.value);
  submit.target.text.value = "";
};
