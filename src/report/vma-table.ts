/**
 * The table of all mappings: sorted by any column, filtered by text, and shown in parts, since
 * there may be tens of thousands.
 */
import { formatBytes } from '../shared/human-units.ts';
import { PAGE_KINDS, type ReportData } from '../shared/report/report-data.ts';
import { protLetters } from '../shared/vm-flags.ts';
import { nameOf, rangeOf } from './describe.ts';
import { cell, grouped, h } from './dom.ts';
import type { PageMap } from './page-map.ts';

const AT_ONCE = 100;

type Value = string | number;

/** Columns that begin with the largest number: the sizes, and the numbers of pages. */
const COUNTS: ReadonlySet<number> = new Set([1, ...PAGE_KINDS.map((_, kind) => kind + 3)]);

const COLUMNS = ['addresses', 'size', 'prot', ...PAGE_KINDS, 'what'];

export class VmaTable {
  readonly element: HTMLElement;
  readonly #body = h('tbody');
  readonly #status = h('span', { role: 'status' });
  readonly #heads: readonly HTMLTableCellElement[];
  readonly #filter = h('input', { type: 'search', id: 'filter', autocomplete: 'off' });
  readonly #goTo: (vma: number) => void;
  #data: ReportData | undefined;
  #map: PageMap | undefined;
  /** The mappings that are shown, in their order. */
  #shown: readonly number[] = [];
  #from = 0;
  #column = 0;
  #isAscending = true;

  constructor(goTo: (vma: number) => void) {
    this.#goTo = goTo;
    this.#heads = COLUMNS.map((name, column) => this.#head(name, column));
    this.#filter.addEventListener('input', () => this.#update());
    this.element = h(
      'div',
      {},
      h(
        'p',
        { class: 'controls' },
        h('label', { for: 'filter' }, 'Only those with '),
        this.#filter,
        this.#pager('Previous', -AT_ONCE),
        this.#pager('Next', AT_ONCE),
        this.#status,
      ),
      h(
        'div',
        { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Mappings' },
        h(
          'table',
          {},
          h('caption', {}, 'Mappings, and their pages by kind'),
          h('thead', {}, h('tr', {}, ...this.#heads)),
          this.#body,
        ),
      ),
    );
  }

  setMap(data: ReportData, map: PageMap): void {
    this.#data = data;
    this.#map = map;
    this.#update();
  }

  /** The value of a column, by which the table is sorted. */
  #value(vma: number, column: number): Value {
    const map = this.#map!;
    const mapping = map.vmas[vma]!;
    if (column === 0) return mapping.s;
    if (column === 1) return mapping.e - mapping.s;
    if (column === 2) return protLetters(mapping.f);
    if (column < COLUMNS.length - 1) return map.total(vma, column - 3);
    return nameOf(this.#data!, mapping);
  }

  /** What the cells of a row show. */
  #cells(vma: number): Value[] {
    const mapping = this.#map!.vmas[vma]!;
    const values = COLUMNS.map((_, column) => this.#value(vma, column));
    return [rangeOf(mapping), formatBytes(mapping.e - mapping.s), ...values.slice(2)];
  }

  #head(name: string, column: number): HTMLTableCellElement {
    const button = h('button', { type: 'button' }, name);
    button.addEventListener('click', () => {
      this.#isAscending = this.#column === column ? !this.#isAscending : !COUNTS.has(column);
      this.#column = column;
      this.#update();
    });
    return h('th', { scope: 'col' }, button);
  }

  #pager(name: string, rows: number): HTMLButtonElement {
    const button = h('button', { type: 'button' }, name);
    button.addEventListener('click', () => {
      const last = Math.max(0, this.#shown.length - 1);
      this.#from = Math.min(last - (last % AT_ONCE), Math.max(0, this.#from + rows));
      this.#fill();
    });
    return button;
  }

  #update(): void {
    const wanted = this.#filter.value.toLowerCase();
    const column = this.#column;
    const sign = this.#isAscending ? 1 : -1;
    const isWanted = (vma: number): boolean => {
      return this.#cells(vma).some((value) => String(value).toLowerCase().includes(wanted));
    };
    // Nothing is made for a row before it is shown: there may be very many.
    const all = Array.from(this.#map?.vmas ?? [], (_, vma) => vma);
    const shown = wanted === '' ? all : all.filter(isWanted);
    this.#shown =
      column === 0 && sign > 0
        ? shown
        : shown.sort(
            (a, b) => sign * compare(this.#value(a, column), this.#value(b, column)) || a - b,
          );
    this.#heads.forEach((head, index) => {
      const order = this.#isAscending ? 'ascending' : 'descending';
      head.setAttribute('aria-sort', index === column ? order : 'none');
    });
    this.#from = 0;
    this.#fill();
  }

  #fill(): void {
    const rows = this.#shown.slice(this.#from, this.#from + AT_ONCE);
    this.#body.replaceChildren(...rows.map((vma) => this.#rowElement(vma)));
    const to = this.#from + rows.length;
    this.#status.textContent =
      rows.length === 0
        ? 'no mapping'
        : ` ${grouped(this.#from + 1)} to ${grouped(to)} of ${grouped(this.#shown.length)}`;
  }

  #rowElement(vma: number): HTMLTableRowElement {
    const [addresses, ...others] = this.#cells(vma);
    const button = h('button', { type: 'button', class: 'link' }, String(addresses));
    button.addEventListener('click', () => this.#goTo(vma));
    return h('tr', {}, h('td', {}, button), ...others.map(cell));
  }
}

function compare(a: Value, b: Value): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
