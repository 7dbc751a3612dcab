"use strict";
// Lays out the page from the JSON in it. Text of the dataset only ever becomes text nodes.

const data = JSON.parse(document.getElementById("data").textContent);
const BATCH = 25; // cards laid out at once, as the reader scrolls
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const number = (value) => value.toLocaleString("en");
const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
const nameOf = (code) => data.languages[code] ?? code;
const unique = (values) => [...new Set(values)];
const textOf = (parts) => parts.map((part) => typeof part === "string" ? part : part[0]).join("");

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}
const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// The dataset.

const total = () => Object.values(data.sizes).reduce((sum, size) => sum + size, 0);
const studentsOf = (group) => group.views.slice(group.teacher ? 1 : 0);

function layOutHeader() {
  document.title = `${data.name}: groups`;
  $("h1").textContent = data.name;
  $("#lede").textContent = lede();
  for (const [term, text] of data.facts) {
    $("#facts").append(make("div", {}, make("dt", {}, term), make("dd", {}, text)));
  }
  layOutCells();
  if (data.dropped.length) {
    $("#dropped").hidden = false;
    $("#dropped table").append(...data.dropped.map(([reason, count]) =>
      make("tr", {}, make("td", {}, reason), make("td", {}, number(count)))));
  }
  $("#card").hidden = !data.card;
  $("#card pre").textContent = data.card;
  if (!data.tokenized) for (const element of $$(".tokenized")) element.hidden = true;
}

/** Which groups these are. */
function lede() {
  if (data.groups.length === total()) return `All ${counted(total(), "group")}`;
  const { recipe, language } = data.asked;
  const asked = [recipe && `of recipe ${recipe}`, language && `for students of ${nameOf(language)}`]
    .filter(Boolean).join(" ");
  const spoken = data.groups.flatMap((group) => group.views.map((view) => view.language));
  const missing = Object.keys(data.languages).filter((code) => !spoken.includes(code));
  return `${number(data.groups.length)} of ${counted(total(), "group")}` +
    (asked ? `, only those ${asked},` : ",") + " drawn evenly over splits, recipes and languages" +
    (missing.length && !asked ? `; too few to show ${missing.map(nameOf).join(", ")}` : "");
}

function layOutCells() {
  const codes = Object.keys(data.languages).filter((code) => data.cells.some((c) => c[2] === code));
  const rows = new Map();
  for (const [split, recipe, code, count] of data.cells) {
    const key = JSON.stringify([split, recipe]);
    rows.set(key, { ...rows.get(key), [code]: count });
  }
  const body = [...rows].map(([key, counts]) => {
    const [split, recipe] = JSON.parse(key);
    const sum = Object.values(counts).reduce((a, b) => a + b, 0);
    const cell = (code) => {
      const label = `${split} ${recipe} in ${nameOf(code)}: show`;
      const button = make("button", { type: "button", "aria-label": label }, number(counts[code]));
      button.onclick = () => choose({ split, recipe, language: code });
      return button;
    };
    return make("tr", {}, make("th", { scope: "row" }, split, " ", make("b", {}, recipe)),
      ...codes.map((code) => make("td", {}, counts[code] ? cell(code) : "–")),
      make("td", {}, number(sum)));
  });
  $("#cells").append(
    make("caption", {}, "Student views of the whole dataset"),
    make("thead", {}, make("tr", {}, make("th"),
      ...codes.map((code) => make("th", { scope: "col", title: code }, nameOf(code))),
      make("th", { scope: "col" }, "all"))),
    make("tbody", {}, ...body));
}

// One group.

function layOutGroup(group) {
  const card = make("article", { tabindex: -1, "aria-label": group.id },
    make("h3", {}, make("b", {}, group.id), make("span", {}, group.recipe),
      make("span", {}, `${group.split}, record ${group.index}`)),
    make("div", { class: "views" }, ...group.views.map((view, v) => layOutView(group, view, v))));
  if (group.pieces) {
    if (group.pieces.slice(0, -1).join("") !== group.answer) {
      card.append(make("p", { class: "note" }, "The tokenizer does not give this answer back " +
        "exactly; shown is what it makes of it."));
    }
    const table = make("details", {},
      make("summary", {}, "Answer tokens, and the positions that predict them",
        make("output", { "aria-live": "polite" })), make("div", { class: "wide" }));
    table.ontoggle = () => layOutAlignment(table, group);
    table.open = filters.tables.checked;
    card.append(table);
  }
  card.group = group;
  return card;
}

