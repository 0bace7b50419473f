// What the gateway makes of a sound, without sending it: waveform, seconds, warnings, the note itself.

import { call } from "./api.js";

const BARS = 64;

/**
 * {waveform, seconds, report, audio}: the voice-note doctor's answer, `audio` the note as it would be sent. A gateway without
 * that endpoint: the browser's own look at the sound, `report` null. Rejects with what is wrong with the file.
 */
export async function inspect(file) {
  try {
    const report = await call("POST", "/api/v1/voice/inspect", { form: form(file) });
    const audio = await call("POST", "/api/v1/voice/inspect", { form: form(file), accept: "audio/ogg", told: false });
    return { waveform: report.waveform, seconds: report.seconds, report, audio };
  } catch (error) {
    if (![404, 405, 501].includes(error.status)) throw error;
    return { ...await listen(file), report: null, audio: file };
  }
}

function form(file) {
  const fields = new FormData();
  fields.append("file", file, file.name || "recording.webm");
  return fields;
}

async function listen(file) {
  const context = new OfflineAudioContext(1, 1, 16_000);
  let sound;
  try {
    sound = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error("This browser cannot decode the file, and the gateway has no doctor for it. It can be sent all the same.");
  }
  const samples = sound.getChannelData(0);
  const width = Math.max(1, Math.floor(samples.length / BARS));
  const levels = Array.from({ length: BARS }, (_, bar) => {
    let sum = 0;
    for (let i = bar * width; i < (bar + 1) * width && i < samples.length; i += 1) sum += samples[i] * samples[i];
    return Math.sqrt(sum / width);
  });
  const loudest = Math.max(...levels) || 1;
  return { waveform: levels.map((level) => Math.round((level / loudest) * 100)), seconds: Math.max(1, Math.round(sound.duration)) };
}
