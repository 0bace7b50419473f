// Voice notes: a file or the microphone, what the recipient will see and hear, then the ticks as they come.

import { call, get, repeatable } from "./api.js";
import { advice, remedy, stageText } from "./advice.js";
import { attempt, toast } from "./dialogs.js";
import { field, h, option, show, svg } from "./dom.js";
import { clock, duration, party, size } from "./format.js";
import { icon } from "./icons.js";
import { cannotRecord, record } from "./recorder.js";
import { inspect } from "./sound.js";
import { bus, putMessage, sessionName, store } from "./store.js";
import { voiceBubble } from "./bubble.js";

export const title = "Voice notes";
export const label = "Voice";
export const glyph = "mic";
export const example = () => ({ method: "POST", path: "/api/v1/messages/audio",
  json: { to: "+447700900123", audioUrl: "https://example.com/hello.mp3", ptt: true } });

const sent = new Map();             // message id -> what was heard before it left; survives a change of view

export function mount(signal, [chosen = ""]) {
  const heading = h("div.heading", h("div", h("h1", "Voice notes"), h("p.lead", "Any audio becomes a native voice note, with waveform and seconds.")));
  if (store.me.scope === "read") return [heading, h("p.note", icon("info"), "This key reads only; sending needs one of scope ‘send’.")];
  let note = null;                  // {file, waveform, seconds, report, audio, keyOf}
  let recording = null;
  const notes = new Map();          // message id -> its bubble in the chat

  const sound = h("div.source");
  const doctor = h("section.doctor", { "aria-live": "polite" });
  const chat = h("div.chat-log", { role: "log", "aria-label": "The chat", tabindex: 0 });
  const peer = h("strong", "Your recipient");
  const session = h("select", { name: "session", required: true });
  const to = h("input", { name: "to", type: "tel", required: true, autocomplete: "off", placeholder: "+44 7700 900123", list: "recipients", oninput: naming });
  const known = h("datalist", { id: "recipients" });
  const sendButton = h("button.primary.large", { type: "submit", disabled: true }, icon("send"), "Send voice note");
  const why = h("p.hint", { id: "why-not" });
  const form = h("form.stack", { onsubmit: (event) => {
    event.preventDefault();
    attempt(send);
  } }, h("div.pair", field("From", session), field("To", to)), known, sendButton, why);
  sendButton.setAttribute("aria-describedby", "why-not");

  function naming() {
    peer.textContent = to.value.trim() || "Your recipient";
    ready();
  }

  function ready() {
    const one = store.sessions.get(session.value);
    show(why, !one ? h("a", { href: "#/sessions" }, "Link a phone first.") : one.status !== "connected" ? `${one.sentence} ${advice(one)}` : null);
    sendButton.disabled = !note || !one || !to.value.trim();
  }

  function drawSessions() {
    const before = session.value || chosen || preferred();
    show(session, [...store.sessions.values()].map((one) =>
      option(one.id, `${one.name || one.session_key}${one.phone_number ? ` (${one.phone_number})` : ""}${one.status === "connected" ? "" : " · not connected"}`)));
    if (store.sessions.has(before)) session.value = before;
    ready();
  }
  session.addEventListener("change", ready);

  // ---------------------------------------------------------------- the sound

  function drawSource() {
    const picker = h("input.unseen", { type: "file", id: "file", accept: "audio/*,video/*,.ogg,.opus,.amr,.3gp", onchange: () => take(picker.files[0]) });
    const refused = cannotRecord();
    show(sound, h("div.drop", { ondragover: over, ondragleave: out, ondrop: drop },
      h("button.record", { type: "button", disabled: Boolean(refused), "aria-label": "Record a voice note", dataset: { focus: "record" }, onclick: begin }, icon("mic", 30)),
      h("p", h("strong", refused ? "Drop any audio here" : "Record, or drop any audio here")),
      h("p.hint", refused || "MP3, M4A, WAV, FLAC, OGG, WebM, AMR, or a video’s sound"),
      picker, h("label.button", { for: "file" }, icon("upload", 16), "Choose a file")));
  }

  function over(event) {
    event.preventDefault();
    event.currentTarget.classList.add("over");
  }
  function out(event) {
    event.currentTarget.classList.remove("over");
  }
  function drop(event) {
    event.preventDefault();
    out(event);
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  }

  async function begin() {
    const time = h("span.mono", { role: "timer" }, "0:00");
    const level = svg("svg", { viewBox: "0 0 240 48", class: "level", preserveAspectRatio: "none", "aria-hidden": "true" });
    try {
      recording = await record((levels, seconds) => {
        time.textContent = duration(Math.floor(seconds));
        level.replaceChildren(...levels.map((value, i) => svg("rect", { x: i * 5 + 1, width: 3, rx: 1.5, y: 24 - Math.max(1, value * 23), height: Math.max(2, value * 46) })));
      });
    } catch (error) {
      return toast(error.name === "NotAllowedError" ? "The browser did not give this page the microphone." : `The microphone cannot be used: ${error.message}`, "bad");
    }
    show(sound, h("div.drop.recording",
      h("div.meter", h("i.lamp"), time, level),
      h("div.row", h("button.ghost", { type: "button", onclick: cancel }, icon("trash", 16), "Discard"),
        h("button.primary", { type: "button", dataset: { focus: "stop" }, onclick: finish }, icon("stop", 16), "Stop and listen"))));
    return sound.querySelector("[data-focus=stop]").focus();
  }

  async function cancel() {
    await recording?.cancel();
    recording = null;
    drawSource();
    sound.querySelector("[data-focus=record]").focus();
  }

  async function finish() {
    const blob = await recording.stop();
    recording = null;
    take(new File([blob], `recording.${blob.type.includes("mp4") ? "m4a" : blob.type.includes("ogg") ? "ogg" : "webm"}`, { type: blob.type }));
  }

  async function take(file) {
    if (!file) return;
    note = null;
    ready();
    show(sound, h("div.drop", h("span.spinner"), h("p", h("strong", "Making the voice note…")), h("p.hint", `${file.name} · ${size(file.size)}`)));
    try {
      const found = await inspect(file);
      if (signal.aborted) return;
      note = { file, ...found, keyOf: repeatable() };
      drawNote();
    } catch (error) {
      drawSource();
      show(doctor, h("p.note.bad", icon("warn"), `${file.name}: ${error.message} ${remedy(error, "")}`));
      drawPreview();
    }
    ready();
  }

  function drawNote() {
    show(sound, h("div.picked", icon("file", 22), h("div", h("strong", note.file.name), h("p.hint", `${size(note.file.size)} · ${duration(note.seconds)}`)),
      h("button.ghost.square", { type: "button", "aria-label": "Take another sound", onclick: clear }, icon("close"))));
    drawDoctor();
    drawPreview();
  }

  function clear() {
    note = null;
    drawSource();
    show(doctor);
    drawPreview();
    ready();
    sound.querySelector("button")?.focus();
  }

  function drawDoctor() {
    const { report } = note;
    if (!report) return show(doctor, h("p.note", icon("info"), "Previewed by this browser; the gateway converts it when it is sent."));
    return show(doctor, h("dl.facts.boxed",
      h("div", h("dt", "Came as"), h("dd", `${codecName(report.codec)} · ${(report.sample_rate / 1000).toFixed(1).replace(".0", "")} kHz`)),
      h("div", h("dt", "Leaves as"), h("dd", `Opus · ${size(report.output_bytes)}`)),
      h("div", h("dt", "Loudness"), h("dd", report.rms_dbfs === null ? "unknown" : `${report.rms_dbfs} dBFS`)),
      h("div", h("dt", "Encoding"), h("dd", report.passthrough ? "kept as it was" : `profile ${report.profile}`))),
    report.warnings.length ? h("ul.warnings", report.warnings.map((warning) => h("li", { dataset: { code: warning.code } }, icon("warn", 16), warning.text)))
      : h("p.note.good", icon("check"), "Nothing to complain about: it will play everywhere."));
  }

  // ---------------------------------------------------------------- the chat

  function drawPreview() {
    chat.querySelector(".preview")?.remove();
    chat.querySelector(".nothing")?.remove();
    if (note) {
      const { element } = voiceBubble({ ...note, side: "in", at: new Date(), name: "The voice note, as the recipient will see it" });
      chat.append(h("div.preview", h("p.day", "As the recipient will see it"), element));
    } else if (!notes.size) {
      chat.append(h("p.day.nothing", "The voice note appears here, as WhatsApp will show it"));
    }
    chat.scrollTop = chat.scrollHeight;
  }

  function drawSent(message) {
    const heard = sent.get(message.id);
    if (!heard) return;
    const moment = message.sent_at ?? message.created_at;
    let one = notes.get(message.id);
    const fresh = !one;
    if (fresh) {
      const bubble = voiceBubble({ waveform: message.waveform ?? heard.waveform, seconds: message.seconds ?? heard.seconds, audio: heard.audio, side: "out",
        status: message.status, at: moment, name: `Voice note to ${party(message)}` });
      one = { bubble, line: h("p.fate") };
      notes.set(message.id, one);
      chat.querySelector(".nothing")?.remove();
      chat.append(h("div.outgoing", { dataset: { id: message.id } }, bubble.element, one.line));
    }
    one.bubble.update({ status: message.status, at: moment });
    one.line.classList.toggle("bad", message.status === "failed");
    one.line.textContent = fate(message);
    chat.scrollTop = chat.scrollHeight;
    if (fresh) one.line.scrollIntoView({ block: "nearest" });
  }

  async function send() {
    const fields = new FormData();
    const number = to.value.trim().replace(/[\s()-]/g, "");
    fields.append("to", number);
    fields.append("session", session.value);
    fields.append("file", note.file, note.file.name);
    const heard = note;
    sendButton.setAttribute("aria-busy", "true");
    sendButton.disabled = true;
    try {
      const message = await call("POST", "/api/v1/messages/audio", { form: fields, headers: { "Idempotency-Key": note.keyOf(number, session.value) } });
      sent.set(message.id, heard);
      localStorage.setItem("wagateway.session", session.value);
      clear();
      drawSent(putMessage(message));
    } finally {
      sendButton.removeAttribute("aria-busy");
      ready();
    }
  }

  bus.addEventListener("sessions", drawSessions, { signal });
  bus.addEventListener("message", ({ detail }) => drawSent(detail), { signal });
  signal.addEventListener("abort", () => recording?.cancel());
  drawSessions();
  drawSource();
  for (const id of sent.keys()) if (store.messages.has(id)) drawSent(store.messages.get(id));
  drawPreview();
  get("/api/v1/messages?direction=out&limit=50").then(({ messages }) => {
    show(known, [...new Set(messages.map((message) => message.toPhone ?? message.to))].map((value) => option(value, "")));
  }).catch(() => {});

  return [heading,
    h("div.studio",
      h("section.card", h("h2", "Sound"), sound, doctor),
      h("section.phone", { "aria-label": "Preview" }, h("header", h("span.avatar.small", icon("user", 22)), h("div", peer, h("small", "as seen in WhatsApp"))), chat),
      h("section.card", h("h2", "Send"), form))];
}

function codecName(codec) {
  return codec.startsWith("pcm") ? "PCM" : codec === "opus" ? "Opus" : codec.toUpperCase().replaceAll("_", " ");
}

function preferred() {
  const last = localStorage.getItem("wagateway.session");
  if (store.sessions.get(last)?.status === "connected") return last;
  return [...store.sessions.values()].find((session) => session.status === "connected")?.id ?? "";
}

function fate(message) {
  if (message.status === "failed") return `${message.error.message} ${remedy(message.error)}`;
  if (message.status === "pending") return `From ${sessionName(message.session)}: ${stageText(message)}`;
  const at = message[`${message.status}_at`];
  return `${message.status[0].toUpperCase()}${message.status.slice(1)}${at ? ` at ${clock(at)}` : ""}`;
}
