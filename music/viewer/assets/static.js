// A static page with JavaScript: one conversation at a time, the keyboard, and a search. Without it, all of them are below each other.
"use strict";
const find = selector => document.querySelector(selector);
const list = find("#list"), articles = [...document.querySelectorAll("article")], items = [...list.querySelectorAll("li")];
const texts = articles.map(each => each.textContent.toLowerCase());
const shownItems = () => items.filter(each => !each.hidden);
let current = null;

function unfold(place) {
  for (let each = place; each; each = each.parentElement) if (each.localName === "details") each.open = true;
}

// The address says what is shown: a conversation, a turn of it, or the list.
function show() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1))), before = current;
  current = target?.closest("article") ?? null;
  list.hidden = Boolean(current);
  find("#back").hidden = find("#pager").hidden = !current;
  for (const each of articles) each.hidden = each !== current;
  document.title = current ? `${current.querySelector("h1").textContent} · music view` : find("#title").textContent;
  for (const [name, step] of [["prev", -1], ["next", 1]]) {
    const link = find(`[rel=${name}]`), other = neighbour(step);
    link.classList.toggle("off", !other);
    link.href = other ?? location.hash;
  }
  if (current && target !== current) { unfold(target); target.scrollIntoView(); target.focus({preventScroll: true}); }
  else if (current !== before) scrollTo(0, 0);
  if (!current && before && document.activeElement !== find("#q")) link(before)?.focus();
}

const link = article => list.querySelector(`a[href="#${article.id}"]`);

function neighbour(step) {
  const links = shownItems().map(each => each.querySelector(".record"));
  return current && links[links.indexOf(link(current)) + step]?.getAttribute("href");
}

function move(step) {
  if (current) { const other = neighbour(step); if (other) location.hash = other; return; }
  const links = shownItems().map(each => each.querySelector(".record")), at = links.indexOf(document.activeElement);
  const to = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
  to?.focus();
  to?.scrollIntoView({block: "nearest"});
}

const keys = {
  j: () => move(1),
  k: () => move(-1),
  ArrowRight: () => current && move(1),
  ArrowLeft: () => current && move(-1),
  f: () => { const first = current?.querySelector(".turn.first"); if (first) { unfold(first); first.scrollIntoView(); first.focus({preventScroll: true}); } },
  s: () => { const shared = current?.querySelector(".shared"); if (shared) shared.open = !shared.open; },
  u: () => { location.hash = "#list"; },
  "/": () => { location.hash = "#list"; show(); find("#q").select(); },
};
document.addEventListener("keydown", event => {
  if (event.target.matches("input")) return event.key === "Escape" && event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

find("#q").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  items.forEach((each, place) => { each.hidden = !words.every(word => texts[place].includes(word)); });
  find("#found").textContent = words.length ? `${shownItems().length} of ${items.length}` : "";
});

find("#help").hidden = find("#search").hidden = false;
addEventListener("hashchange", show);
show();
