// A text, written by hand: to try a session, or to answer.

import { post, repeatable } from "./api.js";
import { attempt, dialog, toast } from "./dialogs.js";
import { field, h, option } from "./dom.js";
import { icon } from "./icons.js";
import { putMessage, store } from "./store.js";

export function writeDialog() {
  const connected = [...store.sessions.values()].filter((session) => session.jid);
  const from = h("select", { required: true }, connected.map((session) => option(session.id, session.name || session.session_key)));
  const to = h("input", { type: "tel", required: true, placeholder: "+44 7700 900123", autocomplete: "off" });
  const text = h("textarea", { rows: 5, required: true, maxlength: 65536 });
  const keyOf = repeatable();
  const form = h("form.stack", { onsubmit(event) {
    event.preventDefault();
    attempt(async () => {
      const body = { to: to.value.replace(/[\s()-]/g, ""), message: text.value, session: from.value };
      putMessage(await post("/api/v1/messages", body, { headers: { "Idempotency-Key": keyOf(body) } }));
      toast("Accepted.");
      shown.close();
    });
  } },
  connected.length ? null : h("p.note.bad", icon("warn"), "Link a phone first."),
  h("div.pair", field("From", from), field("To", to)), field("Text", text),
  h("footer", h("button.primary", { type: "submit", disabled: !connected.length }, icon("send", 16), "Send")));
  const shown = dialog("Write", form);
  to.focus();
}
