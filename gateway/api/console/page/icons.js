// Line icons on a 24 px grid, drawn in the colour of the text around them.

import { svg } from "./dom.js";

const SHAPES = {
  phone: ["M8 2.5h8a1.5 1.5 0 0 1 1.5 1.5v16a1.5 1.5 0 0 1-1.5 1.5H8A1.5 1.5 0 0 1 6.5 20V4A1.5 1.5 0 0 1 8 2.5z", "M10.5 18.5h3"],
  mic: ["M12 3a3 3 0 0 1 3 3v6a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3z", "M5.5 11.5a6.5 6.5 0 0 0 13 0", "M12 18v3"],
  chat: ["M4 5h16v11.5H9.5L5 20.5v-4H4z", "M8 9.5h8", "M8 12.5h5"],
  pulse: ["M2.5 12h4.5l3-8 4.5 16 3-8h4"],
  hook: ["M12 3.5v9.2", "M12 12.7a4.2 4.2 0 1 1-6.6-1.2", "M16.5 6.8 12 3.2 7.5 6.8"],
  key: ["M8 8.2a3.8 3.8 0 1 1 0 7.6 3.8 3.8 0 0 1 0-7.6z", "M11.8 12H21.5v3.5", "M17.5 12v3"],
  code: ["m8.5 7-5 5 5 5", "m15.5 7 5 5-5 5", "m13.5 4.5-3 15"],
  sun: ["M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8z", "M12 2.5v2", "M12 19.5v2", "M2.5 12h2", "M19.5 12h2", "m5.3 5.3 1.4 1.4", "m17.3 17.3 1.4 1.4", "m18.7 5.3-1.4 1.4", "m6.7 17.3-1.4 1.4"],
  moon: ["M20 14.2A8.2 8.2 0 0 1 9.8 4 8.2 8.2 0 1 0 20 14.2z"],
  sliders: ["M4 7h9", "M17 7h3", "M15 5v4", "M4 12h3", "M11 12h9", "M9 10v4", "M4 17h9", "M17 17h3", "M15 15v4"],
  close: ["m6 6 12 12", "M18 6 6 18"],
  check: ["m4.5 12.5 5 5 10-11"],
  plus: ["M12 5v14", "M5 12h14"],
  trash: ["M4 7h16", "M9 7V4.5h6V7", "m6 7 1 13h10l1-13", "M10 11v5.5", "M14 11v5.5"],
  refresh: ["M19.5 12a7.5 7.5 0 1 1-2.4-5.5", "M20 3v4.5h-4.5"],
  power: ["M12 3v8", "M7 6.2a7.5 7.5 0 1 0 10 0"],
  copy: ["M8.5 8.5h11v11h-11z", "M15.5 8.5v-4h-11v11h4"],
  warn: ["M12 4 2.8 20h18.4z", "M12 10v4.5", "M12 17.2v.1"],
  info: ["M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z", "M12 11v5", "M12 8v.1"],
  upload: ["M12 15.5V4", "m7.5 8.5 4.5-4.5 4.5 4.5", "M4 15.5V20h16v-4.5"],
  download: ["M12 4v11.5", "m7.5 11 4.5 4.5L16.5 11", "M4 15.5V20h16v-4.5"],
  eye: ["M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z", "M12 9.3a2.7 2.7 0 1 1 0 5.4 2.7 2.7 0 0 1 0-5.4z"],
  leave: ["M14 4H5v16h9", "M10.5 12H21", "m17 8 4 4-4 4"],
  clock: ["M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z", "M12 7.5V12l3 2"],
  send: ["M3.5 4.5 21 12 3.5 19.5l2.5-7.5z", "M6 12h7"],
  qr: ["M4 4h6v6H4z", "M14 4h6v6h-6z", "M4 14h6v6H4z", "M14 14h2.5v2.5H14z", "M19.9 14v.1", "M17.5 19.9h2.5V17.5", "M14 19.9v.1"],
  chevron: ["m9 5.5 6.5 6.5L9 18.5"],
  search: ["M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z", "m15.5 15.5 5 5"],
  user: ["M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8z", "M4.5 20.5c.6-4 3.6-5.5 7.5-5.5s6.9 1.5 7.5 5.5"],
  image: ["M3.5 5h17v14h-17z", "m4 17 5-5.5 4 4 2.5-2.5 4.5 4.5", "M15.5 9v.1"],
  file: ["M6 3h8l4.5 4.5V21H6z", "M14 3v4.5h4.5"],
};
const SOLID = {
  play: "M7 4.5v15l13-7.5z",
  pause: "M6.5 5h4v14h-4zM13.5 5h4v14h-4z",
  stop: "M6 6h12v12H6z",
  dot: "M12 6a6 6 0 1 1 0 12 6 6 0 0 1 0-12z",
};

/** Decoration: what it means stands beside it, or in the label of its button. */
export function icon(name, size = 18) {
  const box = { viewBox: "0 0 24 24", width: size, height: size, class: "icon", "aria-hidden": "true", focusable: "false" };
  if (SOLID[name]) return svg("svg", { ...box, fill: "currentColor" }, svg("path", { d: SOLID[name] }));
  return svg("svg", { ...box, fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round",
    "stroke-linejoin": "round" }, SHAPES[name].map((d) => svg("path", { d })));
}

export function mark(size = 28) {
  return svg("svg", { viewBox: "0 0 32 32", width: size, height: size, class: "mark", "aria-hidden": "true", focusable: "false" },
    svg("rect", { width: 32, height: 32, rx: 9 }),
    svg("path", { d: "M7 14.5v3M11.5 10v12M16 6.5v19M20.5 11v10M25 14.5v3" }));
}
