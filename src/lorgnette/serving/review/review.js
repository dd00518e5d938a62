// The review page. One rule above all: an item stays on the screen until the server has said that
// the decision about it is on the disk.
"use strict";

const $ = (id) => document.getElementById(id);
const PREFETCH = 6, LOW = 4, GRID = 24, POLL_MS = 5000, RETRY_MS = 700, TRAIL = 300;
const LEFT_OUT = { drop: "dropped", undecidable: "undecidable", later: "later" };

const unique = () => [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join("");
const session = unique();
const page = {
  facts: null, who: "", mode: "one", kind: "", originals: true,
  queue: [], trail: [], at: -1, passed: [], filling: null, turn: 0,
  cells: [], focus: 0, marks: new Map(), change: null,
  busy: false, edge: 0,
};
const now = () => page.trail[page.at];

// Talking to the server

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function ask(path, body) {
  const how = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await fetch(path, { ...how, cache: "no-store" });
  const text = await answer.text();
  let data = {};
  try { data = JSON.parse(text); } catch { data = { error: text.trim() }; }
  if (!answer.ok) throw Object.assign(new Error(data.error || `The server answered ${answer.status}.`), { told: true });
  return data;
}

/** Ask until there is an answer: a server that was killed comes back, and nothing is lost. */
async function insist(path, body) {
  for (let tries = 0; ; tries++) {
    try {
      const data = await ask(path, body);
      if (tries) trouble("");
      return data;
    } catch (error) {
      if (error.told) throw error;
      trouble("The server does not answer. What you see stays as it is and is sent again; if it was stopped, start the same `lorgnette review` again.");
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

const base = () => ({ session, who: page.who });

/** Do something that changes what is on the disk: one at a time, and the item stays if it fails. */
async function change(work) {
  if (page.busy) return;
  page.busy = true;
  $("work").classList.add("busy");
  try {
    await work();
    trouble("");
  } catch (error) {
    if (!error.told) throw error;
    trouble(`Not written: ${error.message}`);
  } finally {
    page.busy = false;
    $("work").classList.remove("busy");
  }
}

// One item at a time, or blind

function preload(item) {
  if (!page.facts.edge) return item;
  item.prepared = Object.assign(new Image(), { src: `image/${item.place}?v=${page.facts.tag}` });
  if (page.facts.originals) {
    item.original = Object.assign(new Image(), { src: `original/${item.place}?v=${page.facts.tag}` });
    item.original.onerror = () => { item.original = null; };
  }
  return item;
}

/** Have some more items ready; others cannot get them meanwhile. */
function fill() {
  if (page.filling) return page.filling;
  const turn = page.turn, passed = page.passed.splice(0);
  const held = page.queue.map((item) => item.place);
  if (now() && !now().settled && !passed.includes(now().place)) held.push(now().place);
  page.filling = insist("api/next", {
    ...base(), mode: page.mode, kind: page.kind || null, count: PREFETCH, have: held, passed,
  }).then((found) => {
    if (turn !== page.turn) return;
    const have = new Set([...page.queue.map((item) => item.place), now()?.place]);
    page.queue.push(...found.items.filter((item) => !have.has(item.place)).map(preload));
  }).catch((error) => {
    if (!error.told) throw error;
    trouble(error.message);
  }).finally(() => { page.filling = null; });
  return page.filling;
}

/** On to the next item; `settled` is false where the present one was only passed over. */
async function forward(settled) {
  const turn = page.turn;
  if (page.at < page.trail.length - 1) {
    page.at += 1;
    await again();
    return;
  }
  if (now() && !settled && !now().settled) page.passed.push(now().place);
  if (page.passed.length) await fill();
  if (!page.queue.length) await fill();
  if (turn !== page.turn) return;
  const item = page.queue.shift();
  if (!item) {
    page.at = page.trail.length;
    nothing();
  } else {
    push(item);
  }
  if (page.queue.length < LOW && item) fill();
}

function push(item) {
  page.trail.push(item);
  if (page.trail.length > TRAIL) page.trail.shift();
  page.at = page.trail.length - 1;
  show(item);
}

async function back() {
  if (page.at <= 0) return say("This is the first item that you have seen here.");
  page.at -= 1;
  await again();
}

/** Show an item that was seen before, as it is now. */
async function again() {
  const turn = page.turn, at = page.at;
  const item = await insist(`api/item/${page.trail[at].place}${page.mode === "blind" ? "?blind=true" : ""}`);
  if (turn !== page.turn || at !== page.at) return;
  item.settled = page.mode === "blind" ? item.answered : item.decided && item.decided.by === "person";
  page.trail[at] = preload(item);
  show(page.trail[at]);
}

function decide(wish, to = null) {
  const item = now();
  if (!item || page.mode === "grid") return;
  if (wish === "label" && !to) return say("There is no other class to flip to: choose one.");
  if (wish === "keep" && item.blind) return;
  change(async () => {
    const done = await insist("api/decide", {
      ...base(), mode: page.mode, choices: [{ place: item.place, wish, to, stamp: item.stamp }],
    });
    if (done.conflicts.length) {
      page.trail[page.at] = preload(done.conflicts[0]);
      show(page.trail[page.at]);
      say("Somebody decided about it meanwhile: look again, and decide over it or go on.");
    } else {
      item.settled = true;
      say(["✓ ", ...told(item, wish, to), " · ", make("kbd", {}, "Z"), " takes it back"]);
      await forward(true);
    }
    poll();
  });
}

function told(item, wish, to) {
  if (wish === "keep") return ["kept ", klass(item.label || item.given)];
  if (wish === "label") return [item.label === to ? "kept " : "now ", klass(to)];
  return [wish === "drop" ? "dropped" : "undecidable, left out"];
}

function undo() {
  change(async () => {
    const done = await insist("api/undo", { ...base(), mode: page.mode, key: unique() });
    if (!done.undone) return say("There is nothing left of yours to take back.");
    const what = done.undone === 1 ? "Taken back" : `All ${done.undone} taken back`;
    if (page.mode === "grid" && done.items.length) {
      lay(done.items, done.items[0]);
    } else if (done.items.length) {
      if (now() && !now().settled && now().place !== done.items[0].place) page.queue.unshift(now());
      page.trail = page.trail.filter((item) => item.place !== done.items[0].place && item.settled);
      page.queue = page.queue.filter((item) => item.place !== done.items[0].place);
      push(preload(done.items[0]));
    }
    say(done.items.length ? `${what}.` : `${what}: it is among the yardstick's items again.`);
    poll();
  });
}

// Several at once

async function deal() {
  const turn = page.turn, passed = page.passed.splice(0);
  const found = await insist("api/next", {
    ...base(), mode: "grid", kind: page.kind || null, count: GRID, have: [], passed,
  });
  if (turn !== page.turn) return;
  if (found.items.length) lay(found.items, found);
  else nothing();
}

/** Lay items out; `like` says what is proposed for all of them. */
function lay(items, like) {
  page.cells = items;
  page.focus = 0;
  page.marks.clear();
  page.change = "marked" in like ? { from: like.from, to: like.to, marked: like.marked } : proposal(like);
  showGrid();
}

function proposal(item) {
  const to = item.proposed && item.proposed !== item.label ? item.proposed : null;
  const two = page.facts.classes.length === 2 && item.label;
  const other = two ? page.facts.classes.find((name) => name !== item.label) : null;
  return { from: item.label, to, marked: to ? item.label : other };
}

function mark(what) {
  const cell = page.cells[page.focus];
  if (!cell) return;
  if (page.marks.get(cell.place) === what) page.marks.delete(cell.place);
  else page.marks.set(cell.place, what);
  showGrid();
}

function choice(cell) {
  const { from, to, marked } = page.change, mark = page.marks.get(cell.place);
  if (mark === "drop" || mark === "undecidable") return { wish: mark, to: null };
  if (mark === "exception") {
    if (!marked) return null;
    return to ? { wish: "keep", to: null } : { wish: "label", to: marked };
  }
  if (to) return { wish: "label", to };
  return from ? { wish: "keep", to: null } : null;
}

function apply() {
  if (!page.cells.length) return;
  change(async () => {
    const choices = [], later = [];
    for (const cell of page.cells) {
      const chosen = choice(cell);
      if (chosen) choices.push({ place: cell.place, stamp: cell.stamp, ...chosen });
      else later.push(cell.place);
    }
    let missed = 0, wrote = 0;
    if (choices.length) {
      const done = await insist("api/decide", { ...base(), mode: "grid", choices });
      missed = done.conflicts.length;
      wrote = done.wrote;
    }
    page.passed.push(...later);
    await deal();
    say([`✓ ${wrote} decided`, missed ? `; ${missed} left alone, as somebody else had decided them meanwhile` : "",
      " · ", make("kbd", {}, "Z"), " takes all of them back"]);
    poll();
  });
}

function skipGrid() {
  change(async () => {
    page.passed.push(...page.cells.map((cell) => cell.place));
    await deal();
  });
}

function step(by) {
  const last = page.cells.length - 1;
  page.focus = Math.max(0, Math.min(last, page.focus + by));
  showGrid();
}

const columns = () => getComputedStyle($("cells")).gridTemplateColumns.split(" ").length;

// Showing

function say(what) {
  $("toast").replaceChildren(...(Array.isArray(what) ? what.filter((each) => each !== "") : [what]));
}

function klass(name) {
  const place = page.facts.classes.indexOf(name);
  const tint = place < 0 || place > 6 ? "var(--k-other)" : `var(--k${place})`;
  return make("span", { className: "class", style: { "--tint": tint } }, make("i", { ariaHidden: "true" }), name);
}

function nothing() {
  $("single").hidden = $("cells").hidden = true;
  $("work").dataset.places = "";
  page.cells = [];
  const all = page.mode === "blind" ? "The yardstick is settled." : page.kind ? "Nothing of this kind is left." : "Nothing is left to review.";
  $("question").textContent = all;
  $("beside").replaceChildren();
  actions([["Z", "undo", undo, "quiet"]]);
}

function show(item) {
  $("work").dataset.places = item.place;
  $("cells").hidden = true;
  $("single").hidden = false;
  $("question").replaceChildren(...question(item));
  picture(item);
  $("facts").replaceChildren(...(item.blind ? blindFacts(item) : facts(item)));
  $("beside").replaceChildren(...(item.blind ? [] : beside(item)));
  actions(item.blind ? blindActions() : oneActions(item));
}

function question(item) {
  if (item.blind) return ["Which class is it?"];
  const target = item.target;
  if (!item.label) {
    const state = item.decided ? "Left out." : "No label.";
    return target ? [`${state} Is it `, klass(target), "?"] : [`${state} Which class is it?`];
  }
  const proposed = item.proposed && item.proposed !== item.label;
  if (proposed) return ["Labelled ", klass(item.label), ". Is it ", klass(target), "?"];
  return ["Labelled ", klass(item.label), ". Is that right?"];
}

function picture(item) {
  const image = $("picture"), table = $("features");
  if (!page.facts.edge) {
    image.hidden = true;
    table.hidden = false;
    const row = (each) => make("tr", {}, make("td", {}, each.name), make("td", { className: "n" }, each.value.toPrecision(4)),
      make("td", { className: "far", title: `${each.far} standard deviations from the mean` }, deviation(each.far)), make("td", { className: "n" }, each.far.toFixed(1)));
    table.replaceChildren(
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "feature"), make("th", { scope: "col", className: "n" }, "value"),
        make("th", { scope: "col" }, "from the mean"), make("th", { scope: "col", className: "n" }, "σ"))),
      make("tbody", {}, ...item.features.map(row)));
    $("caption").textContent = `A vector has no picture: of ${grouped(page.facts.features)} features, those furthest from their mean.`;
    return;
  }
  const place = (chosen, words, crisp) => {
    image.src = chosen.src;
    image.classList.toggle("crisp", crisp);
    $("caption").replaceChildren(make("span", {}, words), page.facts.originals ? make("span", {}, make("kbd", {}, "O"), " the other") : "");
  };
  image.alt = item.blind ? "The item to classify" : `The item under review, labelled ${item.label || "not at all"}`;
  const edge = page.facts.edge;
  const prepared = () => place(item.prepared, `${edge} × ${edge} pixels, as a network sees it`, edge < 240);
  const original = () => place(item.original, `the original, ${item.original.naturalWidth} × ${item.original.naturalHeight}`, item.original.naturalWidth < 240);
  if (!page.originals || !item.original) return prepared();
  if (item.original.complete && item.original.naturalWidth) return original();
  prepared();
  item.original.onload = () => { if (now() === item && page.originals && page.mode !== "grid") original(); };
}

function facts(item) {
  const found = [];
  const block = (title, ...inside) => found.push(make("div", {}, make("h2", {}, title), ...inside));
  const label = item.label ? klass(item.label) : item.decided ? "left out" : "none";
  const rows = [["given", item.given ? klass(item.given) : "none"]];
  if (item.given !== item.label) rows.push(["now", label]);
  if (item.proposed) rows.push(["proposed", klass(item.proposed)]);
  found.push(make("dl", { className: "change" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])));
  if (item.percent) {
    block("Is the given label wrong?",
      make("p", { className: "doubt" }, make("b", {}, item.percent), make("span", {}, item.said)),
      make("div", { className: "meter", role: "img", ariaLabel: `${item.percent} suspected` },
        make("i", { style: { width: `${100 * item.suspicion}%` } })));
  }
  block("Why it is here", make("ul", {}, ...item.why.map((text) => make("li", {}, text))));
  if (item.decided) {
    const own = item.decided.by === "person" && item.decided.who === page.who;
    const when = item.decided.when ? ` ${new Date(item.decided.when).toLocaleString()}` : "";
    found.push(make("p", { className: "note" }, own ? item.decided.text.replace(page.who, "You") : item.decided.text, make("span", { className: "small" }, when)));
  }
  found.push(make("p", { className: "path", title: "id" }, item.id));
  return found;
}

