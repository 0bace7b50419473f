// The key, entered once and kept for the tab.

import { keepKey } from "./api.js";
import { field, h } from "./dom.js";
import { icon, mark } from "./icons.js";

export function signIn(problem, entered) {
  const input = h("input.mono", { type: "password", name: "key", required: true, autocomplete: "current-password", spellcheck: "false",
    autocapitalize: "off", placeholder: "wag_…" });
  const reveal = h("button.ghost.square", { type: "button", "aria-label": "Show the key", "aria-pressed": "false", onclick() {
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    reveal.setAttribute("aria-pressed", String(shown));
  } }, icon("eye"));
  const form = h("form.signin", { onsubmit(event) {
    event.preventDefault();
    keepKey(input.value.trim());
    entered();
  } },
  mark(44),
  h("h1", "wagateway"),
  h("p.lead", "Link a phone, send voice notes, watch what happens."),
  problem ? h("p.note.bad", { role: "alert" }, icon("warn"), problem) : null,
  // For password keepers: what the key is filed under.
  h("input", { type: "text", name: "username", autocomplete: "username", value: "wagateway", hidden: true }),
  field("API key", input),
  reveal,
  h("button.primary.large", { type: "submit" }, "Open the console"),
  h("details", h("summary", "Where do I get a key?"),
    h("p", "On the machine where the gateway runs:"),
    h("pre.mono", { tabindex: 0 }, "wagateway keys create \"my console\" --scope admin"),
    h("p", "It is shown once. This page keeps it in this tab only, and forgets it when the tab closes.")));
  return h("main.welcome", form);
}
