// Keyboard and small comforts; the pages work without it.
"use strict";
document.documentElement.classList.add("scripted");
const find = selector => document.querySelector(selector);
let records = [...document.querySelectorAll(".record")];

let saving = Promise.resolve();

function step(forward) {
  const link = find(forward ? ".top [rel=next]" : ".top [rel=prev]");
  if (!records.length) return saving.then(() => link?.click(), () => {});
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

function labelTurn(verdict) {
  const focused = document.activeElement?.closest(".turn")?.querySelector(".label-turn");
  const part = focused ?? find(".label-turn");
  if (!part) return;
  part.open = true;
  part.querySelector(`[value=${verdict}]`).click();
}

const keys = {
  j: () => step(true),
  k: () => step(false),
  ArrowRight: () => records.length || step(true),
  ArrowLeft: () => records.length || step(false),
  f: () => go(find(".turn.first")),
  s: () => { const shared = find("#shared"); if (shared) shared.open = !shared.open; },
  u: () => saving.then(() => find("[data-key=u]")?.click(), () => {}),
  n: () => find("#label-note")?.focus(),
  a: () => find("[data-verdict=a]")?.click(),
  d: () => find("[data-verdict=d]")?.click(),
  t: () => find("[data-verdict=t]")?.click(),
  A: () => labelTurn("agree"),
  D: () => labelTurn("disagree"),
  T: () => labelTurn("tie"),
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

// A label is saved without leaving the page, and the next page waits for it. A note is saved when its field is left.
async function save(form, body) {
  const state = form.querySelector(".saving");
  try {
    const answer = await fetch(form.action, {method: "POST", body, keepalive: true}), text = await answer.text();
    if (!answer.ok) throw new Error(text);
    const forms = [...new DOMParser().parseFromString(text, "text/html").querySelectorAll("form.label")];
    const saved = forms.find(each => each.elements.turn.value === body.get("turn")), focused = document.activeElement;
    for (const part of [".choices", ".saving", ".rest"]) form.querySelector(part).replaceWith(saved.querySelector(part));
    if (body.has("remove")) form.elements.note.value = "";
    if (!focused.isConnected) form.querySelector(`[value="${focused.value}"]`)?.focus();
  } catch (error) {
    const fault = document.createElement("b");
    fault.className = "unsaved";
    fault.textContent = `Not saved: ${error.message}`;
    state.replaceChildren(fault);
    throw error;
  }
}
document.addEventListener("submit", event => {
  const {target, submitter} = event;
  if (!target.matches("form.label")) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(target, submitter));
  saving = saving.catch(() => {}).then(() => save(target, body));
  saving.catch(() => {});
});
document.addEventListener("change", event => {
  const form = event.target.form;
  if (form?.matches(".label")) form.requestSubmit(form.querySelector(".save"));
});

// Rewards appear as soon as the pair is scored.
async function refreshRewards() {
  if (document.hidden) return;
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  const fresh = page.querySelector("#rewards");
  if (!fresh.isEqualNode(find("#rewards"))) find("#rewards").replaceWith(fresh);
}
const pending = setInterval(() => find("#rewards[data-pending]") ? refreshRewards().catch(() => {}) : clearInterval(pending), 500);

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

// The page of a run follows it: parts that changed are replaced, and what was open or focused stays so.
const PARTS = ["run-title", "run-figures", "run-faults", "run-newest", "run-others"];
async function follow() {
  if (document.hidden) return true;
  const text = await (await fetch(location.href)).text(), fresh = new DOMParser().parseFromString(text, "text/html");
  const held = document.activeElement?.getAttribute("href"), unfolded = new Map([...document.querySelectorAll(".run details")].map(each => [each.id, each.open]));
  for (const id of PARTS) {
    const part = fresh.getElementById(id), old = document.getElementById(id);
    for (const each of part?.querySelectorAll("details") ?? []) if (unfolded.has(each.id)) each.open = unfolded.get(each.id);
    if (part && !part.isEqualNode(old)) old.replaceWith(part);
  }
  document.title = fresh.title;
  records = [...document.querySelectorAll(".record")];
  if (held && document.activeElement === document.body) document.querySelector(`main a[href="${CSS.escape(held)}"]`)?.focus({preventScroll: true});
  return Boolean(fresh.querySelector("[data-live]"));
}
async function keepFollowing() {
  let goesOn = true;
  try { goesOn = await follow(); } catch { const lost = find("#lost"); if (lost) lost.hidden = false; }
  if (goesOn) setTimeout(keepFollowing, 2000);
}
if (find("[data-live]")) setTimeout(keepFollowing, 2000);