function blindFacts(item) {
  const rest = make("p", { className: "small" }, "Its label, and what any model thinks of it, are hidden until you have answered: what you say here is the yardstick for everything else.");
  return item.answered ? [make("p", { className: "note" }, "You, or somebody else, have answered this one."), rest] : [rest];
}

function thumb(each) {
  const source = page.facts.edge ? make("img", { src: `image/${each.place}?small=true&v=${page.facts.tag}`, alt: "", loading: "lazy", className: page.facts.edge < 80 ? "crisp" : "" }) : null;
  const by = { person: "settled by a person", rule: "by a rule", import: "imported" }[each.by];
  const words = page.facts.edge ? null : make("small", {}, each.id);
  return make("figure", { className: "thumb", title: each.id }, source, make("figcaption", {}, klass(each.label), words, by ? make("small", {}, by) : null));
}

function beside(item) {
  const groups = [];
  if (item.copies.length) groups.push({ title: "Its copies and near-copies", items: item.copies });
  groups.push(...item.neighbours.filter((group) => group.items.length));
  return groups.map((group) => make("section", { className: "group", ariaLabel: group.title }, make("h2", {}, group.title), make("div", { className: "thumbs" }, ...group.items.map(thumb))));
}

function actions(list) {
  $("actions").replaceChildren(...list.map(([key, words, work, style, off]) => make("button", {
    type: "button", className: style || "", disabled: Boolean(off), onclick: (event) => { event.currentTarget.blur(); work(); },
  }, make("kbd", {}, key), make("span", {}, ...[words].flat()))));
}

