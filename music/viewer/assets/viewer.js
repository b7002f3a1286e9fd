// Keyboard and small comforts; the pages work without it.
"use strict";
const find = selector => document.querySelector(selector);
const records = [...document.querySelectorAll(".record")];

function step(forward) {
  const link = find(forward ? ".top [rel=next]" : ".top [rel=prev]");
  if (!records.length) return link?.click();
  const at = records.indexOf(document.activeElement);
  const to = at < 0 ? (forward ? 0 : records.length - 1) : at + (forward ? 1 : -1);
  if (records[to]) { records[to].focus(); records[to].scrollIntoView({block: "nearest"}); }
  else link?.click();
}

function unfold(place) {
  for (let each = place; each; each = each.parentElement) if (each.localName === "details") each.open = true;
}

function go(place) {
  if (!place) return;
  unfold(place);
  place.scrollIntoView();
  place.focus({preventScroll: true});
}

const keys = {
  j: () => step(true),
  k: () => step(false),
  ArrowRight: () => records.length || step(true),
  ArrowLeft: () => records.length || step(false),
  d: () => go(find(".turn.first")),
  s: () => { const shared = find("#shared"); if (shared) shared.open = !shared.open; },
  u: () => find("[data-key=u]")?.click(),
  "/": () => { const search = find("#q"); if (search) { search.focus(); search.select(); } else find("[data-key=u]")?.click(); },
  "?": () => find("#keys").togglePopover(),
};

document.addEventListener("keydown", event => {
  const typing = event.target.closest("input, select, textarea, [contenteditable]");
  if (typing && event.key === "Escape") return typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

// A link to a turn unfolds what it is in.
const unfoldTarget = () => unfold(document.getElementById(location.hash.slice(1)));
addEventListener("hashchange", unfoldTarget);
unfoldTarget();

// A filter applies at once. Reloading would otherwise keep what a form showed before.
const query = find("#query");
if (query) {
  find("#apply").hidden = true;
  for (const each of query.elements) each.addEventListener?.("change", () => each.type !== "search" && query.requestSubmit());
  addEventListener("pageshow", event => event.persisted || query.reset());
}

// While files are read, and when they grow, the number of new records is shown.
const count = find("#count");
async function look() {
  if (document.hidden) return;
  const state = await (await fetch("/status")).json(), num = state.num_records - count.dataset.records, news = find("#news");
  const shown = (num ? `· ${num.toLocaleString()} more ` : "") + (state.is_whole ? "" : "· still reading the files");
  news.textContent = shown;
  if (num) {
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Show";
    news.append(" ", link);
  }
}
if (count?.dataset.records) setInterval(() => look().catch(() => {}), 2000);
