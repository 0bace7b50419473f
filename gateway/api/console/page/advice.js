// From what the API says to what a person can do about it.

import { when } from "./format.js";

const ACTIONS = {
  scan_qr: "On the phone: WhatsApp › Settings › Linked devices › Link a device. Then point it at the code.",
  enter_code: "On the phone: WhatsApp › Linked devices › Link a device › Link with phone number. Then type the code.",
  check_network: "Check that this machine reaches web.whatsapp.com, or its proxy. The gateway goes on trying by itself.",
  connect: "Press Connect when it should go on.",
  stop_the_other_program: "Stop the other program that uses this session's keys, then press Connect.",
  relink: "Relink it: show a fresh code and scan it with the phone.",
  wait: "Wait until the ban ends. Sending more, or linking again, makes it longer.",
  update_the_gateway: "Update the gateway: WhatsApp moved on and this version's core is too old for it.",
  link_with_phone_settings_changed: "On the phone, remove the passkey (Settings › Account › Passkeys), then relink.",
  look_at_the_disk: "Look at the disk that holds the gateway's state: full, or read-only? The gateway goes on by itself when it can write.",
  see_log: "Look at the daemon's log: it has what WhatsApp said.",
  restore_or_relink: "Restore the session's file from a backup, or relink.",
  relink_or_force: "Relink; or, to use the restored keys anyhow, set whatsapp.accept_stale_restore.",
};

/** What to do about a session's state; "" when nothing is to be done. */
export function advice(session) {
  if (session.action === "wait" && session.until) return `Wait until ${when(session.until)}. Sending more, or linking again, makes it longer.`;
  return ACTIONS[session.action] ?? "";
}

const TONES = { connected: "good", pending: "busy", disconnected: "busy", qr_expired: "idle", logged_out: "bad", banned: "bad", failed: "bad" };
const NAMES = { connected: "Connected", pending: "Linking", disconnected: "Reconnecting", qr_expired: "Code expired", logged_out: "Logged out",
  banned: "Banned", failed: "Failed" };

export function tone(session) {
  return isStopped(session) ? "idle" : TONES[session.status];
}

export function stateName(session) {
  if (session.reason === "stopped") return "Stopped";
  if (session.reason === "stream_replaced") return "Replaced";
  return NAMES[session.status] ?? session.status;
}

export function isStopped(session) {
  return session.status === "disconnected" && ["stopped", "stream_replaced"].includes(session.reason);
}

const FAILURES = {
  not_on_whatsapp: "Check the number: country code, no leading zero. If it is right, this person does not use WhatsApp.",
  send_unconfirmed: "It may have arrived: ask, or look at the phone, before you send it again.",
  send_failed: "WhatsApp refused it. Resend once; if it fails again, look at the daemon's log.",
  upload_failed: "WhatsApp's media server did not take the file. Resend in a minute.",
  account_restricted: "WhatsApp lets this account write in existing chats only, for now. Wait, then resend.",
  session_gone: "The phone was unlinked before it left. Relink the session, then resend.",
  session_not_connected: "Link the session again, then resend.",
  expired: "It waited too long. See why the session was not connected, then resend.",
  fetch_failed: "Open the URL in a browser: it must answer without a login. Then send again.",
  fetch_forbidden: "The URL leads into a private network. Allow that network in [fetch] allow_networks, or upload the file.",
  fetch_timeout: "The server behind the URL is too slow. Upload the file instead.",
  fetch_too_large: "Make the file smaller, or raise the limit in the settings.",
  not_audio: "Give an audio or video file: MP3, M4A, WAV, FLAC, OGG, WebM, AMR, 3GP, MP4.",
  no_audio: "The file has no sound in it. Choose another.",
  damaged: "The file is damaged. Export it again from where it was made.",
  protected: "The file is copy-protected (DRM). Use an unprotected one.",
  too_long: "Cut it shorter, or raise audio.max_seconds in the settings.",
  too_large: "Make it smaller, or raise the limit in the settings.",
  internal_error: "The daemon's log has the details.",
};

/** What to do about a message that failed. */
export function remedy(error, otherwise = "Look at the daemon's log, then resend.") {
  return FAILURES[error.code] ?? otherwise;
}

const STAGES = { queued: "waits in the outbox", preparing: "is being prepared", waiting: "waits for its turn (pacing)",
  sending: "is being handed to WhatsApp", unconfirmed: "was handed over, not confirmed yet" };

/** Where a pending message is. */
export function stageText(message) {
  return STAGES[message.stage] ?? message.stage;
}

export function statusName(message) {
  return message.direction === "in" ? "received" : message.status;
}
