// An event stream that stays: a ticket for every connection, the last number for every return.

import { address, call } from "./api.js";

export const TYPES = ["qr", "pairing_code", "connected", "disconnected", "error", "status", "message", "receipt", "warning", "deleted"];
const WAITS = [500, 1000, 2000, 4000, 8000, 15000];

/**
 * `ticketPath` is where tickets are made. `onEvent({id, type, data})` gets every event, `onState("live" | "waiting" | "gone")`
 * how the connection stands; "gone": the key or the session is no longer valid. `after`: a journal number to go on from.
 */
export class Stream {
  #source = null;
  #timer = null;
  #tries = 0;
  #closed = false;

  constructor(ticketPath, { onEvent, onState = () => {}, after = null }) {
    this.ticketPath = ticketPath;
    this.onEvent = onEvent;
    this.onState = onState;
    this.last = after;
    this.#open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  async #open() {
    try {
      const ticket = await call("POST", this.ticketPath, { told: false });
      if (this.#closed) return;
      const url = new URL(address(ticket.url));
      if (this.last !== null) url.searchParams.set("last_event_id", this.last);
      this.#listen(url);
    } catch (error) {
      if (this.#closed) return;
      if (error.status === 401 || error.status === 403 || error.status === 404) this.onState("gone");
      else this.#again();
    }
  }

  #listen(url) {
    const source = new EventSource(url);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#tries = 0;
      this.onState("live");
    });
    for (const type of TYPES) {
      source.addEventListener(type, (event) => {
        // "error" is ours when it carries data; without, it is the connection's.
        if (event instanceof MessageEvent) this.#take(event);
        else this.#again();
      });
    }
    source.addEventListener("bye", () => this.#again());
  }

  #take(event) {
    this.last = event.lastEventId || this.last;
    this.onEvent({ id: Number(event.lastEventId), type: event.type, data: JSON.parse(event.data) });
  }

  #again() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.onState("waiting");
    this.#timer = setTimeout(() => this.#open(), WAITS[Math.min(this.#tries, WAITS.length - 1)]);
    this.#tries += 1;
  }
}

/** The journal's newest number, as the first frame of a session's stream tells it. */
export function headOf(sessionId) {
  return new Promise((resolve) => {
    const stream = new Stream(`/api/v1/sessions/${sessionId}/stream-ticket`, {
      onEvent: ({ id }) => finish(id),
      onState: (state) => state === "live" || finish(null),
    });
    const timer = setTimeout(() => finish(null), 4000);
    function finish(id) {
      clearTimeout(timer);
      stream.close();
      resolve(id);
    }
  });
}
