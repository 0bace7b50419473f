// Keys and usage.

import { get, post, remove } from "./api.js";
import { attempt, busyButton, confirm, dialog, showOnce, unread } from "./dialogs.js";
import { field, h, option, show } from "./dom.js";
import { when } from "./format.js";
import { icon } from "./icons.js";
import { store } from "./store.js";

export const title = "Keys and usage";
export const label = "Keys";
export const glyph = "key";
export const example = () => ({ method: "POST", path: "/api/v1/keys", json: { name: "my shop", scope: "send" } });

const SCOPES = { admin: "everything, and other keys", full: "sessions, sending, webhooks", send: "sending and reading", read: "reading only" };

export function mount() {
  const usage = h("div.tiles");
  const keys = h("div");
  const admin = store.me.scope === "admin";
  const load = async () => {
    drawUsage(usage, await get("/api/v1/usage"));
    if (admin) drawKeys(keys, (await get("/api/v1/keys")).keys, load);
  };
  load().catch((error) => show(usage, unread(error)));
  if (!admin) show(keys, h("p.note", icon("info"), "Keys are kept with a key of scope ‘admin’."));
  return [h("div.heading", h("div", h("h1", "Keys and usage"), h("p.lead", `This tab uses a key of scope ‘${store.me.scope}’, plan ‘${store.me.plan}’.`)),
    admin ? h("button.primary", { type: "button", onclick: () => attempt(async () => newKey((await get("/api/v1/keys")).keys, load)) }, icon("plus"), "New key") : null), usage, keys];
}

function drawUsage(element, usage) {
  const month = usage.messages_month;
  show(element, tile("Messages today", usage.messages_today), tile("Messages this month", month, `${month.delivered} delivered, ${month.failed} failed`),
    tile("Sessions", usage.sessions), tile("Requests a minute", { limit: usage.requests_per_minute.limit,
      used: usage.requests_per_minute.limit ? usage.requests_per_minute.limit - usage.requests_per_minute.remaining : null }));
}

function tile(name, { used, limit }, more = "") {
  return h("section.tile", h("h2", name), h("p.number", used, h("small", limit ? ` of ${limit}` : used === null ? "no limit" : " · no limit")),
    limit ? h("meter", { min: 0, max: limit, high: limit * 0.8, value: used, "aria-label": name }) : null, more ? h("p.hint", more) : null);
}

function drawKeys(element, keys, reload) {
  const now = valid(keys);
  const first = new Map(keys.map((key) => [key.id, key.name]));
  show(element, h("section.card", h("h2", "API keys"), h("div.scroll", { tabindex: 0, role: "region", "aria-label": "API keys" }, h("table",
    h("thead", h("tr", ["Name", "Scope", "Plan", "Shares", "Made", "Last used", ""].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", now.map((key) => h("tr", h("td", h("strong", key.name)), h("td", h("span.tag", key.scope)), h("td", key.plan),
      h("td", key.owner === key.id ? "–" : `sessions of ${first.get(key.owner) ?? key.owner}`),
      h("td", when(key.created_at)), h("td", when(key.last_used_at)), h("td.acts",
        busyButton("button.ghost", { "aria-label": `Rotate ${key.name}` }, () => rotate(key, reload), icon("refresh", 16), "Rotate"),
        busyButton("button.ghost.danger", { "aria-label": `Revoke ${key.name}` }, () => revoke(key, reload), icon("trash", 16), "Revoke")))))))));
}

const valid = (keys) => keys.filter((key) => !key.revoked_at);

function newKey(keys, reload) {
  const name = h("input", { required: true, maxlength: 100, autocomplete: "off", placeholder: "my shop" });
  const scope = h("select", Object.entries(SCOPES).map(([word, meaning]) => option(word, `${word}: ${meaning}`, word === "full")));
  const shares = h("select", option("", "none yet: it links its own", true), valid(keys).map((key) => option(key.id, `those of ‘${key.name}’`, false)));
  const plan = h("input", { required: true, value: store.me.plan, autocomplete: "off" });
  const form = h("form.stack", { onsubmit(event) {
    event.preventDefault();
    attempt(async () => {
      const made = await post("/api/v1/keys", { name: name.value, scope: scope.value, plan: plan.value, shares: shares.value });
      shown.close();
      showOnce(`The key ‘${made.name}’`, "Keep it now: it is shown this once, the gateway holds only its hash.", made.key);
      await reload();
    });
  } }, field("Name", name), field("Scope", scope), field("Its sessions", shares), field("Plan", plan, "As named in the settings."), h("footer", h("button.primary", { type: "submit" }, "Make the key")));
  const shown = dialog("New key", form);
  name.focus();
}

async function rotate(key, reload) {
  const made = await post(`/api/v1/keys/${key.id}/rotate`);
  showOnce(`A second key for ‘${key.name}’`, "It sees the same sessions. Move your programs to it, then revoke the old one.", made.key);
  await reload();
}

async function revoke(key, reload) {
  if (!await confirm(`Revoke ‘${key.name}’?`, "Programs that use it are refused from now on. This cannot be undone.", "Revoke")) return;
  await remove(`/api/v1/keys/${key.id}`);
  await reload();
}
