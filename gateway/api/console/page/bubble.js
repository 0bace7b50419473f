// A voice note as WhatsApp shows it: avatar with microphone, play button, 64 bars, seconds, ticks.

import { h, newId, show, svg } from "./dom.js";
import { icon } from "./icons.js";
import { clock, duration } from "./format.js";

const BARS = 64;
const STEP = 4;
const HEIGHT = 32;
let playing = null;             // one sound at a time

/** One tick, two ticks, two blue ticks; a clock before, a warning when it failed. */
export function ticks(status) {
  const text = { pending: "Pending", sent: "Sent", delivered: "Delivered", read: "Read", played: "Played", failed: "Failed" }[status] ?? status;
  const box = h("span.ticks", { class: status, role: "img", "aria-label": text, title: text });
  if (status === "pending") return show(box, icon("clock", 14));
  if (status === "failed") return show(box, icon("warn", 15));
  const two = status !== "sent";
  return show(box, svg("svg", { viewBox: "0 0 20 12", width: 19, height: 12, fill: "none", stroke: "currentColor", "stroke-width": 1.7,
    "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" },
  svg("path", { d: two ? "m1.5 6.5 4 4 7-9" : "m4.5 6.5 4 4 7-9" }),
  two ? svg("path", { d: "m9 9.3 1.2 1.2 7.3-9" }) : null));
}

export function bars(waveform) {
  const drawn = waveform.map((value, i) => {
    const height = Math.max(2.5, (value / 100) * HEIGHT);
    return svg("rect", { x: i * STEP + 0.5, y: (HEIGHT - height) / 2, width: 3, height, rx: 1.5 });
  });
  return svg("svg", { viewBox: `0 0 ${BARS * STEP} ${HEIGHT}`, class: "bars", preserveAspectRatio: "none", "aria-hidden": "true" }, drawn);
}

/**
 * `waveform`: 64 values of 0..100; `seconds` as WhatsApp is told; `audio`: a Blob to play, or null. `side`: "in" or "out";
 * `status` of an outgoing one. Returns the element; `update({status, at})` changes ticks and microphone.
 */
export function voiceBubble({ waveform, seconds, audio = null, side = "in", status = null, at = null, name = "Voice note" }) {
  const line = bars(waveform.length ? waveform : new Array(BARS).fill(0));
  const time = h("span.time", duration(seconds));
  const stamp = h("span.stamp");
  const player = audio ? makePlayer(audio) : null;
  const button = h("button.play", { type: "button", "aria-label": "Play", disabled: !player, onclick: () => player.toggle() }, icon("play", 26));
  const track = h("div.track", player ? { role: "slider", tabindex: 0, "aria-label": `Position in ${name}`, "aria-valuemin": 0,
    "aria-valuemax": Math.round(seconds), "aria-valuenow": 0, "aria-valuetext": `0:00 of ${duration(seconds)}` } : {}, line);
  const avatar = h("span.avatar", icon("user", 30), h("span.badge", icon("mic", 17)));
  const element = h("div.bubble", { class: side, id: newId("bubble"), role: "group", "aria-label": name },
    avatar, button, h("div.sound", track, h("div.meta", time, stamp)));

  function makePlayer(blob) {
    const sound = new Audio(URL.createObjectURL(blob));
    let frame = 0;
    const total = () => (Number.isFinite(sound.duration) && sound.duration > 0 ? sound.duration : seconds);
    function draw() {
      const share = Math.min(1, sound.currentTime / total());
      [...line.children].forEach((bar, i) => bar.classList.toggle("past", (i + 0.5) / BARS < share));
      time.textContent = duration(sound.paused && sound.currentTime === 0 ? seconds : sound.currentTime);
      track.setAttribute("aria-valuenow", Math.round(sound.currentTime));
      track.setAttribute("aria-valuetext", `${duration(sound.currentTime)} of ${duration(seconds)}`);
      if (!sound.paused) frame = requestAnimationFrame(draw);
    }
    function changed() {
      cancelAnimationFrame(frame);
      button.setAttribute("aria-label", sound.paused ? "Play" : "Pause");
      show(button, icon(sound.paused ? "play" : "pause", 26));
      draw();
    }
    sound.addEventListener("play", changed);
    sound.addEventListener("pause", changed);
    sound.addEventListener("seeked", draw);
    sound.addEventListener("ended", () => {
      sound.currentTime = 0;
      changed();
    });
    return {
      toggle() {
        if (!sound.paused) return sound.pause();
        if (playing && playing !== sound) playing.pause();
        playing = sound;
        return sound.play();
      },
      seek(share) {
        sound.currentTime = Math.max(0, Math.min(0.999, share)) * total();
      },
      get share() {
        return sound.currentTime / total();
      },
    };
  }

  if (player) {
    track.addEventListener("pointerdown", (event) => {
      const box = track.getBoundingClientRect();
      player.seek((event.clientX - box.left) / box.width);
    });
    track.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 0.05, ArrowUp: 0.05, ArrowLeft: -0.05, ArrowDown: -0.05, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      player.seek(player.share + step);
    });
  }

  function update({ status: now, at: moment }) {
    element.classList.toggle("played", now === "played");
    show(stamp, moment ? clock(moment) : null, side === "out" && now ? ticks(now) : null);
  }
  update({ status, at });
  return { element, update };
}
