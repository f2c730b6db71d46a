// The annotate page: keys, shelf, drafts. The form works without it; this makes it quick and keeps unfinished work.
"use strict";

const SAVE_AFTER = 1000; // ms after the last change
const RENEW_EVERY = 60_000;
const IDLE_AFTER = 120_000; // reading without a sign of life counts as work for two minutes

let ballot = null; // the task on the page; null while there is none

class Ballot {
  constructor(section) {
    this.section = section;
    this.form = section.querySelector("#ballot");
    this.cards = [...section.querySelectorAll(".candidate")];
    this.submitButton = section.querySelector("#submit");
    this.words = section.dataset;
    this.counter = Number(this.words.counter);
    this.seconds = Number(this.form.elements.seconds.value) || 0;
    this.dirty = false;
    this.lost = false;
    this.sent = new AbortController(); // ends what is under way when the answer itself is sent

    if (matchMedia("(max-width: 56.25rem)").matches) section.querySelector("#guideline")?.removeAttribute("open");
    this.restoreFromBrowser();
    this.form.addEventListener("change", () => this.changed());
    this.form.elements.comment.addEventListener("input", () => this.changed());
    this.showTiers();
    this.measure();
  }

  // --- Ranks ---

  letter(card) {
    return String.fromCharCode(64 + Number(card.dataset.position));
  }

  radios(card) {
    return [...card.querySelectorAll(".ranks input")];
  }

  rank(card) {
    return Number(this.radios(card).find((radio) => radio.checked)?.value ?? 0);
  }

  setRank(card, rank) {
    for (const radio of this.radios(card)) radio.checked = Number(radio.value) === rank;
    const text = rank ? `${this.words.ranked.replace("%s", this.letter(card))} ${rank}` : this.words.cleared.replace("%s", this.letter(card));
    announce(text);
    this.changed();
  }

  /** The tiers, best first: lists of cards. */
  tiers() {
    const ranks = [...new Set(this.cards.map((card) => this.rank(card)))].filter(Boolean).sort((a, b) => a - b);
    return ranks.map((rank) => this.cards.filter((card) => this.rank(card) === rank));
  }

  unranked() {
    return this.cards.filter((card) => !this.rank(card));
  }

  /** One step up or down: past the tier beside it, or out of a tier that it shares. */
  move(card, step) {
    const tiers = this.tiers();
    const at = tiers.findIndex((tier) => tier.includes(card));
    if (at < 0) {
      tiers.splice(step < 0 ? 0 : tiers.length, 0, [card]);
    } else if (tiers[at].length > 1) {
      tiers[at] = tiers[at].filter((other) => other !== card);
      tiers.splice(step < 0 ? at : at + 1, 0, [card]);
    } else {
      const to = at + step;
      if (to < 0 || to >= tiers.length) return;
      [tiers[at], tiers[to]] = [tiers[to], tiers[at]];
    }
    tiers.forEach((tier, index) => {
      for (const other of tier) this.radios(other).forEach((radio) => { radio.checked = Number(radio.value) === index + 1; });
    });
    announce(`${this.words.ranked.replace("%s", this.letter(card))} ${this.rank(card)}`);
    this.changed();
  }

  showTiers() {
    const tiers = this.tiers();
    const missing = this.unranked();
    for (const list of this.section.querySelectorAll("[data-tiers]")) {
      const rows = tiers.map((tier, index) => this.tierRow(String(index + 1), tier, list));
      if (missing.length && tiers.length) rows.push(this.tierRow("–", missing, list));
      if (!tiers.length && list.dataset.empty) {
        const hint = document.createElement("li");
        hint.className = "muted small hint";
        hint.textContent = list.dataset.empty;
        rows.push(hint);
      }
      list.replaceChildren(...rows);
    }
    for (const card of this.cards) card.classList.toggle("ranked", this.rank(card) > 0);
    this.section.classList.toggle("complete", this.isComplete());
  }

  tierRow(name, cards, list) {
    const row = document.createElement("li");
    const label = document.createElement("span");
    label.className = "tier-rank";
    label.textContent = name;
    row.append(label);
    if (name === "–") row.className = "missing";
    for (const card of cards) {
      // The narrow strip is a picture for the eye; the shelf's letters lead to their cards.
      const chip = document.createElement(list.classList.contains("compact") ? "span" : "button");
      chip.className = "chip";
      chip.textContent = this.letter(card);
      if (chip.type) {
        chip.type = "button";
        chip.addEventListener("click", () => card.focus());
      }
      row.append(chip);
    }
    return row;
  }

