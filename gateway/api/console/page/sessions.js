// Sessions: how each stands, why, and what to do.

import { post, remove } from "./api.js";
import { advice, isStopped, stateName, tone } from "./advice.js";
import { attempt, busyButton, confirm, toast } from "./dialogs.js";
import { h, show } from "./dom.js";
import { ago, count, when } from "./format.js";
import { icon } from "./icons.js";
import { linkDialog, newSessionDialog } from "./link.js";
import { settingsDialog } from "./settings.js";
import { bus, dropSession, putSession, store } from "./store.js";

export const title = "Sessions";
export const label = "Sessions";
export const glyph = "phone";
export const example = () => ({ method: "POST", path: "/api/v1/sessions", json: { session_key: "my-session" } });

export function mount(signal) {
  const list = h("div.cards");
  const summary = h("p.lead");
  const draw = () => {
    const sessions = [...store.sessions.values()];
    const connected = sessions.filter((session) => session.status === "connected").length;
    summary.textContent = sessions.length ? `${connected} of ${count(sessions.length, "session")} connected.` : "";
    show(list, sessions.length ? sessions.map(card) : empty());
  };
  draw();
  bus.addEventListener("sessions", draw, { signal });
  const clock = setInterval(draw, 30_000);
  signal.addEventListener("abort", () => clearInterval(clock));
  return [h("div.heading", h("div", h("h1", "Sessions"), summary),
    mayLink() ? h("button.primary", { type: "button", onclick: newSessionDialog }, icon("plus"), "Link a phone") : null), list];
}

function mayLink() {
  return ["admin", "full"].includes(store.me.scope);
}

function empty() {
  return h("section.empty", icon("phone", 44), h("h2", "No phone is linked yet"),
    h("p", "A session is a slot for one linked device. Scan a QR code with WhatsApp, or type a code on the phone, and it is connected in seconds."),
    mayLink() ? h("button.primary.large", { type: "button", onclick: newSessionDialog }, icon("qr"), "Link your first phone")
      : h("p", "This key may not link phones; that needs the scope ‘full’."));
}

function card(session) {
  const name = session.name || session.session_key;
  const what = advice(session);
  return h("article.card.session", { "aria-label": name, dataset: { id: session.id, tone: tone(session) } },
    h("header",
      h("span.portrait", icon("phone", 22)),
      h("div.names", h("h2", name), h("p", session.phone_number
        ? [h("strong", session.phone_number), session.push_name ? ` · ${session.push_name}` : ""]
        : session.name ? session.session_key : "no phone linked")),
      h("span.pill", { class: tone(session) }, h("i"), stateName(session))),
    h("div",
      session.status !== "connected" || session.detail ? h("p.why", session.sentence, session.detail ? h("span.detail", ` ${session.detail}`) : null) : null,
      what ? h("p.note", { class: tone(session) }, icon(tone(session) === "bad" ? "warn" : "info"), what) : null,
      session.restricted_until ? h("p.note.bad", icon("warn"), `WhatsApp allows no new chats until ${when(session.restricted_until)}.`) : null,
      facts(session)),
    mayLink() ? actions(session, name) : null);
}

function facts(session) {
  const { sent_last_hour: sent, messages_per_hour: limit } = session.pacing;
  return h("dl.facts",
    h("div", h("dt", session.status === "connected" ? "Connected" : "Since"), h("dd", { title: when(session.since) }, ago(session.since))),
    h("div", h("dt", "Sent this hour"), h("dd", limit ? `${sent} of ${limit}` : sent, limit
      ? h("meter", { min: 0, max: limit, high: limit * 0.8, value: sent, "aria-label": "Sent this hour" }) : null)),
    h("div", h("dt", "Queued"), h("dd", session.queued)),
    session.next_retry && new Date(session.next_retry) > Date.now() ? h("div", h("dt", "Next try"), h("dd", ago(session.next_retry))) : null);
}

function actions(session, name) {
  const path = `/api/v1/sessions/${session.id}`;
  const act = (verb) => async () => putSession(await post(`${path}/${verb}`));
  // What was pressed may be replaced by what can be pressed next: the keyboard stays there.
  const button = (id, spec, glyphName, text, work) =>
    busyButton(spec, { dataset: { focus: `${id}-${session.id}` }, "aria-label": `${text}: ${name}` }, work, icon(glyphName, 16), text);
  const linked = session.jid !== null;
  const linkable = ["qr_expired", "logged_out", "failed"].includes(session.status);
  return h("footer",
    session.status === "pending" ? button("first", "button.primary", "qr", "Show the code", () => linkDialog(session.id)) : null,
    linkable ? button("first", "button.primary", "refresh", "Relink", () => linkDialog(session.id, { fresh: true })) : null,
    isStopped(session) && linked ? [button("first", "button.primary", "power", "Connect", act("connect")),
      button("relink", "button", "refresh", "Relink", () => relinkStopped(session, name))] : null,
    linked && !isStopped(session) && !linkable ? button("first", "button", "power", "Disconnect", act("disconnect")) : null,
    session.status === "connected" ? h("a.button", { href: `#/voice/${session.id}`, "aria-label": `Send a voice note: ${name}` }, icon("mic", 16), h("span", "Voice", h("span.roomy", " note"))) : null,
    h("span.last",
      h("button.ghost.square", { type: "button", dataset: { focus: `settings-${session.id}` }, "aria-label": `Settings of ${name}`, title: "Settings",
        onclick: () => settingsDialog(session) }, icon("sliders")),
      busyButton("button.ghost.danger.square", { dataset: { focus: `delete-${session.id}` }, "aria-label": `Delete ${name}`, title: "Delete" },
        () => deleteSession(session, name), icon("trash"))));
}

async function relinkStopped(session, name) {
  const yes = await confirm(`Relink ${name}?`, `${session.phone_number} is unlinked first. What still waits in its outbox fails, since another phone may be linked next.`, "Relink");
  if (yes) linkDialog(session.id, { fresh: true });
}

async function deleteSession(session, name) {
  const yes = await confirm(`Delete ${name}?`,
    "The phone unlinks this device, the session's keys are destroyed, and what waits in its outbox fails. This cannot be undone.", "Unlink and delete");
  if (!yes) return;
  await attempt(async () => {
    const { note } = await remove(`/api/v1/sessions/${session.id}`);
    dropSession(session.id);
    toast(note || `${name} is deleted.`, note ? "info" : "good");
  });
}
