// What the model answers, drawn: bars of probabilities, or a number and its interval.

import { codeBlock, element } from "./dom.js";
import { curl } from "./server.js";

/** The least and the greatest number drawn so far: answers of one visit are drawn to one scale. */
let extent = [Infinity, -Infinity];

/**
 * The answer to one row.
 *
 * @param {object} answer Of `POST /predict`.
 * @param {object} schema Of the answer, in the OpenAPI document.
 * @param {string} version For which the form was made.
 * @param {string} body What was asked.
 * @returns {Node[]}
 */
export function drawAnswer(answer, schema, version, body) {
  const drawn = answer.probabilities ? [heading(answer), bars(answer, schema)] : drawNumber(answer);
  const by = [element("p", { class: "hint" }, "Answered by version ", element("code", {}, answer.model_version), ".")];
  if (answer.model_version !== version) {
    by.push(element("p", { class: "hint" }, `The form was made for version ${version}; reload the page for its own.`));
  }
  const request = element("details", {}, element("summary", {}, "The same in a shell"), codeBlock(curl("/predict", body)));
  return [...drawn, ...by, request];
}

function heading(answer) {
  const said = Array.isArray(answer.prediction) ? answer.prediction.join(", ") || "none of the labels" : answer.prediction;
  const nodes = [element("h2", {}, String(said))];
  if (answer.confidence !== undefined) nodes.push(element("p", { class: "hint" }, `confidence ${percent(answer.confidence)}`));
  return element("div", {}, ...nodes);
}

/** A row for each class, the likeliest first. */
function bars(answer, schema) {
  const chosen = new Set(chosenNames(answer, schema));
  const rows = Object.entries(answer.probabilities)
    .sort(([, a], [, b]) => b - a)
    .map(([name, share]) => {
      const bar = element("span", { class: "bar" });
      bar.style.width = `${100 * share}%`;
      return element(
        "tr",
        chosen.has(name) ? { class: "chosen" } : {},
        element("th", { scope: "row" }, name),
        element("td", { class: "track" }, bar),
        element("td", { class: "share" }, percent(share)),
      );
    });
  const caption = element("caption", {}, "Probabilities");
  return element("table", { class: "bars" }, caption, element("tbody", {}, ...rows));
}

/** The predicted classes by the names that their probabilities have: of a class 1.0 that is "1". */
function chosenNames({ prediction }, { properties }) {
  if (Array.isArray(prediction)) return prediction;
  return [properties.probabilities.required[properties.prediction.enum.indexOf(prediction)]];
}

function drawNumber({ prediction, lower, upper }) {
  const said = element("h2", {}, number(prediction));
  if (lower === undefined) return [said];
  extent = [Math.min(extent[0], lower, prediction), Math.max(extent[1], upper, prediction)];
  const [least, most] = extent;
  const place = (value) => `${most > least ? (100 * (value - least)) / (most - least) : 50}%`;
  const band = element("span", { class: "band" });
  band.style.left = place(lower);
  band.style.right = `calc(100% - ${place(upper)})`;
  const point = element("span", { class: "point" });
  point.style.left = place(prediction);
  const axis = element("div", { class: "axis", "aria-hidden": "true" }, band, point);
  const ends = element("div", { class: "ends", "aria-hidden": "true" }, ...extent.map((x) => element("span", {}, number(x))));
  return [said, element("p", {}, `from ${number(lower)} to ${number(upper)}`), axis, ends];
}

function number(value) {
  return value.toLocaleString(undefined, { maximumSignificantDigits: 6 });
}

function percent(share) {
  if (share > 0 && share < 0.0001) return "< 0.01%";
  return share.toLocaleString(undefined, { style: "percent", maximumFractionDigits: 2 });
}
