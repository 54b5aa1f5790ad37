// As much of Markdown as model cards are written in: headings, paragraphs, lists, tables, code, bold. What is not known
// stands as it was written, HTML included.

import { codeBlock, element, scrolling } from "./dom.js";

const LIST = /^[-*] /;
const TABLE = /^\|.*\|$/;
const RULE = /^\|[\s:|-]+\|$/;
const FENCE = /^```/;
const HEADING = /^(#{1,6}) +(.*)$/;

/**
 * A text as elements; its headings are one level lower, below that of the page.
 *
 * @param {string} text
 * @returns {Node[]}
 */
export function markdown(text) {
  const lines = text.split(/\r?\n/);
  const nodes = [];
  let at = 0;
  const take = (more) => {
    const start = at;
    while (at < lines.length && more(lines[at])) at += 1;
    return lines.slice(start, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    const title = HEADING.exec(line);
    if (line.trim() === "") at += 1;
    else if (title) {
      nodes.push(element(`h${Math.min(6, title[1].length + 1)}`, {}, ...inline(title[2])));
      at += 1;
    } else if (FENCE.test(line)) {
      at += 1;
      nodes.push(codeBlock(take((next) => !FENCE.test(next)).join("\n")));
      at += 1;
    } else if (TABLE.test(line) && RULE.test(lines[at + 1] ?? "")) nodes.push(table(take((next) => TABLE.test(next))));
    else if (LIST.test(line)) nodes.push(list(take((next) => LIST.test(next) || /^ +\S/.test(next))));
    else nodes.push(element("p", {}, ...inline(take((next) => !startsBlock(next)).join(" "))));
  }
  return nodes;
}

function startsBlock(line) {
  return line.trim() === "" || [HEADING, FENCE, LIST].some((start) => start.test(line));
}

function list(lines) {
  const items = [];
  for (const line of lines) {
    if (LIST.test(line)) items.push(line.slice(2));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return element("ul", {}, ...items.map((item) => element("li", {}, ...inline(item))));
}

function table([header, rule, ...rows]) {
  const right = cells(rule).map((cell) => cell.endsWith(":"));
  const row = (tag, line) =>
    element("tr", {}, ...cells(line).map((cell, i) => element(tag, right[i] ? { class: "right" } : {}, ...inline(cell))));
  const head = element("thead", {}, row("th", header));
  return scrolling(element("table", {}, head, element("tbody", {}, ...rows.map((line) => row("td", line)))), "Table");
}

function cells(line) {
  const inner = line.slice(1, -1);
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part, index) => {
    if (index % 2 === 0) return part;
    return part.startsWith("`") ? element("code", {}, part.slice(1, -1)) : element("strong", {}, part.slice(2, -2));
  });
}