function oneActions(item) {
  const many = page.facts.classes.length > 2;
  const keep = item.label || item.given, wrong = item.proposed && item.proposed !== item.label;
  const list = [["K", keep ? ["keep ", klass(keep)] : "keep", () => decide("keep"), wrong || !keep ? "" : "main", !keep],
    ["F", item.target ? ["flip to ", klass(item.target)] : "flip", () => decide("label", item.target), wrong ? "main" : "", !item.target]];
  if (many || !item.target) list.push(...classActions());
  list.push(["D", "drop", () => decide("drop")], ["U", "undecidable", () => decide("undecidable")],
    ["Z", "undo", undo, "quiet"], ["←", "back", back, "quiet"], ["→", "next", () => move(), "quiet"]);
  return list;
}

function classActions() {
  return page.facts.classes.slice(0, 9).map((name, n) => [String(n + 1), klass(name), () => decide("label", name)]);
}

function blindActions() {
  return [...classActions(), ["U", "undecidable", () => decide("undecidable")], ["D", "drop", () => decide("drop")],
    ["Z", "undo", undo, "quiet"], ["←", "back", back, "quiet"], ["→", "next", () => move(), "quiet"]];
}

/** A class beyond the ninth is chosen by its name. */
function chooser() {
  if (page.facts.classes.length <= 9) return;
  const names = make("datalist", { id: "names" }, ...page.facts.classes.map((name) => make("option", { value: name })));
  const input = make("input", { id: "class", ariaLabel: "Class", placeholder: "C: class by name", list: "names", autocomplete: "off" });
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") input.blur();
    if (event.key !== "Enter") return;
    event.preventDefault();
    const name = page.facts.classes.find((each) => each === input.value);
    if (!name) return say(`There is no class ‘${input.value}’.`);
    input.value = "";
    input.blur();
    decide("label", name);
  });
  $("toast").before(make("p", { id: "chooser" }, input, names));
}

