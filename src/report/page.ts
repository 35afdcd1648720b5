/** The report page: reads the data that stands in it, and builds everything that it shows. */
import { formatBytes } from '../shared/human-units.ts';
import { hex, PAGE_SIZE } from '../shared/page.ts';
import { PAGE_KINDS, type ReportData } from '../shared/report/report-data.ts';
import { vmFlagNames } from '../shared/vm-flags.ts';
import { fromBase64, inflated } from './bytes.ts';
import { lineOf, nameOf, rangeOf, reasonOf } from './describe.ts';
import { grouped, h, plainTable, section } from './dom.ts';
import { hexView } from './hex-view.ts';
import { type FoundPage, PageMap } from './page-map.ts';
import { timeline } from './timeline.ts';
import { VmaTable } from './vma-table.ts';
import { ZoomMap } from './zoom-map.ts';

const HINT =
  'Turn the wheel or press + and - to zoom, drag or press the arrow keys to move, click or press ' +
  'Enter to choose a page, Shift with an arrow key for the page beside it, Home for everything. ' +
  'A double click shows a whole mapping.';

class Report {
  readonly #data: ReportData;
  readonly #embedded: Promise<Uint8Array>;
  readonly #places = new Map<string, number>();
  readonly #maps: PageMap[] = [];
  readonly #map: ZoomMap;
  readonly #table: VmaTable;
  readonly #tip = h('div', { id: 'tip', role: 'tooltip', hidden: true });
  readonly #details = h('div', { id: 'details', 'aria-live': 'polite' });
  readonly #perMm = h('div');
  #mm = 0;

