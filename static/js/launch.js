// The launch form: marks what differs from its default.
"use strict";

const form = document.querySelector("form.launch");
const fold = document.getElementById("all-settings");
const count = fold.querySelector("[data-count]");
const number = new Intl.NumberFormat(document.documentElement.lang);

function differs(control) {
  const usual = control.dataset.default;
  if (usual === undefined || control.required) return false;
  if (control.type === "checkbox") return (control.checked ? "True" : "False") !== usual;
  const value = control.value.trim();
  if (!value) return false; // an emptied setting takes its default
  return control.type === "number" ? usual === "" || Number(value) !== Number(usual) : value !== usual;
}

function mark() {
  for (const setting of form.querySelectorAll(".setting")) {
    const control = setting.querySelector("input, select, textarea");
    setting.querySelector("[data-changed]").hidden = !differs(control);
  }
  const changed = fold.querySelectorAll("[data-changed]:not([hidden])").length;
  count.textContent = changed ? `· ${number.format(changed)} ${count.dataset.count}` : "";
}

form.addEventListener("input", mark);
mark();
document.getElementById("errors")?.focus();
