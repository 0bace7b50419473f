// Linking a phone: a QR code with the time it has left, or a code to type, until the session is connected.

import { ApiError, post } from "./api.js";
import { advice } from "./advice.js";
import { attempt, busyButton, copy, dialog } from "./dialogs.js";
import { field, h, show, svg } from "./dom.js";
import { icon } from "./icons.js";
import { putSession, store } from "./store.js";
import { Stream } from "./stream.js";

const LIVES = [20, 60, 180];            // seconds that WhatsApp gives a code: later QRs, the first one, a pairing code
const LOOK_BACK = 200;                 // journal numbers
const RADIUS = 15;
const ROUND = 2 * Math.PI * RADIUS;

/** Asks for a name and the way to link, then links. */
export function newSessionDialog() {
  const name = h("input", { name: "session_key", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}", autocomplete: "off", value: freeName() });
  const phone = h("input", { name: "phone", type: "tel", placeholder: "+44 7700 900123", autocomplete: "off" });
  const phoneField = field("The phone's number", phone, "With country code. WhatsApp shows a prompt on that phone.");
  const ways = way((chosen) => {
    phoneField.hidden = chosen !== "code";
    phone.required = chosen === "code";
  });
  const form = h("form.stack", { onsubmit(event) {
    event.preventDefault();
    const chosen = new FormData(form).get("way");
    attempt(async () => {
      const session = await post("/api/v1/sessions", {
        session_key: name.value, ...(chosen === "code" ? { pairing_phone: phone.value.replace(/[\s()-]/g, "") } : {}) });
      putSession(session);
      shown.close();
      linkDialog(session.id, { withCode: chosen === "code" });
    });
  } },
  field("Name", name, "How your programs will call this session: letters, digits, dot, dash."), ways, phoneField,
  h("footer", h("button.primary", { type: "submit" }, "Continue", icon("chevron", 16))));
  phoneField.hidden = true;
  const shown = dialog("Link a phone", form);
  name.select();
}

function freeName() {
  const taken = new Set([...store.sessions.values()].map((session) => session.session_key));
  for (let i = 1; ; i += 1) {
    const name = i === 1 ? "main" : `phone-${i}`;
    if (!taken.has(name)) return name;
  }
}

function way(changed) {
  const choice = (value, glyph, text, hint, checked = false) => h("label.choice",
    h("input", { type: "radio", name: "way", value, checked, onchange: () => changed(value) }),
    icon(glyph, 24), h("span", h("strong", text), h("small", hint)));
  return h("fieldset.choices", h("legend", "How"),
    choice("qr", "qr", "Scan a QR code", "The phone is beside you", true),
    choice("code", "key", "Type a code", "The phone is elsewhere"));
}

/** Shows a session's linking, live. `fresh`: begins a new attempt first. */
export function linkDialog(id, { fresh = false, withCode = false } = {}) {
  const stage = h("div.linking", { "aria-live": "polite" });
  const ring = countdown();
  let stream = null;
  let asked = false;                  // for a new attempt: how the last one ended is no news
  const session = store.sessions.get(id);
  const lost = h("p.note.bad", { role: "alert", hidden: true }, icon("warn"), "The gateway does not answer. This goes on by itself once it does.");
  const shown = dialog(`Link ${session?.name || session?.session_key || "a phone"}`, [lost, stage], { wide: true, onclose() {
    stream?.close();
    ring.stop();
  } });

  function waiting(text) {
    ring.stop();
    show(stage, h("div.wait", h("span.spinner"), h("p", text)));
  }

  function showQr(data) {
    ring.until(data.expires_at, ", then a new one comes by itself");
    const image = h("img.qr", { src: data.qr_code, width: 264, height: 264, alt: "QR code to scan with WhatsApp" });
    const known = stage.querySelector("img.qr");
    if (known) return known.replaceWith(image);
    return show(stage, h("div.code", image, h("div.left", ring.element, ring.text)), steps([
      ["Open ", h("b", "WhatsApp"), " on your phone"],
      ["Tap ", h("b", "Settings"), " › ", h("b", "Linked devices"), " › ", h("b", "Link a device")],
      ["Point the phone at this code"]]));
  }

  function showCode(data) {
    ring.until(data.expires_at, " left");
    const [left, right = ""] = data.code.split("-");
    show(stage, h("div.code", h("div.pairing", { role: "img", "aria-label": `Pairing code ${data.code.split("").join(" ")}` },
      h("span.mono", left), h("i"), h("span.mono", right)),
    h("div.left", ring.element, ring.text),
    h("button", { type: "button", onclick: () => copy(data.code, "Code copied") }, icon("copy", 16), "Copy")), steps([
      ["Open ", h("b", "WhatsApp"), " › ", h("b", "Linked devices"), " › ", h("b", "Link a device")],
      ["Tap ", h("b", "Link with phone number instead")],
      ["Type this code"]]));
  }

  function showConnected(data) {
    ring.stop();
    show(stage, h("div.done", h("span.tick", icon("check", 44)), h("h3", `Connected as ${data.phone_number ?? data.jid}`),
      data.push_name ? h("p", data.push_name) : null,
      h("footer", h("a.button.primary", { href: `#/voice/${id}`, onclick: () => shown.close() }, icon("mic", 16), "Send a voice note"),
        h("button", { type: "button", onclick: () => shown.close() }, "Done"))));
  }

  function showProblem(state, message) {
    ring.stop();
    show(stage, h("div.done", h("span.tick.bad", icon("warn", 40)), h("h3", message), state.detail ? h("p", state.detail) : null,
      advice(state) ? h("p.muted", advice(state)) : null,
      h("footer", busyButton("button.primary", {}, begin, icon("refresh", 16), "Show a new code"),
        h("button", { type: "button", onclick: () => askNumber() }, "Type a code instead"))));
  }

  function askNumber() {
    const phone = h("input", { type: "tel", required: true, placeholder: "+44 7700 900123" });
    show(stage, h("form.stack", { onsubmit(event) {
      event.preventDefault();
      attempt(() => begin(null, phone.value.replace(/[\s()-]/g, "")));
    } }, field("The phone's number", phone, "With country code."), h("footer", h("button.primary", { type: "submit" }, "Get a code"))));
    phone.focus();
  }

  async function begin(_event, phone = null) {
    withCode = phone !== null;
    asked = true;
    stream?.close();
    waiting("Asking WhatsApp for a code…");
    try {
      putSession(await post(`/api/v1/sessions/${id}/relink`, phone ? { pairing_phone: phone } : {}));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return showProblem({}, error.message);
    }
    return watch();
  }

  function watch(after = null) {
    stream = new Stream(`/api/v1/sessions/${id}/stream-ticket`, { after, onEvent: take, onState(state) {
      lost.hidden = state !== "waiting";
      stage.classList.toggle("stale", state === "waiting");
      if (state === "gone") shown.close();
    } });
  }

  function take({ id: number, type, data }) {
    if (type === "qr" && data.present && data.state.reason === "code_waiting") {
      // A QR and a code to type wait together, and the first frame has room for one: the other is in the journal.
      withCode = true;
      stream.close();
      watch(Math.max(0, number - LOOK_BACK));
    } else if (type === "qr" && !withCode) showQr(data);
    else if (type === "pairing_code") {
      withCode = true;
      showCode(data);
    } else if (type === "connected") showConnected(data);
    else if (type === "error" && !(asked && data.present)) showProblem(data.state, data.message);
    else if (type === "deleted") shown.close();
    else if (type === "status") {
      if (data.reason === "paired" || data.reason === "starting") waiting("The phone accepted. Logging in…");
      else if (data.reason === "pairing") waiting(data.detail || "Asking WhatsApp for a code…");
    }
  }

  waiting("Asking WhatsApp for a code…");
  if (fresh) attempt(begin);
  else watch();
}

function steps(lines) {
  return h("ol.steps", lines.map((line) => h("li", h("span", line))));
}

/** A ring that empties while a code lives. */
function countdown() {
  const hand = svg("circle", { cx: 18, cy: 18, r: RADIUS, class: "hand", "stroke-dasharray": ROUND, transform: "rotate(-90 18 18)" });
  const element = svg("svg", { viewBox: "0 0 36 36", width: 36, height: 36, class: "ring", "aria-hidden": "true" },
    svg("circle", { cx: 18, cy: 18, r: RADIUS }), hand);
  const text = h("span.muted", { "aria-live": "off" });
  let timer = null;
  function stop() {
    clearInterval(timer);
  }
  return {
    element, text, stop,
    until(expiresAt, then) {
      stop();
      const end = new Date(expiresAt).getTime();
      const left = () => Math.max(0, (end - Date.now()) / 1000);
      const life = LIVES.find((seconds) => seconds >= left() - 1) ?? left();
      const draw = () => {
        hand.setAttribute("stroke-dashoffset", ROUND * (1 - Math.min(1, left() / life)));
        text.textContent = left() > 0 ? `${Math.ceil(left())} s${then}` : "Waiting for what comes next…";
      };
      draw();
      timer = setInterval(draw, 250);
    },
  };
}