  isComplete() {
    return Boolean(this.form.elements.all_bad?.checked) || !this.unranked().length;
  }

  // --- Focus ---

  current() {
    return document.activeElement?.closest?.(".candidate") ?? null;
  }

  giveRank(rank) {
    if (rank > this.cards.length) return;
    const card = this.current() ?? this.unranked()[0];
    if (!card) return;
    this.setRank(card, rank);
    const order = [...this.cards.slice(this.cards.indexOf(card) + 1), ...this.cards];
    (order.find((other) => !this.rank(other)) ?? this.submitButton).focus();
  }

  step(by) {
    const at = this.cards.indexOf(this.current());
    this.cards[at < 0 ? 0 : (at + by + this.cards.length) % this.cards.length].focus();
  }

  /** False, with the reason said and shown, while a card has no rank. */
  mayBeSent() {
    if (!this.submitButton || this.isComplete()) return true;
    const card = this.unranked()[0];
    card.focus();
    this.trouble(this.words.noRank.replace("%s", this.letter(card)), { kind: "warn" });
    return false;
  }

  // --- Reading ---

  /** Offer "Show all" where an answer is cut at the common height; let the keyboard scroll wide code. */
  measure() {
    for (const card of this.cards) {
      const answer = card.querySelector(".answer");
      card.querySelector(".more").hidden = !card.classList.contains("open") && answer.scrollHeight <= answer.clientHeight + 1;
    }
  }

  expand(card, open = !card.classList.contains("open")) {
    const more = card.querySelector(".more");
    if (more.hidden) return;
    card.classList.toggle("open", open);
    more.setAttribute("aria-expanded", String(open));
    if (!open) card.scrollIntoView({ block: "nearest" });
  }

  expandAll() {
    const open = this.cards.some((card) => !card.querySelector(".more").hidden && !card.classList.contains("open"));
    for (const card of this.cards) this.expand(card, open);
  }

  toggleRaw() {
    const raw = this.section.toggleAttribute("data-raw");
    this.section.querySelector(".raw-switch").setAttribute("aria-pressed", String(raw));
    this.measure();
  }

  toggleComment() {
    const box = this.section.querySelector("#comment");
    box.open = !box.open;
    this.section.querySelector("[data-do=comment]").setAttribute("aria-expanded", String(box.open));
    if (box.open) this.form.elements.comment.focus();
  }

  // --- Drafts: to the server, and to the browser in case the server is not there ---

  changed() {
    this.dirty = true;
    this.counter += 1;
    this.trouble("");
    this.showTiers();
    this.keepInBrowser();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), SAVE_AFTER);
  }

  get browserKey() {
    return `draft:${this.words.lease}`;
  }

  keepInBrowser() {
    if (!this.words.lease) return;
    const fields = [...new FormData(this.form)].filter(([name]) => name !== "csrfmiddlewaretoken" && name !== "key");
    tryStorage(() => localStorage.setItem(this.browserKey, JSON.stringify({ counter: this.counter, fields })));
  }

  restoreFromBrowser() {
    if (!this.words.lease) return;
    const kept = tryStorage(() => JSON.parse(localStorage.getItem(this.browserKey)));
    if (!kept || kept.counter <= this.counter) return;
    const fields = new Map(kept.fields);
    for (const control of this.form.elements) {
      if (control.type === "radio") control.checked = fields.get(control.name) === control.value;
      else if (control.type === "checkbox") control.checked = fields.has(control.name);
      else if (control.name === "comment") control.value = fields.get("comment") ?? "";
    }
    this.counter = kept.counter;
    this.seconds = Math.max(this.seconds, Number(fields.get("seconds")) || 0);
    this.section.querySelector("#comment").open = Boolean(this.form.elements.comment.value);
    this.dirty = true;
  }

  body() {
    this.form.elements.seconds.value = String(Math.round(this.seconds));
    const body = new FormData(this.form);
    body.set("csrfmiddlewaretoken", csrfToken());
    body.set("counter", String(this.counter));
    return body;
  }

  async save({ leaving = false } = {}) {
    clearTimeout(this.timer);
    if (!this.words.draft || !this.dirty || this.lost || this.counter < 1) return;
    const counter = this.counter;
    this.note(this.words.saving);
    const response = await this.post(this.words.draft, this.body(), leaving);
    if (!response?.ok) return;
    if (this.counter === counter) this.dirty = false;
    this.savedAt = Date.now();
    this.trouble("");
    this.showSaved();
  }

  async renew() {
    if (!this.words.renew || this.lost) return;
    const body = new FormData();
    body.set("csrfmiddlewaretoken", csrfToken());
    const response = await this.post(this.words.renew, body);
    if (response?.ok && this.dirty) this.save();
  }

  /** The response, or undefined after the trouble was told. */
  async post(address, body, keepalive = false) {
    let response;
    try {
      response = await fetch(address, { method: "POST", body, keepalive, signal: this.sent.signal });
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      this.note("");
      this.trouble(this.words.offline);
      return undefined;
    }
    if (this !== ballot) return undefined;
    if (response.redirected) {
      const login = `${document.documentElement.dataset.login}?next=${encodeURIComponent(location.pathname)}`;
      this.trouble(this.words.loggedOut, { address: login, label: this.words.logInLabel });
    } else if (response.status === 409) {
      this.lost = true;
      this.trouble(this.words.seatLost, { address: this.words.next, label: this.words.nextLabel });
    } else if (response.status >= 500) {
      this.trouble(this.words.failed);
    }
    if (!response.ok || response.redirected) {
      this.note("");
      return undefined;
    }
    return response;
  }

  /** A draft that arrives after the answer would be told that the seat is gone. */
  stopSaving() {
    clearTimeout(this.timer);
    this.sent.abort();
    this.sent = new AbortController();
  }

  forget() {
    clearTimeout(this.timer);
    if (this.words.lease) tryStorage(() => localStorage.removeItem(this.browserKey));
  }

  // --- What is said ---

  note(text) {
    this.section.querySelector("#saved").textContent = text;
  }

  showSaved() {
    if (!this.savedAt) return;
    const seconds = Math.round((Date.now() - this.savedAt) / 1000);
    this.note(seconds < 60 ? this.words.saved.replace("%s", seconds) : this.words.savedMinutes.replace("%s", Math.floor(seconds / 60)));
  }

  trouble(text, { kind = "bad", address = "", label = "" } = {}) {
    const box = this.section.querySelector("#trouble");
    box.hidden = !text;
    box.className = `notice ${kind}`;
    box.querySelector("span").textContent = text;
    const link = box.querySelector("a");
    link.hidden = !address;
    link.href = address;
    link.textContent = label;
  }
}