  constructor(data: ReportData) {
    this.#data = data;
    const { places, bytes } = data.embedded;
    for (let at = 0; at < places.length; at += 2) {
      this.#places.set(`${places[at]} ${places[at + 1]}`, at / 2);
    }
    this.#embedded = inflated(fromBase64(bytes));
    this.#map = new ZoomMap(data, this.#mapOf(0), {
      hover: (page, x, y) => this.#hover(page, x, y),
      choose: (page) => void this.#choose(page),
    });
    this.#table = new VmaTable((vma) => {
      this.#map.goTo(vma, this.#mapOf(this.#mm).vmas[vma]!.s);
      this.#map.canvas.scrollIntoView({ block: 'center' });
    });
  }

  /** Fills the body of the page. */
  show(body: HTMLElement): void {
    const { image, mms, run, generator } = this.#data;
    document.title = `${image.name} – mmdump report`;
    const facts = [
      `${formatBytes(image.bytes)}, ${formatText(image.version)}`,
      ...(image.id === '' ? [] : [`id ${image.id}`]),
      `checksums: ${image.digest}`,
      image.frozen ? 'of one instant' : 'of a machine that ran meanwhile',
    ];
    const main = h('main', {}, h('h1', {}, image.name), h('p', {}, facts.join(' · ')));
    if (mms.length === 0) main.append(h('p', {}, 'The image has no address space.'));
    else {
      if (mms.length > 1) main.append(this.#chooser(), this.#sharing());
      main.append(this.#mapSection(), this.#perMm, section('Mappings', this.#table.element));
    }
    if (run !== null) main.append(section('The dump', timeline(run)));
    main.append(h('footer', {}, `Made by ${generator}.`));
    body.append(main, this.#tip);
    if (mms.length > 0) this.#showMm(0);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#map.draw());
  }

  #mapOf(mm: number): PageMap {
    const empty = { vmas: [], runs: '', runCount: 0 };
    this.#maps[mm] ??= new PageMap(this.#data.mms[mm] ?? { ...EMPTY, ...empty });
    return this.#maps[mm];
  }

  #showMm(mm: number): void {
    this.#mm = mm;
    const map = this.#mapOf(mm);
    this.#map.setMap(map);
    this.#table.setMap(this.#data, map);
    this.#details.replaceChildren(h('p', {}, 'No page is chosen.'));
    this.#perMm.replaceChildren(this.#totals(map), this.#runLengths(map));
  }

  #chooser(): HTMLElement {
    const options = this.#data.mms.map((_, mm) => h('option', { value: mm }, `mm ${mm}`));
    const select = h('select', { id: 'mm' }, ...options);
    select.addEventListener('change', () => this.#showMm(Number(select.value)));
    return h('p', { class: 'controls' }, h('label', { for: 'mm' }, 'Address space '), select);
  }

  #sharing(): HTMLElement {
    const { mms, image } = this.#data;
    const rows = mms.map(({ rss, pss, unique }, mm) => {
      const donors = [...this.#mapOf(mm).clonesByDonor()].sort(([a], [b]) => a - b);
      const clones = donors.map(([donor, pages]) => `${grouped(pages)} of mm ${donor}`);
      return [
        `mm ${mm}`,
        formatBytes(rss),
        formatBytes(pss),
        formatBytes(unique),
        clones.join(', '),
      ];
    });
    return section(
      'Sharing',
      h('p', {}, `${formatBytes(image.savedBytes)} are saved by storing shared pages once.`),
      plainTable(
        'What each address space shows, its share of that, and what it alone has',
        ['mm', 'resident', 'share', 'unique', 'pages that an earlier mm stores'],
        rows,
      ),
    );
  }

  #mapSection(): HTMLElement {
    const button = (name: string, label: string, action: () => void): HTMLElement => {
      const made = h('button', { type: 'button', 'aria-label': label, title: label }, name);
      made.addEventListener('click', action);
      return made;
    };
    const address = h('input', { id: 'address', type: 'text', autocomplete: 'off', size: 16 });
    const go = h(
      'form',
      { class: 'inline' },
      h('label', { for: 'address' }, 'Address '),
      address,
      h('button', { type: 'submit' }, 'Go'),
    );
    go.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#goTo(address.value);
    });
    const legend = PAGE_KINDS.map((kind) => {
      return h('span', {}, h('i', { class: `swatch ${kind}`, 'aria-hidden': 'true' }), ` ${kind}`);
    });
    return section(
      'Map',
      h(
        'p',
        { class: 'controls' },
        button('+', 'Zoom in', () => this.#map.zoomBy(2)),
        button('−', 'Zoom out', () => this.#map.zoomBy(0.5)),
        button('←', 'Move left', () => this.#map.panBy(-0.5)),
        button('→', 'Move right', () => this.#map.panBy(0.5)),
        button('Everything', 'Everything', () => this.#map.reset()),
        go,
        h('span', { class: 'legend' }, ...legend),
      ),
      this.#map.canvas,
      h('p', { class: 'hint' }, HINT),
      h(
        'p',
        { class: 'hint' },
        'Upper band: kinds of pages, mappings in order, gaps cut short. Middle band: mappings. ' +
          'Lower band: where in the file the bytes lie, its beginning at the top.',
      ),
      this.#details,
    );
  }

  #totals(map: PageMap): HTMLElement {
    const totals = PAGE_KINDS.map(() => 0);
    for (let vma = 0; vma < map.vmas.length; vma++) {
      for (let kind = 0; kind < totals.length; kind++) totals[kind]! += map.total(vma, kind);
    }
    const rows = PAGE_KINDS.map((kind, index) => {
      return [kind, totals[index]!, formatBytes(totals[index]! * PAGE_SIZE)];
    });
    const { fields, ldtEntries } = this.#data.mms[this.#mm]!;
    const known = Object.entries(fields).filter(([, value]) => value !== '0x0');
    return h(
      'div',
      { class: 'columns' },
      section('Pages', plainTable('Pages by kind', ['kind', 'pages', 'size'], rows)),
      section(
        'Address space',
        h('p', {}, `${grouped(map.vmas.length)} mappings, ${ldtEntries} LDT entries.`),
        plainTable('Fields of the mm', ['field', 'value'], known),
      ),
    );
  }

  #runLengths(map: PageMap): HTMLElement {
    const counts = map.runLengths();
    const most = Math.max(1, ...counts);
    const items = counts.map((count, bin) => {
      const from = 2 ** bin;
      const label = bin === 0 ? '1 page' : `${grouped(from)} to ${grouped(from * 2 - 1)} pages`;
      return h(
        'tr',
        {},
        h('th', { scope: 'row' }, label),
        h('td', { class: 'number' }, grouped(count)),
        h('td', { class: 'bar' }, h('progress', { max: most, value: count, 'aria-label': label })),
      );
    });
    return section(
      'Run lengths',
      h('p', {}, 'How many neighbouring pages the image stores in one piece.'),
      h(
        'table',
        {},
        h('caption', {}, 'Runs of stored pages by their length'),
        h('tbody', {}, ...items),
      ),
    );
  }

  #goTo(text: string): void {
    const address = Number.parseInt(text.replace(/^0x/i, ''), 16);
    const vma = this.#mapOf(this.#mm).vmaOf(address);
    if (vma >= 0) this.#map.goTo(vma, address);
    else this.#details.replaceChildren(h('p', {}, `No mapping holds the address ${text}.`));
  }

  #hover(page: FoundPage | undefined, x: number, y: number): void {
    this.#tip.hidden = page === undefined;
    if (page === undefined) return;
    const vma = this.#mapOf(this.#mm).vmas[page.vma]!;
    this.#tip.replaceChildren(
      h('div', {}, lineOf(this.#data, vma, page)),
      h('div', {}, reasonOf(vma, page)),
    );
    this.#tip.style.left = `${Math.min(x + 12, innerWidth - this.#tip.offsetWidth - 8)}px`;
    this.#tip.style.top = `${y + 16}px`;
  }

  async #choose(page: FoundPage): Promise<void> {
    const vma = this.#mapOf(this.#mm).vmas[page.vma]!;
    const rows = [
      ['address', hex(page.address)],
      ['kind', PAGE_KINDS[page.kind]!],
      ['why', reasonOf(vma, page)],
      ['mapping', `${rangeOf(vma)} ${nameOf(this.#data, vma)}`],
      ['flags', vmFlagNames(vma.f).join(' ')],
    ];
    const place = this.#places.get(`${this.#mm} ${page.address / PAGE_SIZE}`);
    const bytes =
      place === undefined
        ? h('p', {}, 'The bytes of this page are not in the report (--embed SIZE).')
        : hexView(
            page.address,
            (await this.#embedded).subarray(place * PAGE_SIZE, (place + 1) * PAGE_SIZE),
          );
    this.#details.replaceChildren(plainTable('The chosen page', ['', ''], rows), bytes);
  }
}

const EMPTY = { fields: {}, ldtEntries: 0, rss: 0, pss: 0, unique: 0 };

const data: ReportData = JSON.parse(document.getElementById('data')!.textContent);
new Report(data).show(document.body);

/** OpenVZ files are those of version 0x803. */
function formatText(version: number): string {
  return version === 0x803 ? 'OpenVZ 6' : `cpt version ${version}`;
}
