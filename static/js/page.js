// What every page shares: theme, menus, copy buttons, and what to do when the session has ended.
"use strict";

const root = document.documentElement;

function setTheme(theme) {
  root.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
  for (const button of document.querySelectorAll("[data-set-theme]")) {
    button.setAttribute("aria-pressed", String(button.dataset.setTheme === theme));
  }
}

// On a narrow screen the sections scroll sideways: the one that is open must be seen.
document.querySelector(".sections [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

document.addEventListener("click", async (event) => {
  const theme = event.target.closest("[data-set-theme]");
  if (theme) setTheme(theme.dataset.setTheme);

  // <button data-copy="#id" data-copied="Copied"> copies the text or the value of an element.
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const source = document.querySelector(copy.dataset.copy);
    await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
    const label = copy.textContent;
    copy.textContent = copy.dataset.copied;
    setTimeout(() => { copy.textContent = label; }, 2000);
  }

  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (!menu) return;
  const inside = menu.contains(document.activeElement);
  menu.open = false;
  if (inside) menu.querySelector("summary").focus();
});

// <form data-confirm="Really?"> asks before it is sent.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

document.addEventListener("htmx:configRequest", (event) => {
  // The token of the cookie, not the page's: after a login in another tab the page's is stale.
  const cookie = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  if (cookie) event.detail.headers["X-CSRFToken"] = cookie[1];
  if (cookie && "csrfmiddlewaretoken" in event.detail.parameters) event.detail.parameters.csrfmiddlewaretoken = cookie[1];
});

// A request that ended on the login page must not be swapped into this one.
document.addEventListener("htmx:beforeSwap", (event) => {
  const address = event.detail.xhr.responseURL;
  if (!address || new URL(address).pathname !== root.dataset.login) return;
  event.detail.shouldSwap = false;
  const back = encodeURIComponent(location.pathname + location.search);
  location.assign(`${root.dataset.login}?next=${back}`);
});

// A keyboard must be able to scroll wide code and tables.
function letKeyboardScroll(within) {
  for (const box of within.querySelectorAll(".prose pre, .prose table")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}
document.addEventListener("DOMContentLoaded", () => letKeyboardScroll(document));
document.addEventListener("htmx:afterSettle", (event) => letKeyboardScroll(event.detail.elt));
