// The public API as the page calls it. The key lives in this tab only.

const KEY = "wagateway.key";

/** Calls as they were made, for whoever wants to write them down: an Event "called" with `detail`. */
export const calls = new EventTarget();

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.hint = error.details?.hint ?? "";
    this.field = error.details?.field ?? "";
  }
}

export function key() {
  return sessionStorage.getItem(KEY);
}

export function keepKey(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

/** Where a path of the gateway is, also behind a proxy that gives it a folder. */
export function address(path) {
  return new URL(path.replace(/^\//, ""), new URL(".", document.baseURI)).href;
}

/**
 * `json` or `form` is the body. `told`: whether the quick start shows this call (default: whatever changes something).
 * `accept`: another type than JSON, answered as a Blob. Rejects with ApiError; its status is 0 when nobody answered.
 */
export async function call(method, path, { json, form, accept, headers = {}, told = method !== "GET", signal } = {}) {
  if (told) calls.dispatchEvent(new CustomEvent("called", { detail: { method, path, json, form, headers, accept } }));
  const sent = { Authorization: `Bearer ${key() ?? ""}`, ...headers };
  if (json !== undefined) sent["Content-Type"] = "application/json";
  if (accept) sent.Accept = accept;
  const response = await request(address(path), {
    method, headers: sent, body: json === undefined ? form : JSON.stringify(json), signal, cache: "no-store",
    credentials: "omit",
  });
  if (accept && response.ok) return response.blob();
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    const error = new ApiError(response.status, body?.error ?? { code: "no_answer", message: `The gateway answered ${response.status}.` });
    if (error.status === 401) calls.dispatchEvent(new CustomEvent("refused"));
    throw error;
  }
  return body;
}

async function request(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "unreachable", message: "The gateway does not answer. Is it running?" });
  }
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, json = undefined, options = {}) => call("POST", path, { json, ...options });
export const patch = (path, json) => call("PATCH", path, { json });
export const remove = (path, options) => call("DELETE", path, options);

/** Gives Idempotency-Keys: for the same `asked` the same one, so that what is pressed again after an answer was lost is sent once. */
export function repeatable() {
  let last = null;
  let text = "";
  return (...asked) => {
    const now = JSON.stringify(asked);
    if (now !== last) [last, text] = [now, randomKey()];
    return text;
  };
}

/** `crypto.randomUUID` would need https or localhost. */
function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