function csrfToken() {
  return document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
}

function tryStorage(act) {
  try {
    return act();
  } catch {
    return null; // storage is full, or switched off: the server still has the draft
  }
}

function announce(text) {
  document.getElementById("announce").textContent = text;
}

// --- A task comes, by the page or by htmx ---

function open(section, { focus }) {
  ballot = section?.querySelector("#ballot") ? new Ballot(section) : null;
  if (!section) return;
  if (section.dataset.said) announce(section.dataset.said);
  if (!focus) return;
  const problem = section.querySelector("#problem");
  if (!problem) window.scrollTo(0, 0);
  (ballot?.cards[0] ?? section.querySelector("[data-autofocus], a.button"))?.focus({ preventScroll: !problem });
}

document.addEventListener("DOMContentLoaded", () => {
  open(document.getElementById("task"), { focus: Boolean(document.querySelector("#ballot")) });
});

document.addEventListener("htmx:afterSwap", (event) => {
  const section = document.getElementById("task");
  if (section && section !== ballot?.section) open(section, { focus: event.detail.requestConfig.verb === "post" || section.classList.contains("ballot") });
});

// An answer that the server took, or counts as surplus, needs no copy in the browser any more.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (requestConfig.verb === "post" && event.detail.shouldSwap && (xhr.status < 300 || xhr.status === 409)) ballot?.forget();
});

document.addEventListener("submit", (event) => {
  if (event.target !== ballot?.form) return;
  if (ballot.mayBeSent()) {
    ballot.stopSaving();
    ballot.form.elements.seconds.value = String(Math.round(ballot.seconds));
  } else {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, { capture: true });

for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, () => ballot?.trouble(ballot.words.offline));
}
document.addEventListener("htmx:responseError", () => ballot?.trouble(ballot.words.failed));
window.addEventListener("online", () => { ballot?.trouble(""); ballot?.save(); });
window.addEventListener("pagehide", () => ballot?.save({ leaving: true }));
window.addEventListener("resize", () => ballot?.measure());

// --- Time ---

let lastSign = Date.now();
for (const name of ["pointermove", "pointerdown", "keydown", "scroll", "touchstart"]) {
  window.addEventListener(name, () => { lastSign = Date.now(); }, { passive: true, capture: true });
}
setInterval(() => {
  if (document.visibilityState === "visible" && Date.now() - lastSign < IDLE_AFTER && ballot) ballot.seconds += 1;
  ballot?.showSaved();
}, 1000);
setInterval(() => { if (document.visibilityState === "visible") ballot?.renew(); }, RENEW_EVERY);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") ballot?.renew();
  else ballot?.save({ leaving: true });
});

