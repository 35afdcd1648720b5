/**
 * Makes elements of the page. Text is always set as text: strings of an image are never markup.
 */

type Attributes = { readonly [name: string]: string | number | boolean };

/** An element with attributes and children. An attribute that is false is left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

/** An element of an SVG drawing. */
export function svg(
  tag: string,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

function setAttributes(to: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) to.setAttribute(name, value === true ? '' : String(value));
  }
}

/** A section of the page with a heading. */
export function section(title: string, ...children: readonly (Node | string)[]): HTMLElement {
  const id = `section-${title.toLowerCase().replace(/[^a-z]+/g, '-')}`;
  return h('section', { 'aria-labelledby': id }, h('h2', { id }, title), ...children);
}

/** A plain table with a caption. Cells of numbers are set right. */
export function plainTable(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): HTMLTableElement {
  return h(
    'table',
    {},
    h('caption', {}, caption),
    h('thead', {}, h('tr', {}, ...head.map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, ...rows.map((cells) => h('tr', {}, ...cells.map(cell)))),
  );
}

/** A cell of a table. */
export function cell(value: string | number): HTMLTableCellElement {
  if (typeof value === 'string') return h('td', {}, value);
  return h('td', { class: 'number' }, grouped(value));
}

/** A whole number with its thousands apart. */
export function grouped(value: number): string {
  return value.toLocaleString('en').replaceAll(',', '\u202f');
}
