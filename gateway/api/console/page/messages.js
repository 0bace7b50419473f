// Messages: what was sent and what arrived; each with its times, and what to do where it failed.

import { get, post, query, remove } from "./api.js";
import { remedy, stageText, statusName } from "./advice.js";
import { attempt, busyButton, toast, unread } from "./dialogs.js";
import { h, option, show } from "./dom.js";
import { duration, lapse, party, short, size, time, when } from "./format.js";
import { icon } from "./icons.js";
import { bars, ticks, voiceBubble } from "./bubble.js";
import { bus, putMessage, sessionName, store } from "./store.js";
import { writeDialog } from "./write.js";

export const title = "Messages";
export const label = "Messages";
export const glyph = "chat";
export const example = () => ({ method: "POST", path: "/api/v1/messages", json: { to: "+447700900123", message: "Hello!" } });

const KINDS = { text: "chat", audio: "mic", image: "image", video: "image", document: "file" };
const FILES = new Set(["audio", "image", "video", "document", "sticker"]);
const PICTURES = new Set(["image/jpeg", "image/png", "image/webp", "image/gif"]);     // what a browser draws and no program can hide in
const STATUSES = ["pending", "sent", "delivered", "read", "played", "failed", "received"];

export function mount(signal, [opened = ""]) {
  const filter = { direction: "", status: "", type: "", session: "", to: "" };
  let ids = [];
  let cursor = null;
  let request = null;
  const list = h("ul.rows", { "aria-label": "Messages" });
  const more = busyButton("button", {}, () => load(true), "Show older ones");
  more.hidden = true;
  const detail = h("div");
  const rows = new Map();

  async function load(older = false) {
    request?.abort();
    request = new AbortController();
    try {
      const answer = await get(`/api/v1/messages${query({ ...filter, limit: 50, cursor: older ? cursor : "" })}`, { signal: request.signal });
      const fresh = answer.messages.map((message) => putMessage(message).id);
      ids = older ? [...ids, ...fresh] : fresh;
      cursor = answer.next_cursor;
      draw();
    } catch (error) {
      if (error.name !== "AbortError") show(list, h("li", unread(error)));
    }
  }

  function draw() {
    rows.clear();
    more.hidden = cursor === null;
    show(list, ids.length ? ids.map((id) => row(store.messages.get(id))) : h("li.empty", icon("chat", 40), h("h2", "Nothing here"),
      h("p", Object.values(filter).some(Boolean) ? "No message fits this filter." : "What you send and what arrives will be listed here.")));
  }

  function row(message) {
    const item = h("li");
    rows.set(message.id, item);
    return drawRow(item, message);
  }

  function drawRow(item, message) {
    const incoming = message.direction === "in";
    return show(item, h("button.row", { type: "button", class: message.status, dataset: { focus: message.id, id: message.id }, onclick: () => open(message.id) },
      h("span.kind", { class: incoming ? "in" : "out" }, icon(KINDS[message.type] ?? "chat", 18)),
      h("span.what", h("strong", party(message)), h("small", summary(message))),
      h("span.fate", message.status === "failed" ? h("span.error", message.error?.code) : incoming ? h("span.muted", "received") : [ticks(message.status), h("span.word", statusName(message))]),
      h("time.muted", { datetime: message.created_at }, when(message.created_at))));
  }

  async function open(id) {
    const message = store.messages.get(id);
    const shown = h("dialog.drawer", { "aria-label": "Message" }, h("header", h("h2", "Message"),
      h("button.ghost.square", { type: "button", "aria-label": "Close", onclick: () => shown.close() }, icon("close"))), detail);
    const ends = new AbortController();
    shown.addEventListener("close", () => {
      ends.abort();
      shown.remove();
    });
    shown.addEventListener("click", (event) => event.target === shown && shown.close());
    show(detail, message ? details(message, shown) : null);
    document.body.append(shown);
    shown.showModal();
    bus.addEventListener("message", (event) => event.detail.id === id && show(detail, details(event.detail, shown)), { signal: ends.signal });
    await attempt(async () => putMessage(await get(`/api/v1/messages/${id}`, { told: true })));
  }

  bus.addEventListener("message", ({ detail: message }) => {
    const item = rows.get(message.id);
    if (item) drawRow(item, message);
    else if (fits(message, filter) && !ids.includes(message.id) && isNewest(message)) {
      ids = [message.id, ...ids];
      if (ids.length === 1) draw();
      else list.prepend(row(message));
    }
  }, { signal });

  function isNewest(message) {
    return !ids.length || message.created_at >= store.messages.get(ids[0]).created_at;
  }

  load().then(() => opened && open(opened));
  return [h("div.heading", h("div", h("h1", "Messages"), h("p.lead", "Newest first, as they change.")),
    store.me.scope === "read" ? null : h("button.primary", { type: "button", onclick: writeDialog }, icon("plus"), "Write")),
  filters(filter, () => load()), list, h("div.centre", more)];
}

function fits(message, { direction, status, type, session, to }) {
  return (!direction || message.direction === direction) && (!status || message.status === status) && (!session || message.session === session)
    && (!type || (type === "ptt" ? message.ptt : message.type === type)) && (!to || party(message) === to);
}

