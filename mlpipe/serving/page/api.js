// The OpenAPI document for people: each operation with its statuses, its examples, and a command that can be pasted.

import { codeBlock, element } from "./dom.js";
import { curl } from "./server.js";

/**
 * All operations of a document.
 *
 * @returns {Node[]}
 */
export function drawOperations({ paths, components }) {
  return Object.entries(paths).flatMap(([path, item]) =>
    ["get", "post"].filter((method) => item[method]).map((method) => draw(method, path, item, components)),
  );
}

function draw(method, path, item, components) {
  const operation = item[method];
  const title = element("summary", {}, element("code", {}, `${method.toUpperCase()} ${path}`), ` ${operation.summary}`);
  const address = (item.parameters ?? []).reduce(
    (text, { name, example }) => text.replace(`{${name}}`, encodeURIComponent(example)),
    path,
  );
  return element("details", {}, title, ...examples(operation, address), statuses(operation, components));
}

function examples({ requestBody }, path) {
  if (!requestBody) return [codeBlock(curl(path))];
  const { examples } = requestBody.content["application/json"];
  return Object.entries(examples).flatMap(([name, { value }]) => [
    element("p", {}, name.replaceAll("_", " ")),
    codeBlock(curl(path, JSON.stringify(value))),
  ]);
}

function statuses({ responses }, components) {
  const rows = Object.entries(responses).map(([status, response]) => {
    const { description } = response.$ref ? components.responses[status] : response;
    return element("tr", {}, element("th", { scope: "row" }, status), element("td", {}, description));
  });
  return element("table", {}, element("caption", {}, "Statuses"), element("tbody", {}, ...rows));
}
