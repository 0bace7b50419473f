// What the page knows: sessions, messages and events, kept true by the event stream. Views read it and listen.

import { get } from "./api.js";
import { headOf, Stream } from "./stream.js";

const HISTORY = 200;                // events from before the page was opened
const MOST_EVENTS = 2000;
const RANK = { pending: 0, failed: 1, sent: 2, delivered: 3, read: 4, played: 5 };
const STATE_FIELDS = ["status", "reason", "sentence", "detail", "since", "next_retry", "until", "action"];

const ACCOUNT_FIELDS = ["jid", "lid", "phone_number", "push_name", "platform"];

/** Events: "sessions", "message" (detail: the message), "event" (detail: one of the journal), "live" (detail: a word). */
export const bus = new EventTarget();
export const store = { me: null, sessions: new Map(), messages: new Map(), events: [], live: "waiting" };

let stream = null;
let head = 0;

function tell(name, detail) {
  bus.dispatchEvent(new CustomEvent(name, { detail }));
}

export async function open(me) {
  store.me = me;
  await loadSessions();
  const any = store.sessions.keys().next().value;
  head = any ? ((await headOf(any)) ?? 0) : 0;
  stream = new Stream("/api/v1/events/ticket", {
    after: head ? Math.max(0, head - HISTORY) : null,
    onEvent: take,
    onState(state) {
      store.live = state;
      tell("live", state);
    },
  });
}

export function close() {
  stream?.close();
  stream = null;
  Object.assign(store, { me: null, sessions: new Map(), messages: new Map(), events: [], live: "waiting" });
}

export async function loadSessions() {
  const { sessions } = await get("/api/v1/sessions?limit=1000");
  store.sessions = new Map(sessions.map((session) => [session.id, merged(session)]));
  tell("sessions");
}

export function putSession(session) {
  store.sessions.set(session.id, merged(session));
  tell("sessions");
}

/** An answer may be older than what the stream has told meanwhile: the later state stays. */
function merged(answer) {
  const known = store.sessions.get(answer.id);
  if (!known || new Date(known.since) <= new Date(answer.since)) return answer;
  return { ...answer, ...picked(known, [...STATE_FIELDS, ...ACCOUNT_FIELDS]) };
}

export function dropSession(id) {
  if (store.sessions.delete(id)) tell("sessions");
}

export function sessionName(id) {
  const session = store.sessions.get(id);
  return session ? session.name || session.session_key : "deleted session";
}

/** An answer of the API. The stream may have told more already: what is further on stays. */
export function putMessage(message) {
  const known = store.messages.get(message.id);
  const merged = known && RANK[known.status] > RANK[message.status] ? { ...message, ...known } : { ...known, ...message };
  store.messages.set(message.id, merged);
  tell("message", merged);
  return merged;
}

function take(event) {
  if (event.data.present) return present(event.data);           // how a session stands: state, not news
  const past = event.id <= head;
  store.events.push({ ...event, past });
  if (store.events.length > MOST_EVENTS) store.events.splice(0, MOST_EVENTS / 10);
  if (!past) apply(event);
  tell("event", event);
}

function present({ session, state }) {
  if (store.sessions.has(session)) patch(session, state);
}

function apply({ type, data }) {
  if (type === "receipt" || type === "message") {
    const { at, ...message } = data;
    message.text ??= store.messages.get(message.id)?.text;      // receipts tell no bodies
    store.messages.set(message.id, message);
    tell("message", message);
    if (type === "receipt") countSent(message);
  } else if (type === "deleted") {
    dropSession(data.session);
  } else if (!store.sessions.has(data.session)) {
    loadSessions().catch(() => {});             // made by another client; the next event tries again
  } else if (type === "status") {
    patch(data.session, picked(data, STATE_FIELDS));
  } else if (type === "connected") {
    patch(data.session, picked(data, ACCOUNT_FIELDS));
  }
}

function picked(from, names) {
  return Object.fromEntries(names.map((name) => [name, from[name]]));
}

function patch(id, fields) {
  const session = store.sessions.get(id);
  store.sessions.set(id, { ...session, ...fields });
  tell("sessions");
}

/** Pacing and queue change with every send: read them again, once for many. */
let counting = null;
function countSent(message) {
  if (counting || !["sent", "failed"].includes(message.status)) return;
  counting = setTimeout(() => {
    counting = null;
    loadSessions().catch(() => {});
  }, 1500);
}
