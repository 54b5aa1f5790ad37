// The form of a row, made from the schema `Row` of the OpenAPI document. The server alone says what is right: a field
// sends what was written, as a number where it is one, and shows what the server says of it.

import { element } from "./dom.js";

/**
 * A field for each column.
 *
 * @param {object} row The schema.
 * @returns {{name: string, node: Element, read: () => any, fault: (message: string) => void, focus: () => void,
 *   refresh: () => void}[]} `read` gives the value as JSON has it; `refresh` is for when it has changed.
 */
export function makeFields(row) {
  const [sample] = row.examples;
  // `required` has the table's order; an object would put a column "7" before all others.
  return row.required.map((name, index) => makeField(name, row.properties[name], sample[name], `field-${index}`));
}

function makeField(name, schema, sample, id) {
  const described = { id, "aria-describedby": `${id}-hint ${id}-range ${id}-fault` };
  const choices = choicesOf(schema);
  const { input, more = [], read } = choices ? select(choices, schema, sample, described) : text(schema, sample, described);
  const range = element("small", { id: `${id}-range`, class: "beyond" });
  const fault = element("p", { id: `${id}-fault`, class: "fault" });
  const node = element(
    "div",
    { class: "field" },
    element("label", { for: id }, name),
    input,
    ...more,
    element("small", { id: `${id}-hint` }, choices ? "" : schema.description),
    range,
    fault,
  );
  const show = (message) => {
    fault.textContent = message;
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  const refresh = () => {
    const [low, high] = schema["x-training-range"] ?? [-Infinity, Infinity];
    const value = read();
    const beyond = typeof value === "number" && (value < low || value > high);
    range.textContent = beyond ? "Training has seen no such number." : "";
    show("");
  };
  node.addEventListener("input", refresh);
  return { name, node, read, fault: show, focus: () => input.focus(), refresh };
}

function choicesOf(schema) {
  if (schema["x-training-categories"] && schema.type.includes("string")) return schema["x-training-categories"];
  return schema.type.includes("boolean") && !schema.type.includes("number") ? [false, true] : null;
}

/** A list of what training has seen; of categories there may be others, which can be written beside it. */
function select(choices, schema, sample, attributes) {
  const values = [null, ...choices];
  let chosen = sample === null ? 0 : values.findIndex((value) => value !== null && String(value) === String(sample));
  if (chosen < 0) chosen = values.push(sample) - 1;
  const options = values.map((value, index) => element("option", { selected: index === chosen }, String(value)));
  const input = element("select", attributes, ...options);
  if (!schema.type.includes("number")) return { input, read: () => values[input.selectedIndex] };
  input.append(element("option", {}, "another …"));
  const other = element("input", { hidden: true, autocomplete: "off", "aria-label": "another value" });
  const show = () => (other.hidden = input.selectedIndex < values.length);
  input.addEventListener("change", () => {
    show();
    if (!other.hidden) other.focus();
  });
  const read = () => {
    show(); // a reset of the form tells no field of its own
    return other.hidden ? values[input.selectedIndex] : parse(other.value, schema, sample);
  };
  return { input, more: [other], read };
}

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const DATETIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$/;

function text(schema, sample, attributes) {
  const value = sample === null ? "" : String(sample);
  const common = { ...attributes, placeholder: "null", autocomplete: "off" };
  let input;
  if (schema.pattern && DATE.test(value)) input = element("input", { ...common, type: "date", value });
  else if (schema.pattern && DATETIME.test(value)) {
    input = element("input", { ...common, type: "datetime-local", step: "1", value });
  } else if (schema.type.includes("number") || schema.pattern) {
    input = element("input", { ...common, inputmode: schema.type.includes("string") ? "text" : "decimal", value });
  } else input = element("textarea", { ...common, rows: "1" }, value);
  return { input, read: () => parse(input.value, schema, sample) };
}

/** What was written, as JSON has it: a number if the column has numbers and none of its digits would be lost. */
function parse(written, schema, sample) {
  if (written === "") return null;
  const number = Number(written);
  const numeric = schema.type.includes("number") && typeof sample !== "string" && written.trim() !== "";
  const exact = Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number));
  return numeric && exact ? number : written;
}
