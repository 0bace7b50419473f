// One session's own settings. What is left empty is the gateway's.

import { patch } from "./api.js";
import { attempt, dialog, toast } from "./dialogs.js";
import { field, h, option } from "./dom.js";
import { putSession } from "./store.js";

export function settingsDialog(session) {
  const own = session.settings;
  // What is in force where the session says nothing is the gateway's; where it does, that is not known here.
  const usual = (name) => (name in own ? "as the gateway" : `${session.pacing[name] || "none"} (the gateway's)`);
  const number = (name, step) => h("input", { type: "number", min: 0, step, inputmode: "decimal", placeholder: usual(name), value: own[name] ?? "" });
  const name = h("input", { maxlength: 200, autocomplete: "off", placeholder: session.session_key, value: session.name });
  const hourly = number("messages_per_hour", 1);
  const gap = number("min_gap_seconds", "any");
  const quiet = h("input", { autocomplete: "off", pattern: "[0-9]{1,2}:[0-9]{2}-[0-9]{1,2}:[0-9]{2}|none", placeholder: usual("quiet_hours"),
    value: own.quiet_hours === "" ? "none" : own.quiet_hours ?? "" });
  const shown = choice(own.recording_presence ?? "", [["", `as the gateway${"recording_presence" in own ? "" : session.pacing.recording_presence ? ": yes" : ": no"}`],
    [true, "yes"], [false, "no"]]);
  const online = choice(own.presence ?? "", [["", "offline: the phone keeps notifying"], ["available", "online"]]);

  const form = h("form.stack", { onsubmit(event) {
    event.preventDefault();
    attempt(async () => {
      putSession(await patch(`/api/v1/sessions/${session.id}`, { name: name.value.trim(), settings: {
        messages_per_hour: numberOf(hourly), min_gap_seconds: numberOf(gap),
        quiet_hours: quiet.value.trim() === "none" ? "" : quiet.value.trim() || null,
        recording_presence: shown.value === "" ? null : shown.value === "true", presence: online.value || null } }));
      toast("Saved.");
      box.close();
    });
  } },
  field("Name", name),
  field("Messages an hour", hourly, "0: no limit. What is above it waits."),
  field("Seconds between messages", gap),
  field("Quiet hours", quiet, "As 22:00-07:00, in the gateway's time; messages wait until they are over. ‘none’ for none."),
  field("Show ‘recording…’ or ‘typing…’ first", shown),
  field("Show this account as", online),
  h("footer", h("button.primary", { type: "submit" }, "Save")));
  const box = dialog(`Settings of ${session.name || session.session_key}`, form);
}

function choice(now, words) {
  return h("select", words.map(([value, text]) => option(String(value), text, value === now)));
}

const numberOf = (input) => (input.value === "" ? null : Number(input.value));
