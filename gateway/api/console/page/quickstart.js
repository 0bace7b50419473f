// What was just clicked, as a program: curl, Python, JavaScript. The key is $KEY unless its owner asks to see it.

import { address, calls, key } from "./api.js";
import { copy } from "./dialogs.js";
import { h, show } from "./dom.js";
import { icon } from "./icons.js";
import { LANGUAGES } from "./snippets.js";

class QuickStart {
  element = h("aside.code", { id: "code", "aria-label": "Quick start", hidden: true });
  #call = null;
  #clicked = false;
  #language = "curl";
  #revealed = false;

  constructor() {
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    calls.addEventListener("called", ({ detail }) => {
      this.#call = detail;
      this.#clicked = true;
      this.#draw();
    });
  }

  /** A view's own example, until something is clicked in it. */
  suggest(call) {
    if (!call) return;
    this.#call = call;
    this.#clicked = false;
    this.#draw();
  }

  toggle() {
    if (this.element.hidden) this.#open();
    else this.close();
  }

  #open() {
    this.element.hidden = false;
    this.#tellButton();
    this.#draw();
    this.element.querySelector("button").focus();
  }

  close() {
    const had = this.element.contains(document.activeElement);
    this.element.hidden = true;
    this.#revealed = false;
    this.#tellButton();
    if (had) document.getElementById("code-button")?.focus();
  }

  #tellButton() {
    document.getElementById("code-button")?.setAttribute("aria-expanded", String(!this.element.hidden));
  }

  #draw() {
    if (this.element.hidden || !this.#call) return;
    const text = LANGUAGES[this.#language].write(this.#call, address("/").replace(/\/$/, ""), this.#revealed ? key() : null);
    const tab = (name) => h("button", { type: "button", role: "tab", "aria-selected": String(name === this.#language), tabindex: name === this.#language ? 0 : -1,
      "aria-controls": "snippet", dataset: { focus: `tab-${name}`, name }, onclick: () => this.#choose(name), onkeydown: (event) => this.#move(event) }, LANGUAGES[name].title);
    show(this.element,
      h("header", h("h2", "Quick start"), h("button.ghost.square", { type: "button", "aria-label": "Close the quick start", onclick: () => this.close() }, icon("close"))),
      h("p.hint", this.#clicked ? "What you just did, as a program:" : "What this page does, as a program:"),
      h("p.request", h("span.tag", this.#call.method), h("code", this.#call.path)),
      h("div.tabs", { role: "tablist", "aria-label": "Language" }, Object.keys(LANGUAGES).map(tab)),
      h("div.snippet", { id: "snippet", role: "tabpanel", "aria-label": LANGUAGES[this.#language].title },
        h("pre.mono", { tabindex: 0 }, text), h("button.square", { type: "button", "aria-label": "Copy the program", dataset: { focus: "copy" }, onclick: () => copy(text) }, icon("copy", 16))),
      h("label.switch", h("input", { type: "checkbox", checked: this.#revealed, dataset: { focus: "reveal" }, onchange: (event) => {
        this.#revealed = event.target.checked;
        this.#draw();
      } }), h("span", "Write my key into it")));
  }

  #choose(name) {
    this.#language = name;
    this.#draw();
  }

  #move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const names = Object.keys(LANGUAGES);
    this.#choose(names[(names.indexOf(this.#language) + step + names.length) % names.length]);
    this.element.querySelector("[aria-selected=true]").focus();
  }
}

export const quickStart = new QuickStart();
