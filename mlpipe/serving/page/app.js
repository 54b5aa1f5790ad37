// The page: it asks the server for its OpenAPI document, and makes everything of that.

import { drawAnswer } from "./answer.js";
import { drawOperations } from "./api.js";
import { element } from "./dom.js";
import { makeFields } from "./form.js";
import { markdown } from "./markdown.js";
import { ask, askForFile, hasKey, useKey } from "./server.js";

const find = (id) => document.getElementById(id);
const BODY = ["body"];

/** @param {boolean} given Whether a key was just given, which may be wrong. */
async function start(given = false) {
  const { status, body } = await ask("/openapi.json");
  find("trouble").hidden = status === 200 || status === 401;
  find("trouble").textContent = find("trouble").hidden ? "" : body.detail;
  if (status === 401) askForKey(given ? body.detail : "");
  if (status === 200) show(body);
}

function askForKey(message = "") {
  find("key").hidden = false;
  find("key-fault").textContent = message;
  find("key-field").focus();
}

function show({ info, paths, components }) {
  const { Row: row, Answer: schema } = components.schemas;
  const fields = makeFields(row);
  document.title = info.title;
  find("title").textContent = info.title;
  find("summary").textContent = info.summary;
  find("fields").replaceChildren(...fields.map((field) => field.node));
  find("card").replaceChildren(...markdown(info.description));
  find("operations").replaceChildren(...drawOperations({ paths, components }));
  find("model").hidden = false;
  find("row").onsubmit = (event) => {
    event.preventDefault();
    predict(fields, schema, info["x-model-version"]);
  };
  find("row").onreset = () => setTimeout(() => fields.forEach((field) => field.refresh())); // once it is done
  if (location.hash) find(location.hash.slice(1))?.scrollIntoView();
}

async function predict(fields, schema, version) {
  // Not `row[name] = …`, which takes a column "__proto__" for something else.
  const row = JSON.stringify(Object.fromEntries(fields.map((field) => [field.name, field.read()])));
  find("row").setAttribute("aria-busy", "true");
  const { status, body } = await ask("/predict", row);
  find("row").removeAttribute("aria-busy");
  fields.forEach((field) => field.fault(""));
  if (status !== 200) {
    showFaults(status, body.detail, fields);
    return;
  }
  find("answer").replaceChildren(...drawAnswer(body, schema, version, row));
  find("answer").scrollIntoView({ block: "nearest" });
}

/** Faults of fields at their fields, all others where the answer would be. */
function showFaults(status, detail, fields) {
  const faults = Array.isArray(detail) ? detail : [{ loc: BODY, msg: String(detail) }];
  const elsewhere = [];
  let first = null;
  for (const { loc, msg } of faults) {
    const field = fields.find(({ name }) => loc.length === 2 && loc[1] === name);
    if (field) field.fault(msg);
    else elsewhere.push(msg);
    first ??= field ?? null;
  }
  const messages = elsewhere.map((message) => element("p", { class: "fault" }, message));
  if (first) messages.push(element("p", { class: "fault" }, "See the fields that are marked."));
  find("answer").replaceChildren(...messages);
  first?.focus();
  if (status === 401) askForKey(String(detail));
}

/** A link of the browser's sends no key: where one is needed, the file is fetched with it, and handed over. */
async function follow(event, link) {
  if (!hasKey() && find("key").hidden) return; // none is needed
  event.preventDefault();
  const file = hasKey() ? await askForFile(`/${link.getAttribute("href")}`) : null;
  if (file === null) {
    askForKey(`${link.textContent} needs an API key.`);
    return;
  }
  const address = URL.createObjectURL(file);
  element("a", { href: address, download: link.dataset.file }).click();
  URL.revokeObjectURL(address);
}

document.querySelectorAll("a[data-file]").forEach((link) => {
  link.onclick = (event) => follow(event, link);
});
find("key").onsubmit = (event) => {
  event.preventDefault();
  useKey(find("key-field").value);
  find("key").hidden = true;
  start(true);
};
start();
