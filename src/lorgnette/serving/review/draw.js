// Small things to build pages from, and the curve of what is left. Text is only ever set as text.
"use strict";

/** An element: properties, attributes and `style` in `props`; children are nodes or texts. */
function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "style") for (const [name, each] of Object.entries(value)) element.style.setProperty(name, each);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function shape(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const grouped = (n) => Math.round(n).toLocaleString("en-US");
const share = (x) => `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)}%`;

/** Expected share of wrong labels (y) after so many decisions from now (x); the dashes: the target. */
function curve(points, target) {
  const [W, H, left, bottom, top] = [250, 128, 34, 20, 8];
  const last = points[points.length - 1][0];
  const high = Math.max(points[0][1], target, 1e-4) * 1.08;
  const x = (d) => left + (W - left - 6) * (last ? d / last : 0);
  const y = (s) => top + (H - top - bottom) * (1 - s / high);
  const path = points.map(([d, s], n) => `${n ? "L" : "M"}${x(d).toFixed(1)} ${y(s).toFixed(1)}`).join("");
  const label = `Expected share of wrong labels: ${share(points[0][1])} now, `
    + `${share(points[points.length - 1][1])} after ${grouped(last)} more decisions; the target is ${share(target)}.`;
  const svg = shape("svg", { class: "plot", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
  const line = (x1, y1, x2, y2, more) => shape("line", { x1, y1, x2, y2, stroke: "var(--rule)", ...more });
  const text = (at, where, words, anchor) => shape("text", { x: at, y: where, "text-anchor": anchor }, words);
  svg.append(
    line(left, y(0), W - 6, y(0)),
    line(left, y(target), W - 6, y(target), { stroke: "var(--muted)", "stroke-dasharray": "3 3" }),
    text(left - 5, y(points[0][1]) + 4, share(points[0][1]), "end"),
    text(left, H - 5, "now", "start"),
    text(W - 6, H - 5, `${grouped(last)} more`, "end"),
  );
  if (Math.abs(y(target) - y(points[0][1])) > 12) svg.append(text(left - 5, y(target) + 4, share(target), "end"));
  svg.append(
    shape("path", { d: `${path}L${x(last)} ${y(0)}L${x(0)} ${y(0)}Z`, fill: "var(--accent)", opacity: ".12" }),
    shape("path", { d: path, fill: "none", stroke: "var(--accent)", "stroke-width": "2", "stroke-linejoin": "round" }),
  );
  if (last > 100 && last < 2000) {
    const next = points.reduce((a, b) => (Math.abs(b[0] - 100) < Math.abs(a[0] - 100) ? b : a));
    svg.append(
      shape("circle", { cx: x(next[0]), cy: y(next[1]), r: 3.5, fill: "var(--accent)" }),
      text(x(next[0]) + 7, y(next[1]) - 5, "in 100", "start"),
    );
  }
  return svg;
}

/** A bar from the middle, for how far a value is from the mean. */
function deviation(far) {
  const width = Math.min(Math.abs(far) / 5, 1) * 50;
  return shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    shape("rect", { x: far < 0 ? 50 - width : 50, y: 1, width: Math.max(width, 0.6), height: 8, fill: "var(--accent)", opacity: ".75" }),
    shape("rect", { x: 49.7, y: 0, width: 0.6, height: 10, fill: "var(--muted)" }));
}
