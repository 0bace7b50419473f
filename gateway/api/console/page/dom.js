// Elements as expressions. Text is always text: nothing in the console parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "selected", "required", "readOnly"]);

/**
 * h("button.primary", {type: "button", onclick: save}, icon("check"), "Save")
 * Attributes that are null, undefined or false are left out; `on…` are listeners; children are nodes, text, lists or null.
 */
export function h(spec, ...rest) {
  const [tag, ...classes] = spec.split(".");
  return fill(document.createElement(tag || "div"), classes, rest);
}

export function svg(tag, ...rest) {
  return fill(document.createElementNS(SVG, tag), [], rest);
}

function fill(element, classes, rest) {
  if (classes.length) element.classList.add(...classes);
  const attributes = isAttributes(rest[0]) ? rest.shift() : {};
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...nodes(rest));
  return element;
}

function isAttributes(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Node);
}

function set(element, name, value) {
  if (value === null || value === undefined) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "class") element.classList.add(...value.split(" ").filter(Boolean));
  else if (name === "dataset") Object.assign(element.dataset, value);
  else if (PROPERTIES.has(name) && name in element) element[name] = value;
  else if (value === true) element.setAttribute(name, "");
  else if (value !== false) element.setAttribute(name, value);
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** The children of `element`, from now on. Focus stays where it was, by `data-focus`. */
export function show(element, ...children) {
  const focus = element.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  element.replaceChildren(...nodes(children));
  if (focus) element.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  return element;
}

let lastId = 0;

/** An id for labels and descriptions. */
export function newId(prefix = "id") {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/** A labelled control; `hint` is read with it. */
export function field(label, control, hint = null) {
  control.id ||= newId("field");
  const note = hint ? h("p.hint", { id: `${control.id}-hint` }, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div.field", h("label", { for: control.id }, label), control, note);
}

export function option(value, text, selected = false) {
  return h("option", { value, selected }, text);
}
