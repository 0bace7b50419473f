// Webhooks: who is told, what was delivered, and what waits to be told again.

import { get, post, query, remove } from "./api.js";
import { attempt, busyButton, confirm, dialog, showOnce, toast, unread } from "./dialogs.js";
import { field, h, option, show } from "./dom.js";
import { when } from "./format.js";
import { icon } from "./icons.js";
import { TYPES } from "./stream.js";
import { bus, sessionName, store } from "./store.js";

export const title = "Webhooks";
export const label = "Webhooks";
export const glyph = "hook";
export const example = () => ({ method: "POST", path: "/api/v1/webhooks", json: { url: "https://example.com/hook", types: ["message", "receipt"] } });

const TONES = { delivered: "good", waiting: "busy", parked: "bad" };

export function mount(signal) {
  const hooks = h("div.cards");
  const deliveries = h("tbody");
  const filter = h("select", { "aria-label": "Status", onchange: () => attempt(loadDeliveries) }, option("", "Any status"),
    Object.keys(TONES).map((word) => option(word, word)));
  const more = busyButton("button", { hidden: true }, () => loadDeliveries(cursor), "Show older ones");
  const body = h("div.stack", hooks,
    h("section.card", h("header", h("h2", "Deliveries"), h("div.row", filter,
      busyButton("button.ghost.square", { "aria-label": "Read again", title: "Read again" }, () => loadDeliveries(), icon("refresh")),
      mayWrite() ? busyButton("button", {}, replayParked, icon("refresh", 16), "Replay parked") : null)),
    h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Deliveries" }, h("table", h("thead", h("tr", ["Event", "To", "Status", "Tries", "Last answer", "When", ""].map((name) => h("th", { scope: "col" }, name)))), deliveries)),
    h("div.centre", more)));
  let urls = new Map();
  let cursor = null;

  async function load() {
    const { webhooks } = await get("/api/v1/webhooks");
    urls = new Map(webhooks.map((hook) => [hook.id, hook.url]));
    show(hooks, webhooks.length ? webhooks.map((hook) => card(hook, load)) : h("section.empty", icon("hook", 44), h("h2", "Nobody is told yet"),
      h("p", "A webhook gets every event as a signed POST. A receiver that was down loses nothing.")));
    await loadDeliveries();
  }

  async function loadDeliveries(from = "") {
    const answer = await get(`/api/v1/webhooks/deliveries${query({ status: filter.value, limit: 50, cursor: from })}`);
    cursor = answer.next_cursor ?? null;
    more.hidden = cursor === null;
    const rows = answer.deliveries.map((delivery) => row(delivery, urls, loadDeliveries));
    if (from) deliveries.append(...rows);
    else show(deliveries, rows.length ? rows : h("tr", h("td.muted", { colspan: 7 }, "Nothing was delivered yet.")));
  }

  async function replayParked() {
    const { replayed } = await post("/api/v1/webhooks/deliveries/replay", { all: true });
    toast(replayed === 1 ? "One delivery waits again." : `${replayed} deliveries wait again.`);
    await loadDeliveries();
  }

  load().catch((error) => show(body, error.status === 404
    ? h("section.empty", icon("hook", 44), h("h2", "No webhooks here"), h("p", "This gateway does not offer webhooks in its API."))
    : unread(error)));
  let pending = null;
  bus.addEventListener("event", () => {
    pending ??= setTimeout(() => {
      pending = null;
      if (!signal.aborted && !cursor) loadDeliveries().catch(() => {});
    }, 1500);
  }, { signal });
  return [h("div.heading", h("div", h("h1", "Webhooks"), h("p.lead", "Signed, in order, tried six times, then parked until you replay them.")),
    mayWrite() ? h("button.primary", { type: "button", onclick: () => addDialog(load) }, icon("plus"), "Add") : null), body];
}

function mayWrite() {
  return ["admin", "full"].includes(store.me.scope);
}

function card(hook, reload) {
  return h("article.card", { "aria-label": hook.url }, h("header", h("span.portrait", icon("hook", 22)),
    h("div.names", h("h2.mono.small", hook.url), h("p", hook.session ? `of ${sessionName(hook.session)}` : "all sessions"))),
  h("p.tags", hook.types?.length ? hook.types.map((type) => h("span.tag", { class: `type-${type}` }, type)) : h("span.tag", "everything but linking codes")),
  hook.failing_since ? h("p.note.bad", icon("warn"), `Has taken nothing since ${when(hook.failing_since)}. Nothing is lost: see that it answers 2xx within ten seconds.`) : null,
  h("dl.facts", h("div", h("dt", "Waiting"), h("dd", hook.waiting)), h("div", h("dt", "Parked"), h("dd", hook.parked)), h("div", h("dt", "Since"), h("dd", when(hook.created_at)))),
  mayWrite() ? h("footer", busyButton("button.ghost.danger.last", { "aria-label": `Remove ${hook.url}` }, async () => {
    if (!await confirm("Remove this webhook?", `${hook.url} is told nothing any more, and its deliveries are forgotten.`, "Remove")) return;
    await remove(`/api/v1/webhooks/${hook.id}`);
    await reload();
  }, icon("trash", 16), "Remove")) : null);
}

function row(delivery, urls, reload) {
  const { id, status } = delivery;
  return h("tr", h("td", h("span.tag", { class: `type-${delivery.type ?? "status"}` }, delivery.type ?? "event"), ` #${delivery.seq}`),
    h("td.mono.clip", urls.get(delivery.webhook) ?? ""), h("td", h("span.pill", { class: TONES[status] }, h("i"), status)), h("td", delivery.attempts),
    h("td.clip", delivery.last_error || delivery.last_status || ""), h("td", when(delivery.delivered_at ?? delivery.created_at)),
    h("td", mayWrite() ? busyButton("button.ghost", { "aria-label": `Replay delivery ${id}` }, async () => {
      await post(`/api/v1/webhooks/deliveries/${id}/replay`);
      toast("It is delivered again.");
      await reload();
    }, icon("refresh", 16), "Replay") : null));
}

function addDialog(reload) {
  const url = h("input", { type: "url", required: true, placeholder: "https://example.com/hook" });
  const session = h("select", option("", "All sessions"), [...store.sessions.values()].map((one) => option(one.id, one.name || one.session_key)));
  const types = h("fieldset.chips", h("legend", "Events (none chosen: all but the linking codes)"), TYPES.map((type) => h("label.chip", { class: `type-${type}` },
    h("input.unseen", { type: "checkbox", name: "type", value: type }), type)));
  const form = h("form.stack", { onsubmit(event) {
    event.preventDefault();
    attempt(async () => {
      const made = await post("/api/v1/webhooks", { url: url.value, types: new FormData(form).getAll("type"), ...(session.value ? { session: session.value } : {}) });
      shown.close();
      if (made.secret) showOnce("The webhook's secret", "Every delivery is signed with it (HMAC-SHA256). It is shown this once.", made.secret);
      await reload();
    });
  } }, field("URL", url), field("Of", session), types, h("footer", h("button.primary", { type: "submit" }, "Add the webhook")));
  const shown = dialog("Add a webhook", form);
  url.focus();
}