function showGrid() {
  $("work").dataset.places = page.cells.map((cell) => cell.place).join(" ");
  const { from, to, marked } = page.change, n = page.cells.length;
  $("single").hidden = true;
  $("cells").hidden = false;
  $("beside").replaceChildren();
  const things = n === 1 ? "One item" : `${n} items`;
  const named = from ? [" labelled ", klass(from)] : [" without a label"];
  $("question").replaceChildren(things, ...named, ...(to ? [". ", n === 1 ? "Is it " : "Are they ", klass(to), "?"] : [". ", n === 1 ? "Is that right?" : "Are they right?"]));
  const words = (mark) => {
    if (mark !== "exception") return LEFT_OUT[mark];
    if (!marked) return "later";
    return to ? `stays ${marked}` : `now ${marked}`;
  };
  $("cells").replaceChildren(...page.cells.map((cell, place) => {
    const mark = page.marks.get(cell.place);
    const inside = page.facts.edge
      ? make("img", { src: `image/${cell.place}?v=${page.facts.tag}`, alt: "", className: page.facts.edge < 120 ? "crisp" : "" })
      : make("table", {}, make("tbody", {}, ...cell.features.map((each) => make("tr", {}, make("td", {}, each.name), make("td", { className: "n" }, `${each.far} σ`)))));
    return make("div", {
      className: `cell${mark ? " marked" : ""}${place === page.focus ? " at" : ""}`, tabIndex: place === page.focus ? 0 : -1,
      role: "checkbox", ariaChecked: String(Boolean(mark)), title: cell.id,
      ariaLabel: `${place + 1} of ${n}, ${cell.percent ? `suspected ${cell.percent}` : cell.id}${mark ? `, ${words(mark)}` : ""}`,
      onclick: () => { page.focus = place; markAt("exception"); },
    }, inside, mark ? make("span", { className: "mark" }, words(mark)) : null,
    make("div", { className: "what" }, make("span", {}, cell.label ? klass(cell.label) : "no label"), make("span", {}, cell.percent || "")));
  }));
  $("cells").children[page.focus]?.focus({ preventScroll: false });
  const kept = page.cells.filter((cell) => !page.marks.has(cell.place)).length;
  const exceptions = [...page.marks.values()].filter((mark) => mark === "exception").length;
  const others = page.marks.size - exceptions;
  const plan = to ? [`make ${kept} `, klass(to)] : from ? [`keep ${kept} `, klass(from)] : ["leave all for later"];
  if (exceptions) plan.push(...(marked ? [to ? `, keep ${exceptions} ` : `, make ${exceptions} `, klass(marked)] : [`, ${exceptions} later`]));
  if (others) plan.push(`, leave out ${others}`);
  actions([["↵", plan, apply, "main"], ["Space", "mark an exception", () => markAt("exception")], ["D", "drop it", () => markAt("drop")],
    ["U", "undecidable", () => markAt("undecidable")], ["Z", "undo", undo, "quiet"], ["N", "others first", skipGrid, "quiet"], ["G", "one at a time", () => mode("one"), "quiet"]]);
}

