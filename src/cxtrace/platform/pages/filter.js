"use strict";
const form = document.forms[0];
const rows = [...document.querySelectorAll(".j")];
const count = document.getElementById("count");
const show = () => {
  const wanted = [...form.querySelectorAll("select")].map((each) => each.value).filter(Boolean);
  const text = form.q.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const has = row.dataset.k.split(" ");
    row.hidden = !(wanted.every((each) => has.includes(each)) && row.dataset.t.includes(text));
    shown += !row.hidden;
  }
  count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} are shown`;
};
if (form) {
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
}
