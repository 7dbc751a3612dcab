// Which groups are shown: filters, search, keys, and the address that keeps them.

const filters = document.getElementById("filters").elements;
const CHOICES = ["recipe", "language", "split"];
let chosen = [];
let laidOut = 0;

function layOutFilters() {
  const there = {
    recipe: unique(data.groups.map((group) => group.recipe)).sort(),
    language: Object.keys(data.languages).filter((code) =>
      data.groups.some((group) => studentsOf(group).some((view) => view.language === code))),
    split: Object.keys(data.sizes).filter((s) => data.groups.some((group) => group.split === s)),
  };
  for (const name of CHOICES) {
    filters[name].append(make("option", { value: "" }, "all"), ...there[name].map((value) =>
      make("option", { value }, name === "language" ? `${nameOf(value)} (${value})` : value)));
    filters[name].closest("label").hidden = there[name].length < 2;
  }
}

/** Everything of a group that can be searched. */
function searchable(group) {
  group.searchable ??= [group.id, group.answer, ...group.views.flatMap(({ prompt, preamble }) =>
    [textOf(prompt), preamble, ...prompt.filter(Array.isArray).map(([, source]) => source)],
  )].join("\n");
  return group.searchable;
}

function sought() {
  const text = filters.text.value.normalize("NFC");
  return text && new RegExp(text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "giu");
}

/** Shows the groups that the filters let through. */
function show() {
  const search = sought();
  chosen = data.groups.filter((group) =>
    (!filters.recipe.value || group.recipe === filters.recipe.value) &&
    (!filters.split.value || group.split === filters.split.value) &&
    (!filters.language.value ||
      studentsOf(group).some((view) => view.language === filters.language.value)) &&
    (!search || searchable(group).search(search) >= 0));
  $("#groups").replaceChildren();
  laidOut = 0;
  $("#shown").textContent = `${number(chosen.length)} of ${number(data.groups.length)} groups`;
  $("#none").hidden = chosen.length > 0;
  remember();
  showMore();
}

function showMore() {
  const next = chosen.slice(laidOut, laidOut + BATCH);
  laidOut += next.length;
  $("#groups").append(...next.map(layOutGroup));
  const left = chosen.length - laidOut;
  $("#more").hidden = left === 0;
  $("#more button").textContent = `Show ${Math.min(left, BATCH)} more of ${number(left)}`;
  highlight();
}

/** Highlights what is searched for, where the browser can without touching the text. */
function highlight() {
  if (!CSS.highlights) return;
  const search = sought();
  const ranges = [];
  for (const block of search ? $$("article .text, article rt, article h3 b") : []) {
    const nodes = [];
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    for (let text = "", node; (node = walker.nextNode());) {
      if (block.tagName !== "RT" && node.parentElement.closest("rt, rp, .end")) continue;
      nodes.push({ node, start: text.length, text: (text += node.data) });
    }
    const at = (offset) => nodes.findLast((n) => n.start <= offset) ?? nodes[0];
    for (const match of (nodes.at(-1)?.text ?? "").matchAll(search)) {
      const [first, last] = [at(match.index), at(match.index + match[0].length - 1)];
      const range = new Range();
      range.setStart(first.node, match.index - first.start);
      range.setEnd(last.node, match.index + match[0].length - last.start);
      ranges.push(range);
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

/** Sets filters; those that are not named, or have no such choice, are cleared. */
function set(values) {
  for (const name of [...CHOICES, "text"]) filters[name].value = values[name] ?? "";
  for (const name of CHOICES) if (filters[name].selectedIndex < 0) filters[name].value = "";
}

function choose(values) {
  set(values);
  show();
  $("#filters").scrollIntoView();
}

function remember() {
  const state = new URLSearchParams();
  for (const name of [...CHOICES, "text"]) {
    if (filters[name].value) state.set(name, filters[name].value);
  }
  if (location.hash.slice(1) !== `${state}`) history.replaceState(null, "", `#${state}`);
}

const recall = () => set(Object.fromEntries(new URLSearchParams(location.hash.slice(1))));

/** Moves to the card before or after the one in use. */
function step(by) {
  const here = $$("article").findIndex((card) => card.contains(document.activeElement));
  if (here + by >= laidOut) showMore();
  const cards = $$("article");
  const card = cards[Math.min(Math.max(here + by, 0), cards.length - 1)];
  card?.focus({ preventScroll: true });
  card?.scrollIntoView({ block: "start" });
}

function stepToken(card, by) {
  const last = (card.group.pieces?.length ?? 0) - 1;
  card.pinned = Math.min(Math.max((card.pinned ?? (by > 0 ? -1 : last + 1)) + by, 0), last);
  point(card, card.pinned < 0 ? undefined : card.pinned);
}

function listen() {
  const form = $("#filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === filters.sources || event.target === filters.tables) toggle();
    else show();
  });
  $("#more button").onclick = showMore;
  $("#none button").onclick = () => choose({});
  new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting)) showMore();
  }, { rootMargin: "600px" }).observe($("#more"));

  const main = $("#groups");
  const under = (event) => event.target.closest?.("[data-token]");
  main.addEventListener("pointerover", (event) => {
    const card = event.target.closest("article");
    if (card) point(card, under(event) ? Number(under(event).dataset.token) : card.pinned);
  });
  main.addEventListener("pointerout", (event) => {
    const card = event.target.closest("article");
    if (card && !card.contains(event.relatedTarget)) point(card, card.pinned);
  });
  main.addEventListener("click", (event) => {
    const card = event.target.closest("article");
    const token = under(event) && Number(under(event).dataset.token);
    if (!card || token === null) return;
    card.pinned = card.pinned === token ? undefined : token;
    point(card, card.pinned);
  });
  document.addEventListener("keydown", onKey);
  addEventListener("resize", () => {
    for (const table of $$("article details[open]")) {
      layOutAlignment(table, table.parentElement.group);
    }
  });
  addEventListener("hashchange", () => { recall(); show(); });
}

function toggle() {
  $("#groups").classList.toggle("no-sources", !filters.sources.checked);
  for (const table of $$("article details")) table.open = filters.tables.checked;
}

function onKey(event) {
  const typing = event.target.matches("select, input:not([type=checkbox], [type=radio])");
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const card = document.activeElement.closest("article");
  const keys = {
    "/": () => filters.text.select(),
    j: () => step(1),
    k: () => step(-1),
    s: () => filters.sources.click(),
    t: () => data.tokenized && filters.tables.click(),
    ArrowRight: card && (() => stepToken(card, 1)),
    ArrowLeft: card && (() => stepToken(card, -1)),
    Escape: card && (() => { card.pinned = undefined; point(card); }),
  };
  if (!keys[event.key] || (event.key.startsWith("Arrow") && event.target.matches("input"))) return;
  event.preventDefault();
  keys[event.key]();
}

layOutHeader();
layOutFilters();
layOutLengths();
recall();
listen();
show();