const markAt = (what) => { if (!page.busy) mark(what); };

// Progress

async function poll() {
  let found;
  try {
    found = await ask("api/progress", base());
    if (!page.busy && $("trouble").dataset.from === "poll") trouble("");
    $("trouble").dataset.from = "";
  } catch (error) {
    trouble(error.told ? error.message : "The server does not answer. Nothing is lost: every decision that was confirmed is in decisions.jsonl.");
    $("trouble").dataset.from = "poll";
    return;
  }
  const money = found.economy, all = Math.max(money.labelled, 1);
  const few = (x) => (x < 10 ? x.toFixed(1) : grouped(x));
  if (money.known) {
    $("left").replaceChildren(share(money.left.value / all), make("small", {}, ` of the labels, about ${grouped(money.left.value)}`));
    const audit = page.facts.audited ? `, where the audit expected ${grouped(money.expected)}` : "";
    const checked = money.judged ? ` Persons judged ${grouped(money.judged)}: ${grouped(money.wrong)} wrong${audit}.` : "";
    $("left-range").textContent = `95%: ${share(money.left.low / all)} to ${share(money.left.high / all)}.${checked}`;
    $("curve").replaceChildren(...(money.curve.length > 1 ? [curve(money.curve, found.target)] : []));
    $("ahead-title").textContent = money.decisions === 1 ? "The next decision" : `The next ${money.decisions} decisions`;
    $("ahead").replaceChildren(`≈ ${few(money.ahead.value)}`, make("small", {}, " wrong labels found"));
    const time = found.seconds ? `; ${minutes(money.decisions * found.seconds)}` : "";
    $("ahead-range").textContent = `95%: ${few(money.ahead.low)} to ${few(money.ahead.high)}${time}.`;
  } else {
    $("left").textContent = "not known yet";
    $("ahead").textContent = "not known yet";
  }
  $("advice").classList.toggle("stop", found.advice.stop);
  $("advice-text").textContent = found.advice.text;
  $("advice-rule").textContent = found.advice.rule;
  const [done, of] = page.facts.audited ? [found.findings_settled, found.findings] : [found.settled, found.items];
  $("bar").firstElementChild.style.width = `${of ? (100 * done) / of : 100}%`;
  $("bar").setAttribute("aria-valuemax", of);
  $("bar").setAttribute("aria-valuenow", done);
  const rows = [[page.facts.audited ? "findings" : "items", `${grouped(done)} of ${grouped(of)}`]];
  if (page.facts.audited) rows.push(["all items", `${grouped(found.settled)} of ${grouped(found.items)}`]);
  if (found.by_rule) rows.push(["changed by rules", grouped(found.by_rule)]);
  for (const [name, count] of Object.entries(found.who).slice(0, 5)) rows.push([`by ${name || "nobody named"}`, grouped(count)]);
  if (found.yardstick.items) rows.push(["yardstick", `${grouped(found.yardstick.settled)} of ${grouped(found.yardstick.items)}`]);
  if (found.seconds) rows.push(["per decision", `${found.seconds.toFixed(1)} s`]);
  $("done").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  $("others").textContent = found.others.length ? `also here: ${found.others.join(", ")}` : "";
  for (const option of $("kind").options) {
    if (!option.value) continue;
    option.dataset.words ??= option.textContent;
    option.textContent = `${option.dataset.words} (${grouped(found.kinds[option.value])})`;
  }
}