function filters(filter, changed) {
  let typing = null;
  const choose = (name, label, options) => h("select", { "aria-label": label, onchange: (event) => {
    filter[name] = event.target.value;
    changed();
  } }, option("", label), options.map(([value, text]) => option(value, text)));
  return h("div.filters", { role: "search" },
    choose("direction", "Both ways", [["out", "Sent"], ["in", "Received"]]),
    choose("status", "Any status", STATUSES.map((word) => [word, word])),
    choose("type", "Any kind", [["ptt", "voice note"], ["text", "text"], ["image", "image"], ["video", "video"], ["document", "document"], ["audio", "audio file"]]),
    choose("session", "All sessions", [...store.sessions.values()].map((session) => [session.id, session.name || session.session_key])),
    h("input", { type: "search", "aria-label": "Chat: phone number or JID", placeholder: "Phone number", oninput: (event) => {
      clearTimeout(typing);
      typing = setTimeout(() => {
        filter.to = event.target.value.replace(/[\s()-]/g, "");
        changed();
      }, 350);
    } }));
}

function summary(message) {
  const kind = message.ptt ? "voice note" : message.type;
  const length = message.seconds ? ` · ${duration(message.seconds)}` : "";
  return `${kind}${length} · ${message.direction === "in" ? "to" : "from"} ${sessionName(message.session)}`;
}

// ------------------------------------------------------------------ one message

function details(message, shown) {
  const incoming = message.direction === "in";
  return [
    h("div.parties", h("strong.big", party(message)), h("p.muted", `${incoming ? "to" : "from"} ${sessionName(message.session)}`)),
    incoming && FILES.has(message.type) ? arrivedFile(message) : still(message),
    message.text ? h("blockquote", message.text) : null,
    message.status === "failed" ? failure(message) : null,
    incoming ? null : h("section", h("h3", "Timeline"), timeline(message)),
    h("section", h("h3", "Facts"), h("dl.facts.boxed",
      fact("Kind", message.ptt ? "voice note" : message.type), fact("Size", message.size && size(message.size)), fact("Attempts", incoming ? null : message.attempts),
      fact("Number", incoming && message.push_name && short(message.from)), fact("Group", message.group && short(message.group)),
      fact("Arrived", incoming && when(message.created_at)), fact("File", message.filename),
      fact("WhatsApp id", message.whatsapp_id && h("code", message.whatsapp_id)), fact("Id", h("code", message.id)))),
    incoming || store.me.scope === "read" ? null : h("footer",
      message.status === "failed" ? busyButton("button.primary", {}, () => resend(message, shown), icon("refresh", 16), "Send it again") : null,
      message.status === "pending" ? busyButton("button.danger", {}, () => cancel(message), icon("close", 16), "Cancel it") : null)];
}

function still({ waveform, seconds }) {
  return waveform ? h("div.still", icon("mic", 18), bars(waveform), h("span.mono", duration(seconds))) : null;
}

/** What somebody sent, fetched from WhatsApp when asked for; nobody is told that it was heard or seen. */
function arrivedFile(message) {
  const sound = message.type === "audio";
  const place = h("div.arrived", still(message), busyButton("button", {}, async () => {
    const file = await get(`/api/v1/messages/${message.id}/media`, { accept: "*/*" });
    show(place, sound ? voiceBubble({ waveform: message.waveform ?? [], seconds: message.seconds ?? 0, audio: file, at: message.created_at,
      name: `Voice note from ${party(message)}` }).element : opened(message, file));
    place.querySelector("button.play, a.button").focus();          // where the button was that was pressed
    if (sound) place.querySelector("button.play").click();
  }, icon(sound ? "play" : "download", 16), sound ? "Listen" : `Get the ${message.type}`));
  return place;
}

function opened(message, file) {
  const href = URL.createObjectURL(file);
  return [PICTURES.has(file.type) ? h("img", { src: href, alt: `The ${message.type} from ${party(message)}` }) : null,
    h("a.button", { href, download: message.filename || `${message.type}-${message.id.slice(0, 8)}` }, icon("download", 16), "Save it")];
}

function fact(name, value) {
  return value === null || value === undefined || value === false || value === "" ? null : h("div", h("dt", name), h("dd", value));
}

function failure(message) {
  return h("div.note.bad.block", { role: "alert" }, icon("warn"), h("div", h("strong", message.error.message), h("p", remedy(message.error)),
    message.may_have_been_delivered ? h("p", h("b", "It may have been delivered all the same.")) : null, h("code", message.error.code)));
}

const STEPS = [["created_at", "Accepted", "stored in the outbox"], ["sent_at", "Sent", "WhatsApp's server has it"], ["delivered_at", "Delivered", "it is on the phone"],
  ["read_at", "Read", "the chat was opened"], ["played_at", "Played", "the voice note was heard"]];

function timeline(message) {
  let before = null;
  const items = STEPS.filter(([name]) => name !== "played_at" || message.ptt).map(([name, label, meaning]) => {
    const at = message[name];
    const waits = !at && message.status !== "failed";
    if (!at && message.status === "failed") return null;
    const took = at && before ? lapse(before, at) : "";
    before = at ?? before;
    return h("li", { class: at ? "past" : waits ? "ahead" : "" }, h("i"), h("div", h("strong", label), h("small", meaning)),
      h("span.mono", at ? time(at) : ""), h("small.mono.took", took));
  });
  if (message.status === "pending") items.splice(1, 0, h("li.now", h("i"), h("div", h("strong", "Now"), h("small", stageText(message))),
    h("span.mono", message.not_before ? `until ${when(message.not_before)}` : ""), h("small")));
  if (message.failed_at) items.push(h("li.failed", h("i"), h("div", h("strong", "Failed"), h("small", message.error?.code ?? "")), h("span.mono", time(message.failed_at)),
    h("small.mono.took", before ? lapse(before, message.failed_at) : "")));
  return h("ol.timeline", items);
}

async function cancel(message) {
  putMessage(await remove(`/api/v1/messages/${message.id}`));
}

async function resend(message, shown) {
  const again = await post(`/api/v1/messages/${message.id}/resend`);
  putMessage(again);
  toast("It is in the outbox again.");
  if (again.id !== message.id) shown.close();
}
