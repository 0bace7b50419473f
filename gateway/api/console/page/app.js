// The frame of the page: sign in, the views, the theme, how the connection stands.

import { calls, get, keepKey, key } from "./api.js";
import { h, show } from "./dom.js";
import { icon, mark } from "./icons.js";
import { quickStart } from "./quickstart.js";
import { signIn } from "./signin.js";
import * as state from "./store.js";
import * as access from "./access.js";
import * as events from "./events.js";
import * as messages from "./messages.js";
import * as sessions from "./sessions.js";
import * as voice from "./voice.js";
import * as webhooks from "./webhooks.js";

const VIEWS = { sessions, voice, messages, events, webhooks, access };
const THEMES = ["auto", "light", "dark"];
const app = document.getElementById("app");
let leave = null;                       // ends the view that is shown

async function start() {
  if (!key()) return showSignIn();
  try {
    const me = await get("/api/v1/usage");
    showFrame(me);
    await state.open(me);
  } catch (error) {
    showSignIn(error.status === 401 ? "That key is not valid here (any more)." : error.message);
    return undefined;
  }
  return showView();
}

function showSignIn(problem = "") {
  leave?.abort();
  state.close();
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  show(app, signIn(problem, start));
}

function signOut() {
  keepKey(null);
  quickStart.close();
  showSignIn();
}

calls.addEventListener("refused", () => {
  if (!app.querySelector("main")) return;
  keepKey(null);
  showSignIn("That key is not valid here any more.");
});

// ------------------------------------------------------------------ the frame

function showFrame(me) {
  const live = h("span.live", { role: "status", dataset: { state: "waiting" } }, h("i"), h("span", "Connecting…"));
  state.bus.addEventListener("live", ({ detail }) => showLive(live, detail));
  const links = Object.entries(VIEWS).map(([name, { label, glyph }]) =>
    h("a", { href: `#/${name}`, title: label, dataset: { view: name } }, icon(glyph, 20), h("span", label)));
  show(app, h("div.frame",
    h("header.top",
      h("a.brand", { href: "#/sessions", "aria-label": "wagateway, sessions" }, mark(), h("span", "wagateway")),
      live,
      h("div.tools",
        h("span.who", { title: `Plan ${me.plan}` }, icon("key", 15), `${me.scope} key`),
        h("button.ghost", { type: "button", id: "code-button", "aria-label": "Code: the quick start", "aria-expanded": "false", "aria-controls": "code",
          onclick: () => quickStart.toggle() }, icon("code"), h("span", "Code")),
        themeButton(),
        h("button.ghost.square", { type: "button", "aria-label": "Sign out", title: "Sign out", onclick: signOut }, icon("leave")))),
    h("nav.side", { "aria-label": "Console" }, links),
    h("main", { id: "main", tabindex: -1 }, h("p.loading", "Loading…")),
    quickStart.element));
}

function showLive(live, word) {
  live.dataset.state = word;
  if (word === "live" && app.querySelector("main .unread")) showView();
  live.lastChild.textContent = { live: "Live", waiting: "Reconnecting…", gone: "Signed out" }[word];
}

function themeButton() {
  const button = h("button.ghost.square", { type: "button", onclick() {
    const next = THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length];
    if (next === "auto") {
      localStorage.removeItem("wagateway.theme");
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem("wagateway.theme", next);
      document.documentElement.dataset.theme = next;
    }
    label();
  } });
  function chosen() {
    return document.documentElement.dataset.theme ?? "auto";
  }
  function label() {
    const text = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" }[chosen()];
    button.setAttribute("aria-label", text);
    button.title = text;
    show(button, icon(chosen() === "dark" ? "moon" : "sun"), chosen() === "auto" ? h("sup", "A") : null);
  }
  label();
  return button;
}

// ------------------------------------------------------------------ the views

function showView() {
  const main = document.getElementById("main");
  if (!main || !state.store.me) return;
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const view = VIEWS[name] ?? sessions;
  leave?.abort();
  leave = new AbortController();
  for (const link of app.querySelectorAll("nav.side a")) {
    if (VIEWS[link.dataset.view] === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view.title} · wagateway`;
  quickStart.suggest(view.example?.());
  show(main, view.mount(leave.signal, rest.map(decodeURIComponent)));
  main.scrollTo(0, 0);
}

addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#/")) return;      // the skip link
  showView();
  document.getElementById("main")?.focus({ preventScroll: true });
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main")?.focus();
});

start();
