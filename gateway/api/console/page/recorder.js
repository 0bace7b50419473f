// The microphone: what the browser records, and how loud it is meanwhile.

const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4", ""];
const LEVELS = 48;

/** Why this browser cannot record here; "" when it can. */
export function cannotRecord() {
  if (!window.isSecureContext) return "Recording needs https, or the page opened as localhost.";
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return "This browser cannot record.";
  return "";
}

/**
 * Begins to record. `onLevels(values, seconds)` is told of the last loudness values (0..1) as they come. Rejects when the
 * microphone is refused. Returns {stop(): Promise<Blob>, cancel()}.
 */
export async function record(onLevels) {
  // As a phone records: the browser's own noise gate would swallow soft starts of words.
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: true, autoGainControl: true } });
  const mimeType = TYPES.find((type) => !type || MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(stream, mimeType ? { mimeType, audioBitsPerSecond: 64_000 } : {});
  const parts = [];
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  const ended = new Promise((resolve) => recorder.addEventListener("stop", resolve));
  const stopMetering = meter(stream, onLevels);
  recorder.start();

  async function end() {
    if (recorder.state !== "inactive") recorder.stop();
    await ended;
    stopMetering();
    stream.getTracks().forEach((track) => track.stop());
  }
  return {
    async stop() {
      await end();
      return new Blob(parts, { type: recorder.mimeType });
    },
    cancel: end,
  };
}

function meter(stream, onLevels) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const levels = new Array(LEVELS).fill(0);
  const began = performance.now();
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const rms = Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
    levels.push(Math.min(1, Math.sqrt(rms) * 1.6));
    levels.shift();
    onLevels(levels, (performance.now() - began) / 1000);
  }, 70);
  return () => {
    clearInterval(timer);
    context.close();
  };
}
