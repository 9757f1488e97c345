// The player: a waveform over an <audio> element, a heartbeat every two seconds while it plays, the now-playing line.
// What it is doing can be read from outside in document.body.dataset: state, heartbeats, ws.
"use strict";

const body = document.body.dataset;
const player = document.getElementById("player");
const line = document.getElementById("now-playing");

const session = (() => {
  const made = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0"));
  try {
    if (!sessionStorage.session) sessionStorage.session = made.join("");
    return sessionStorage.session;
  } catch {
    return made.join(""); // another site's frame, where storage is closed
  }
})();

function play(player) {
  const audio = player.querySelector("audio");
  const canvas = player.querySelector("canvas");
  const track = Number(player.dataset.track);
  let peaks = [];
  let sent = 0;
  const failed = audio.error || audio.networkState === HTMLMediaElement.NETWORK_NO_SOURCE; // before we came
  body.state = failed ? "error" : "idle";
  body.heartbeats = "0";

  async function beat() {
    const answer = await fetch("/api/v1/heartbeat", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ track, position_s: audio.currentTime, session }),
      keepalive: true,
    });
    if (answer.ok) body.heartbeats = String(++sent);
  }

  function draw() {
    const pen = canvas.getContext("2d");
    const { width, height } = canvas;
    const style = getComputedStyle(document.documentElement);
    const heard = audio.duration ? audio.currentTime / audio.duration : 0;
    const step = width / peaks.length;
    pen.clearRect(0, 0, width, height);
    peaks.forEach((peak, n) => {
      const tall = Math.max(2, peak * height);
      pen.fillStyle = style.getPropertyValue(n / peaks.length < heard ? "--reed" : "--quiet");
      pen.fillRect(n * step, (height - tall) / 2, step * 0.7, tall);
    });
  }

  audio.addEventListener("playing", () => { body.state = "playing"; });
  audio.addEventListener("pause", () => { if (!audio.ended) body.state = "paused"; });
  audio.addEventListener("timeupdate", draw);
  audio.addEventListener("ended", () => {
    draw();
    beat().catch(() => {}).finally(() => { body.state = "ended"; });
  });
  // A <source> that fails hands over to the next one; only the last failure is an error.
  audio.addEventListener("error", (event) => {
    if (event.target === audio || event.target === audio.lastElementChild) body.state = "error";
  }, true);
  canvas.addEventListener("click", (event) => {
    if (audio.duration) audio.currentTime = (event.offsetX / canvas.clientWidth) * audio.duration;
    audio.play().catch(() => {});
  });
  setInterval(() => { if (!audio.paused) beat().catch(() => {}); }, 2000);

  fetch(player.dataset.waveform)
    .then((answer) => { if (answer.ok) return answer.json(); throw new Error(answer.status); })
    .then((waveform) => { peaks = waveform.peaks; draw(); })
    .catch(() => { canvas.hidden = true; });
}

function follow(line) {
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws/now-playing");
  body.ws = "connecting";
  socket.addEventListener("open", () => {
    body.ws = "open";
    setInterval(() => { if (socket.readyState === WebSocket.OPEN) socket.send("ping"); }, 20000);
  });
  socket.addEventListener("close", () => { body.ws = "closed"; });
  socket.addEventListener("message", (event) => {
    if (event.data === "pong") return;
    const now = JSON.parse(event.data);
    line.textContent = now.track ? `Someone is listening to ${now.title} by ${now.artist}` : "";
  });
}

if (player) play(player);
if (line) follow(line);
