// Numbers and times for people.

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", Infinity]];

export function clock(iso) {
  return CLOCK.format(new Date(iso));
}

export function time(iso) {
  return TIME.format(new Date(iso));
}

/** The time today, the date before. */
export function when(iso) {
  if (!iso) return "never";
  const then = new Date(iso);
  return then.toDateString() === new Date().toDateString() ? TIME.format(then) : DAY.format(then);
}

export function ago(iso) {
  let amount = (new Date(iso) - Date.now()) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) return RELATIVE.format(Math.round(amount), unit);
    amount /= size;
  }
  return "";
}

/** Seconds as 1:05. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** From one moment to the next: +340 ms, +2.1 s, +4 min. */
export function lapse(from, to) {
  const ms = new Date(to) - new Date(from);
  if (ms <= 0) return "< 1 s";                  // WhatsApp's receipts count whole seconds
  if (ms < 1000) return `+${ms} ms`;
  if (ms < 60_000) return `+${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `+${Math.round(ms / 60_000)} min`;
  return `+${(ms / 3_600_000).toFixed(1)} h`;
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(bytes < 10240 ? 1 : 0)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

/** Who a message is to or from. */
export function party(message) {
  if (message.direction === "in") return message.push_name || short(message.from);
  return message.toPhone || short(message.to);
}

/** A JID as people say it. */
export function short(jid) {
  if (!jid) return "unknown";
  const [user, server] = jid.split("@");
  if (server === "s.whatsapp.net") return `+${user.split(":")[0]}`;
  return server === "g.us" ? `group ${user.slice(-6)}` : user;
}

export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
