// Things over the page: toasts, questions, and the frame of every dialog.

import { ApiError } from "./api.js";
import { h, newId } from "./dom.js";
import { icon } from "./icons.js";

/** A short word at the edge of the page. `kind`: good, bad or info. */
export function toast(text, kind = "good") {
  const toasts = document.getElementById("toasts");
  const shown = h("div.toast", { class: kind }, icon(kind === "bad" ? "warn" : kind === "good" ? "check" : "info"), h("p", text));
  for (const before of [...toasts.children]) if (before.textContent === text) before.remove();
  toasts.append(shown);
  if (toasts.showPopover) {                     // above a dialog that was opened since
    if (toasts.matches(":popover-open")) toasts.hidePopover();
    toasts.showPopover();
  }
  setTimeout(() => shown.remove(), kind === "bad" ? 9000 : 4000);
}

/** Runs `work`; what fails is told. Returns what it returned, or undefined. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // A hint at a field is for programs: here the sentence names it already.
    toast(error.hint && !error.field ? `${error.message} ${error.hint}` : error.message, "bad");
    return undefined;
  }
}

/** In the place of what could not be read. When the gateway is back, the view is shown anew. */
export function unread(error) {
  return h("p.note.bad.unread", { role: "alert" }, icon("warn"), error.message);
}

/** A button that cannot be pressed twice while its work goes on. */
export function busyButton(spec, attributes, work, ...children) {
  const button = h(spec, { type: "button", ...attributes, async onclick(event) {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      await attempt(() => work(event));
    } finally {
      button.removeAttribute("aria-busy");
    }
  } }, children);
  return button;
}

/** A modal dialog, open; it leaves the page when it closes. Escape and the cross close it. */
export function dialog(title, content, { wide = false, onclose = () => {} } = {}) {
  const heading = h("h2", { id: newId("title") }, title);
  const shown = h("dialog", { "aria-labelledby": heading.id, class: wide ? "wide" : "" },
    h("header", heading, h("button.ghost.square", { type: "button", "aria-label": "Close", onclick: () => shown.close() }, icon("close"))),
    h("div.body", content));
  shown.addEventListener("close", () => {
    shown.remove();
    onclose();
  });
  document.body.append(shown);
  shown.showModal();
  return shown;
}

/** Asks before something that cannot be taken back. Resolves to true when it may go on. */
export function confirm(title, text, yes) {
  return new Promise((resolve) => {
    let answer = false;
    const cancel = h("button", { type: "button", onclick: () => shown.close() }, "Cancel");
    const go = h("button.danger", { type: "button", onclick() {
      answer = true;
      shown.close();
    } }, yes);
    const shown = dialog(title, [h("p", text), h("footer", cancel, go)], { onclose: () => resolve(answer) });
    cancel.focus();
  });
}

export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    toast(what);
  } catch {
    // No clipboard without https or localhost: a field to copy from by hand.
    const area = h("textarea.mono", { readOnly: true, rows: 8, "aria-label": "Text to copy" });
    area.value = text;
    dialog("Copy", area);
    area.select();
  }
}

/** A secret that is shown this once. */
export function showOnce(title, text, secret) {
  dialog(title, [h("p", text), h("div.secret", h("code", { tabindex: 0 }, secret),
    h("button.ghost.square", { type: "button", "aria-label": "Copy", onclick: () => copy(secret) }, icon("copy")))]);
}
