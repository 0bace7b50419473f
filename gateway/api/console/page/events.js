// The journal as it grows.

import { copy } from "./dialogs.js";
import { h, option, show } from "./dom.js";
import { count, short, time } from "./format.js";
import { icon } from "./icons.js";
import { TYPES } from "./stream.js";
import { bus, sessionName, store } from "./store.js";

export const title = "Events";
export const label = "Events";
export const glyph = "pulse";
export const example = () => ({ method: "GET", path: "/api/v1/events", stream: true });

const MOST_SHOWN = 300;

export function mount(signal) {
  const filter = { types: new Set(), session: "", text: "" };
  let frozen = null;                // the events as they were when it was paused
  const list = h("ol.journal", { "aria-label": "Events, newest first" });
  const note = h("p.lead", { role: "status" });
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick() {
    frozen = frozen ? null : [...store.events];
    pause.setAttribute("aria-pressed", String(Boolean(frozen)));
    show(pause, icon(frozen ? "play" : "pause", 16), frozen ? "Go on" : "Pause");
    draw();
  } }, icon("pause", 16), "Pause");

  function shown() {
    return (frozen ?? store.events).filter(wanted);
  }
  function wanted({ type, data }) {
    return (!filter.types.size || filter.types.has(type)) && (!filter.session || data.session === filter.session)
      && (!filter.text || JSON.stringify(data).toLowerCase().includes(filter.text));
  }

  function tellCount() {
    const behind = frozen ? store.events.length - frozen.length : 0;
    note.textContent = frozen ? `Paused${behind > 0 ? `; ${count(behind, "event")} since.` : "."}` : "What happens, as it happens.";
  }
  function draw() {
    tellCount();
    const events = shown();
    show(list, events.length ? events.slice(-MOST_SHOWN).reverse().map(entry) : h("li.empty", icon("pulse", 40), h("h2", "Nothing yet"),
      h("p", store.events.length ? "No event fits this filter." : "Link a phone or send something, and watch.")));
  }

  bus.addEventListener("event", ({ detail }) => {
    tellCount();
    if (frozen || !wanted(detail)) return;
    list.querySelector(".empty")?.remove();
    list.prepend(entry(detail));
    while (list.children.length > MOST_SHOWN) list.lastChild.remove();
  }, { signal });

  const kinds = h("fieldset.chips", h("legend.unseen", "Types"), TYPES.map((type) => h("label.chip", { class: `type-${type}` },
    h("input.unseen", { type: "checkbox", onchange: (event) => {
      if (event.target.checked) filter.types.add(type);
      else filter.types.delete(type);
      draw();
    } }), type)));
  draw();
  return [h("div.heading", h("div", h("h1", "Events"), note), h("div.row", pause,
    h("button", { type: "button", onclick: () => copy(shown().map(line).join("\n"), "Copied as JSON lines") }, icon("copy", 16), "Copy"))),
  kinds,
  h("div.filters", { role: "search" },
    h("select", { "aria-label": "Session", onchange: (event) => {
      filter.session = event.target.value;
      draw();
    } }, option("", "All sessions"), [...store.sessions.values()].map((session) => option(session.id, session.name || session.session_key))),
    h("input", { type: "search", placeholder: "Search in the events", "aria-label": "Search in the events", oninput: (event) => {
      filter.text = event.target.value.trim().toLowerCase();
      draw();
    } })), list];
}

function line({ id, type, data }) {
  return JSON.stringify({ id, type, ...data });
}

function entry(event) {
  const { id, type, data } = event;
  const body = h("pre.mono", { tabindex: 0 });
  const details = h("details", { ontoggle: () => {
    if (details.open && !body.textContent) body.textContent = JSON.stringify(data, shortImage, 2);
  } },
  h("summary", h("span.mono.number", `#${id}`), h("time.mono", { datetime: data.at }, data.at ? time(data.at) : ""),
    h("span.tag", { class: `type-${type}` }, type), h("span.text", sentence(event)), h("span.muted.session", sessionName(data.session))),
  h("div.json", body, h("button", { type: "button", onclick: () => copy(JSON.stringify(data, null, 2), "Event copied") }, icon("copy", 16), "Copy")));
  return h("li", details);
}

/** A QR's picture is no reading matter. */
function shortImage(_name, value) {
  return typeof value === "string" && value.startsWith("data:image/") ? `${value.slice(0, 40)}…` : value;
}

function sentence({ type, data }) {
  switch (type) {
    case "qr": return "A QR code to scan";
    case "pairing_code": return "A code to type on the phone";
    case "connected": return `Connected as ${data.phone_number ?? data.jid}`;
    case "message": return `${data.ptt ? "voice note" : data.type} from ${data.push_name || short(data.from)}${data.text ? `: ${data.text}` : ""}`;
    case "receipt": return `${data.ptt ? "voice note" : data.type} to ${data.toPhone ?? short(data.to)}: ${data.status}${data.error ? ` (${data.error.code})` : data.status === "pending" ? ` (${data.stage})` : ""}`;
    case "deleted": return "The session was deleted";
    case "status": case "disconnected": return `${data.status}: ${data.sentence}`;
    default: return data.message ?? data.code ?? "";
  }
}
