// The pages work without this file. It opens forms as dialogs, keeps a page current, copies digests, and leads
// links out of Airflow's sandboxed frame. Nothing here decides: the server does, again, when a form is sent.

const live = () => document.getElementById("live");
const note = () => document.getElementById("live-note");

document.documentElement.dataset.script = "on";

// ---------------------------------------------------------------------------------------------------------- dialogs
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  const dialog = opener && document.getElementById(opener.dataset.opens);
  if (dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    dialog.returnTo = opener;
    dialog.showModal();
    (dialog.querySelector("textarea") ?? dialog.querySelector("[data-closes]"))?.focus();
    return;
  }
  const closer = event.target.closest("[data-closes]");
  if (closer) closer.closest("dialog").close();
  // A click on the backdrop reports the dialog itself as its target.
  if (event.target.tagName === "DIALOG" && !hasText(event.target)) event.target.close();
});

document.addEventListener("close", (event) => event.target.returnTo?.focus(), true);

// A decision is sent by its button alone: Enter in a one-line field must not send it by accident.
document.addEventListener("keydown", (event) => {
  const inDialog = event.target.closest("dialog form");
  if (event.key === "Enter" && inDialog && event.target.tagName === "INPUT") event.preventDefault();
});

document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("button[type=submit]");
  if (event.target.method !== "post" || !button) return;
  if (button.dataset.sent) event.preventDefault();
  button.dataset.sent = "yes";
  button.setAttribute("aria-busy", "true");
});

// ------------------------------------------------------------------------------------------------- copying, leaving
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const done = await copy(button.dataset.copy);
  button.classList.add("done");
  say(done ? "Copied" : button.dataset.copy);
  setTimeout(() => button.classList.remove("done"), 1500);
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Browsers offer no clipboard on plain http or in a frame without that permission.
    const field = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-outside]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
});

// ------------------------------------------------------------------------------------------------------------ filters
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-autosend]");
  if (form) form.requestSubmit();
});

// ----------------------------------------------------------------------------------------------------- staying current
const hasText = (root) => [...root.querySelectorAll("dialog textarea, form textarea")].some((field) => field.value.trim());

function say(text) {
  note().textContent = text;
  note().hidden = false;
  setTimeout(() => { note().hidden = true; }, 2500);
}

function offer(show) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Show" });
  button.addEventListener("click", show);
  note().replaceChildren("This page has changed. ", button);
  note().hidden = false;
}

function replace(html) {
  const open = [...live().querySelectorAll("details[open][id]")].map((details) => details.id);
  live().innerHTML = html;
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  const root = live().firstElementChild;
  live().dataset.version = root.dataset.version;
  if (root.dataset.title) document.title = root.dataset.title;
  if ("final" in root.dataset) delete live().dataset.poll;
  note().hidden = true;
}

async function poll() {
  const area = live();
  const busy = document.hidden || document.querySelector("dialog[open]");
  if (busy || !area?.dataset.poll) return;
  const url = new URL(area.dataset.poll, location.href);
  url.searchParams.set("since", area.dataset.version);
  const answer = await fetch(url, { headers: { "X-Requested-With": "model-review" } });
  if (answer.status !== 200) return;
  const html = await answer.text();
  const queue = "title" in area.firstElementChild.dataset;
  // Rows never move under the pointer, and nothing that somebody typed is thrown away.
  if (document.querySelector("dialog[open]") || hasText(area) || (queue && area.matches(":hover, :focus-within"))) {
    offer(() => replace(html));
  } else {
    replace(html);
  }
}

if (live()?.dataset.poll) {
  setInterval(() => poll().catch(() => {}), Number(live().dataset.every) * 1000);
  document.addEventListener("visibilitychange", () => poll().catch(() => {}));
}
