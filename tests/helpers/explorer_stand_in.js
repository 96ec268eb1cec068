// Runs the explorer's script of a page on a stand-in for the page, fills its inputs in, and prints what it then shows.
"use strict";
const vm = require("vm");
const page = JSON.parse(require("fs").readFileSync(0, "utf8"));

class Element {
  constructor(attributes) {
    this.attributes = { ...attributes };
    this.textContent = "";
    this.hidden = "hidden" in attributes;
    this.listeners = [];
    this.parts = {};
    this.scrolled = false;
    this.kept = attributes.value === undefined ? "" : attributes.value;
  }
  // a range input keeps its value on a step between its ends, one of numbers what reads as a number
  set value(given) {
    if (this.attributes.type === "number") { this.kept = Number.isFinite(Number(given)) || given === "1e999" ? String(given) : ""; return; }
    if (this.attributes.type !== "range") { throw new Error("only inputs have a value"); }
    const low = Number(this.attributes.min), high = Number(this.attributes.max), step = Number(this.attributes.step);
    const number = Math.min(high, Math.max(low, Number(given)));
    if (Number.isNaN(number)) { throw new Error("a slider was set to " + given); }
    this.kept = String(Number((low + Math.round((number - low) / step) * step).toFixed(6)));
  }
  get value() { return this.kept; }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  addEventListener(name, act) { if (name === "input") { this.listeners.push(act); } }
  querySelector(name) { return (this.parts[name] = this.parts[name] || new Element({})); }
  scrollIntoView() { this.scrolled = true; }
}

const elements = {};
page.elements.forEach((attributes) => { elements[attributes.id] = new Element(attributes); });
elements["explorer-data"].textContent = page.data;
const markers = [new Element({}), new Element({})];
const document = {
  getElementById: (id) => elements[id] || null,
  querySelectorAll: (name) => (name === "#explorer-figure .marker" ? markers : []),
};
const location = { hash: page.link, href: "file:///report.html" + page.link };
const window = { addEventListener: () => {} };
const shown = () => ({
  text: Object.fromEntries(Object.entries(elements).map(([id, element]) => [id, element.textContent])),
  place: elements["explorer-place"].value,
  price: elements["explorer-price"].value,
  target: elements["explorer-target"].value,
  hidden: elements.explorer.hidden,
  scrolled: elements.explorer.scrolled,
  markers: markers.map((marker) => ({
    visibility: marker.attributes.visibility,
    bars: marker.querySelector("path").attributes.d,
    x: Number(marker.querySelector("circle").attributes.cx),
    y: Number(marker.querySelector("circle").attributes.cy),
  })),
});
vm.runInNewContext(page.script, { document, location, window, navigator: {} });
const out = [shown()];
page.moves.forEach(([id, value]) => {
  elements[id].value = value;
  elements[id].listeners.forEach((act) => act());
  out.push(shown());
});
console.log(JSON.stringify(out));
