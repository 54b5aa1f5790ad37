// The one place where elements are made. Text becomes text nodes: no name, label or card is ever read as HTML.

/**
 * An element.
 *
 * @param {string} tag
 * @param {Object<string, string | boolean>} attributes `true` sets one without a value, `false` leaves it out.
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** A block of code that scrolls by keyboard too, with a button to copy it where the browser allows that. */
export function codeBlock(text) {
  const block = element("div", { class: "code" }, scrolling(element("pre", {}, element("code", {}, text)), "Code"));
  if (navigator.clipboard) {
    const button = element("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    });
    block.append(button);
  }
  return block;
}

/** What may be wider than the page. */
export function scrolling(node, label) {
  return element("div", { class: "scrolling", tabindex: "0", role: "group", "aria-label": label }, node);
}