// --- Pointer ---

const ACTIONS = {
  up: (card) => ballot.move(card, -1),
  down: (card) => ballot.move(card, 1),
  more: (card) => ballot.expand(card),
  raw: () => ballot.toggleRaw(),
  comment: () => ballot.toggleComment(),
  help: () => document.getElementById("help").showModal(),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button && ballot) ACTIONS[button.dataset.do](button.closest(".candidate"));
});

// A rank that is clicked again is taken back. A label's click comes to its radio as a second click, after the first
// has checked it: so what was checked is noted when the pointer goes down.
let checkedBefore = null;
document.addEventListener("pointerdown", (event) => {
  const radio = event.target.closest(".ranks label")?.querySelector("input");
  checkedBefore = radio?.checked ? radio : null;
});
document.addEventListener("click", (event) => {
  if (!checkedBefore || event.target !== checkedBefore) return;
  checkedBefore = null;
  ballot?.setRank(event.target.closest(".candidate"), 0);
});

// Tabbing to a link in the hidden part of an answer shows that part.
document.addEventListener("focusin", (event) => {
  const card = event.target.closest(".answer")?.closest(".candidate");
  if (card && ballot) ballot.expand(card, true);
});

// --- Keys ---

function press(selector) {
  const target = ballot.section.querySelector(selector);
  target?.click();
  return Boolean(target);
}

const LETTERS = {
  r: () => ballot.toggleRaw(),
  c: () => ballot.toggleComment(),
  u: () => press("#undo"),
  g: () => press("#guideline > summary"),
  s: () => {
    const menu = ballot.section.querySelector("#skip-menu");
    if (!menu) return;
    menu.open = !menu.open;
    if (menu.open) menu.querySelector("button").focus();
  },
};

function digit(event) {
  return /^(Digit|Numpad)[0-9]$/.test(event.code) ? Number(event.code.at(-1)) : null;
}

/** Whether the key was ours. */
function onKey(event) {
  const { target, key } = event;
  const n = digit(event);
  const menu = ballot.section.querySelector("#skip-menu[open]");
  if (menu && n) {
    menu.querySelectorAll("button")[n - 1]?.click();
    return true;
  }
  if (n === 0) return press("input[name=all_bad], [data-key='0']") && focusSubmitIfComplete();
  if (n && ballot.submitButton) return ballot.giveRank(n), true;

  if (key === "?") return document.getElementById("help").showModal(), true;
  if (!ballot.submitButton) {
    if (key === "ArrowLeft") return press("[data-key='1']");
    if (key === "ArrowRight") return press("[data-key='2']");
    if (key === "ArrowDown") return press("[data-key='tie']");
  }
  const onCard = target.matches(".candidate, body, main");
  if (onCard && key === "ArrowLeft") return ballot.step(-1), true;
  if (onCard && key === "ArrowRight") return ballot.step(1), true;
  if (key === "Backspace" && ballot.current()) return ballot.setRank(ballot.current(), 0), true;
  if (key === " " && event.shiftKey && onCard) return ballot.expandAll(), true;
  if (key === " " && target.matches(".candidate")) return ballot.expand(target), true;
  if (key === "Enter" && (onCard || target.matches("input[type=radio], input[type=checkbox]")) && ballot.submitButton) {
    return ballot.form.requestSubmit(ballot.submitButton), true;
  }

  // Where the layout is not Latin, the key's place on the keyboard stands for its letter.
  const letter = /^[a-z]$/i.test(key) ? key.toLowerCase() : event.code.replace(/^Key/, "").toLowerCase();
  if (LETTERS[letter]) return LETTERS[letter](), true;
  return false;
}

function focusSubmitIfComplete() {
  if (ballot?.submitButton && ballot.form.elements.all_bad.checked) ballot.submitButton.focus();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229 || event.altKey) return;
  if (!ballot) {
    // No task is left, but the last judgement can still be taken back.
    if (event.key === "u" && !event.ctrlKey && !event.metaKey) document.querySelector("#task #undo")?.click();
    return;
  }
  if (event.target.matches("textarea, select, input:not([type=radio], [type=checkbox])")) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (ballot.submitButton) ballot.form.requestSubmit(ballot.submitButton);
      else ballot.cards[0].focus(); // of two answers: the next key is the verdict, and sends
    }
    if (event.key === "Escape") ballot.current() ?? ballot.cards[0].focus();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.repeat || document.querySelector("dialog[open]")) return;
  if (onKey(event)) event.preventDefault();
});
