/**
 * The only way this page builds DOM.
 *
 * Rules that hold here:
 * - The page sets text as text and never parses a string as markup, so a task
 *   cannot inject any.
 * - The page writes to a node only when something differs: screen readers and
 *   animations react to every write.
 */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {string} tag
 * @param {Record<string, unknown>} props  `on*` functions become listeners, `class` and
 *   names with '-' or 'role' become attributes, everything else properties
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') node.addEventListener(name.slice(2), value);
    else if (name === 'class' || name === 'role' || name.includes('-')) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

/**
 * @param {string} name  a symbol of index.html, without its `icon-`
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const use = document.createElementNS(SVG, 'use');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  setIcon(svg, name);
  return svg;
}

/** @param {SVGElement} svg @param {string} name */
export function setIcon(svg, name) {
  const href = `#icon-${name}`;
  const use = svg.firstElementChild;
  if (use.getAttribute('href') !== href) use.setAttribute('href', href);
}

/** @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} node @param {string} name @param {string} value */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/**
 * Give `parent` exactly these children, moving only those that are elsewhere: a
 * moved node loses focus and restarts its animations.
 *
 * @param {Element} parent
 * @param {Element[]} nodes
 */
export function setChildren(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) {
    if (!wanted.has(child)) child.remove();
  }
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}