function minutes(seconds) {
  if (seconds < 90) return `about ${Math.max(10, 10 * Math.round(seconds / 10))} s`;
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} min` : `about ${(seconds / 3600).toFixed(1)} h`;
}

// Keys, and beginning

const move = () => change(() => forward(false));

function mode(name) {
  if (page.busy || (name === "blind" && !page.facts.yardstick)) return;
  page.mode = name;
  page.turn += 1;
  Object.assign(page, { queue: [], trail: [], at: -1, passed: [], filling: null, cells: [] });
  for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === name));
  $("kinds").hidden = name === "blind" || !page.facts.audited;
  say("");
  change(() => (name === "grid" ? deal() : forward(true)));
}

const KEYS = [
  ["K", "keep the label in force"], ["F", "flip: to the proposed class, or to the other of two"], ["1 – 9", "choose a class"],
  ["D", "drop: the item does not belong here"], ["U", "undecidable: nobody can tell"], ["Z or Backspace", "undo your last decision, or all of a grid"],
  ["N or →", "next, without deciding"], ["←", "back to what you have seen"], ["O", "original, or as networks see it"],
  ["G", "grid: several at once"], ["↵ in the grid", "apply: the change to all, but not to those that are marked"], ["Space in the grid", "mark an exception; arrows move"],
  ["Y", "yardstick: judge random items blind"], ["?", "these keys"],
];

function press(event) {
  if (!page.facts || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (target.matches("input, select, textarea")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (target.matches("button") && (key === "Enter" || key === " ")) return;
  const grid = page.mode === "grid";
  const works = {
    z: undo, Backspace: undo, g: () => mode(grid ? "one" : "grid"), y: () => mode(page.mode === "blind" ? "one" : "blind"), "?": () => $("help").showModal(),
    ...(grid
      ? { Enter: apply, " ": () => markAt("exception"), d: () => markAt("drop"), u: () => markAt("undecidable"), n: skipGrid,
        ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => step(-columns()), ArrowDown: () => step(columns()) }
      : { k: () => decide("keep"), f: () => decide("label", now()?.target), d: () => decide("drop"), u: () => decide("undecidable"),
        n: move, ArrowRight: move, ArrowLeft: () => change(back), c: () => $("class")?.focus(),
        o: () => { page.originals = !page.originals; if (now()) picture(now()); } }),
  };
  const work = Object.hasOwn(works, key) ? works[key] : null;
  const number = !grid && /^[1-9]$/.test(key) ? page.facts.classes[Number(key) - 1] : null;
  if (!work && !number) return;
  event.preventDefault();
  // A key that is held down moves the mark in the grid, but never decides twice.
  if (event.repeat && !(grid && key.startsWith("Arrow"))) return;
  if (work) work();
  else decide("label", number);
}

function named(name) {
  page.who = name;
  localStorage.setItem("lorgnette-who", JSON.stringify([page.facts.who, name]));
  $("who").textContent = name;
}

async function begin() {
  history.replaceState(null, "", location.pathname);  // the token is in a cookie from here on
  page.facts = await insist("api/start");
  // A name that was chosen here holds until the server is started for somebody else.
  const [whose, name] = JSON.parse(localStorage.getItem("lorgnette-who") || "[]");
  const chosen = whose === page.facts.who ? name : null;
  named(chosen || page.facts.who);
  document.title = `${page.facts.dataset} – Lorgnette review`;
  $("dataset").textContent = page.facts.dataset;
  $("keys").replaceChildren(...KEYS.flatMap(([key, words]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, words)]));
  document.querySelector("[data-mode=blind]").hidden = !page.facts.yardstick;
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.onclick = () => { button.blur(); mode(button.dataset.mode); };
  }
  $("kind").onchange = () => { page.kind = $("kind").value; $("kind").blur(); mode(page.mode); };
  $("helper").onclick = () => { $("helper").blur(); $("help").showModal(); };
  $("help-close").onclick = () => $("help").close();
  const rename = () => { $("name").value = page.who; $("name-box").showModal(); $("name").select(); };
  $("who").onclick = rename;
  if (page.facts.shared && !chosen) rename();
  $("name-form").onsubmit = () => { if ($("name").value.trim()) named($("name").value.trim()); };
  document.addEventListener("keydown", press);
  window.addEventListener("pagehide", () => navigator.sendBeacon("api/leave", new Blob([JSON.stringify({ session })], { type: "application/json" })));
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  chooser();
  mode(page.facts.blind ? "blind" : "one");
  await poll();
  setInterval(poll, POLL_MS);
}

begin().catch((error) => trouble(error.message));