function layOutView(group, view, v) {
  const role = !group.teacher ? "view" : v ? "student" : "teacher";
  const switched = view.prompt.filter((part) => typeof part !== "string").length;
  const [prompt, preamble] = view.tokens ?? [];
  const answer = group.pieces?.length;
  const sizes = [role, view.language];
  if (switched) sizes.push(`${switched} switched`);
  if (answer) sizes.push(`${prompt + preamble + answer} tokens`);
  const part = (kind, title, tokens, ...content) => content.length
    ? make("div", { class: `part ${kind}` },
        make("small", {}, title + (tokens === undefined ? "" : `, ${tokens} tokens`)), ...content)
    : make("div", { class: "part empty" });
  const text = (content, lang) => make("p", { class: "text", dir: "auto", lang }, ...content);
  // A code-switched prompt is in the teacher's language but for its fragments.
  const matrix = switched && group.teacher ? group.views[0].language : view.language;
  return make("section", { class: `view ${role}` },
    make("h4", {}, nameOf(view.language), make("small", {}, sizes.join(" · "))),
    part("prompt", "Prompt, not trained", prompt,
      text(withEnd(view.prompt, !view.preamble, view.language), matrix)),
    view.preamble
      ? part("trained-part", "Preamble, trained", preamble, text(withEnd([view.preamble], true)))
      : part("preamble"),
    part("trained-part", "Answer, trained", answer, text(layOutAnswer(group))));
}

/** Parts of a text with a mark for its last line break; the last one predicts the answer. */
function withEnd(parts, last, language) {
  const broken = textOf(parts).endsWith("\n");
  const shown = parts.map((part, p) => typeof part !== "string" ? layOutSwitch(part, language)
    : broken && p === parts.length - 1 ? part.slice(0, -1) : part);
  return [...shown, make("span", { class: `end${last ? " context" : ""}`, "aria-hidden": true },
    broken ? "⏎" : "\u200b")];
}

function layOutSwitch([fragment, source], lang) {
  const kind = Math.max(fragment.length, source.length) > 32 ? "long" : undefined;
  return make("ruby", { title: `replaced: ${source}`, lang, class: kind }, fragment,
    make("rp", {}, " ("), make("rt", {}, source), make("rp", {}, ")"));
}

function layOutAnswer(group) {
  const end = (attributes) => make("span", { class: "end special", ...attributes }, data.end);
  if (!group.pieces) return [group.answer, end({})];
  const last = group.pieces.length - 1;
  return [...group.pieces.slice(0, -1).map((p, t) => make("span", { "data-token": t }, p)),
    end({ "data-token": last })];
}

/** The tokens as rows of a table, in as many tables as fit the width. */
function layOutAlignment(details, group) {
  if (!details.open) return;
  const place = $("div", details);
  const shown = group.pieces.map(visible);
  const wide = (text) => [...text].reduce((sum, c) => sum + (c < "\u1100" ? 1 : 2), 0);
  const room = Math.max(place.clientWidth / 7.5 - 16, 12);
  const names = group.views.map((view) => nameOf(view.language));
  const tables = [];
  for (let from = 0; from < shown.length;) {
    let to = from, used = 0;
    while (to < shown.length && (to === from || used < room)) {
      const digits = Math.max(...group.views.map((view) => `${view.predicts + to}`.length));
      used += Math.max(wide(shown[to]), digits) + 2;
      if (used < room || to === from) to += 1;
    }
    const tokens = shown.slice(from, to);
    const row = (title, cell) => make("tr", {}, make("th", { scope: "row" }, title),
      ...tokens.map((_, t) => make("td", { "data-token": from + t }, cell(from + t))));
    tables.push(make("table", { class: "alignment" }, make("tbody", {},
      row("token", (t) => shown[t]),
      ...group.views.map((view, v) => row(names[v], (t) => `${view.predicts + t}`)))));
    from = to;
  }
  place.replaceChildren(...tables);
  point(details.closest("article"), details.closest("article").pinned);
}

const visible = (piece) => piece.replaceAll("\n", "⏎").replaceAll(" ", "·") || "◦";

/** Marks a token of the answer in all views, and what predicts it; none for undefined. */
function point(card, token) {
  for (const element of $$(".hit, .from", card)) element.classList.remove("hit", "from");
  const group = card?.group;
  const output = card && $("summary output", card);
  if (!group?.pieces || !output) return;
  output.textContent = "";
  if (token === undefined) return;
  for (const element of $$(`[data-token="${token}"]`, card)) element.classList.add("hit");
  $$(".view", card).forEach((section, v) => {
    const before = token > 0 ? $(`[data-token="${token - 1}"]`, section) : $(".context", section);
    before?.classList.add("from");
    before?.setAttribute("data-at", group.views[v].predicts + token);
  });
  output.textContent = `${visible(group.pieces[token])} ← ` + group.views.map((view) =>
    `${nameOf(view.language)} ${view.predicts + token}`).join(", ");
}
