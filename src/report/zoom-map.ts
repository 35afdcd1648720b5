/**
 * The map: a canvas with one column per pixel. From top to bottom a column shows how its pages
 * divide into kinds, which mapping it is, and where in the file its bytes lie.
 */
import { scaleLinear } from 'd3-scale';
import { select } from 'd3-selection';
import {
  type D3ZoomEvent,
  type ZoomBehavior,
  type ZoomTransform,
  zoom,
  zoomIdentity,
} from 'd3-zoom';
import { PAGE_SIZE } from '../shared/page.ts';
import { PAGE_KINDS, type ReportData } from '../shared/report/report-data.ts';
import { nameOf } from './describe.ts';
import { h } from './dom.ts';
import type { FoundPage, PageMap } from './page-map.ts';

const CLASSES = { top: 4, height: 132 };
const MAPPINGS = { top: 142, height: 18 };
const FILE = { top: 168, height: 56 };
const HEIGHT = FILE.top + FILE.height + 4;
/** A label of a mapping needs this many pixels. */
const LABEL = 64;
/** Pixels of a page from which on pages are drawn apart. */
const APART = 5;

/** What the map tells about the page under the pointer, and the one that is chosen. */
export interface MapListener {
  hover(page: FoundPage | undefined, x: number, y: number): void;
  choose(page: FoundPage): void;
}

export class ZoomMap {
  readonly canvas: HTMLCanvasElement = h('canvas', {
    height: HEIGHT,
    tabindex: 0,
    role: 'img',
    'aria-label': 'Map of the address space. Its keys are described below it.',
  });
  readonly #data: ReportData;
  readonly #listener: MapListener;
  readonly #zoom: ZoomBehavior<HTMLCanvasElement, unknown>;
  #map: PageMap;
  #chosen: FoundPage | undefined;
  #transform: ZoomTransform = zoomIdentity;
  #width = 1;
  #isDue = false;

  constructor(data: ReportData, map: PageMap, listener: MapListener) {
    this.#data = data;
    this.#map = map;
    this.#listener = listener;
    this.#zoom = zoom<HTMLCanvasElement, unknown>().on('zoom', (event) => {
      this.#transform = (event as D3ZoomEvent<HTMLCanvasElement, unknown>).transform;
      this.draw();
    });
    select(this.canvas).call(this.#zoom).on('dblclick.zoom', null);
    this.canvas.addEventListener('pointermove', (event) => this.#hover(event));
    this.canvas.addEventListener('pointerleave', () => listener.hover(undefined, 0, 0));
    this.canvas.addEventListener('click', ({ offsetX }) => this.#chooseAt(offsetX));
    this.canvas.addEventListener('dblclick', ({ offsetX }) => this.#show(offsetX));
    this.canvas.addEventListener('keydown', (event) => this.#key(event));
    new ResizeObserver(() => this.#resize()).observe(this.canvas);
  }

  /** Shows another address space. */
  setMap(map: PageMap): void {
    this.#map = map;
    this.#chosen = undefined;
    this.#resize();
    this.reset();
  }

  reset(): void {
    select(this.canvas).call(this.#zoom.transform, zoomIdentity);
  }

  zoomBy(factor: number): void {
    select(this.canvas).call(this.#zoom.scaleBy, factor);
  }

  /** Moves the view by a share of its width. */
  panBy(share: number): void {
    const { k } = this.#transform;
    select(this.canvas).call(this.#zoom.translateBy, (-share * this.#width) / k, 0);
  }

  /** Brings a page into the middle, some pixels wide, and chooses it. */
  goTo(vma: number, address: number): void {
    const pageWidth = this.#map.pageWidth(vma);
    const middle = this.#map.placeOf(vma, address) + pageWidth / 2;
    this.#showRange(middle, (pageWidth * this.#width) / (4 * APART));
    this.#choose(this.#map.page(vma, address));
  }

  /** Draws soon; many calls before that are one. */
  draw(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#paint();
    });
  }

  /** Places on the line from pixel 0 to pixel `x`. */
  #placeOf(x: number): number {
    const scale = scaleLinear([0, this.#map.width], [0, this.#width]);
    return this.#transform.rescaleX(scale).invert(x);
  }

  #xOf(place: number): number {
    return this.#transform.applyX((place / this.#map.width) * this.#width);
  }

  #showRange(middle: number, width: number): void {
    const k = Math.max(1, this.#map.width / width);
    const x = this.#width / 2 - (middle / this.#map.width) * this.#width * k;
    select(this.canvas).call(this.#zoom.transform, zoomIdentity.translate(x, 0).scale(k));
  }

  /** Shows the whole mapping at a pixel. */
  #show(x: number): void {
    const vma = this.#map.vmaAt(this.#placeOf(x));
    const left = this.#map.leftOf(vma);
    const width = this.#map.rightOf(vma) - left;
    this.#showRange(left + width / 2, width * 1.1);
  }

  #hover(event: PointerEvent): void {
    const page = this.#map.pageAt(this.#placeOf(event.offsetX));
    this.#listener.hover(page, event.clientX, event.clientY);
  }

  #chooseAt(x: number): void {
    const page = this.#map.pageAt(this.#placeOf(x));
    if (page !== undefined) this.#choose(page);
  }

  #choose(page: FoundPage): void {
    this.#chosen = page;
    this.#listener.choose(page);
    this.draw();
  }

  /** Chooses the page before or after the chosen one. */
  #step(pages: number): void {
    if (this.#chosen === undefined) {
      this.#chooseAt(this.#width / 2);
      return;
    }
    const { vma, address } = this.#chosen;
    const { s, e } = this.#map.vmas[vma]!;
    const next = address + pages * PAGE_SIZE;
    if (next >= s && next < e) this.goTo(vma, next);
    else {
      const other = this.#map.vmas[vma + pages];
      if (other !== undefined) {
        this.goTo(vma + pages, pages > 0 ? other.s : other.e - PAGE_SIZE);
      }
    }
  }

  #key(event: KeyboardEvent): void {
    const actions: { readonly [key: string]: () => void } = {
      ArrowLeft: () => (event.shiftKey ? this.#step(-1) : this.panBy(-0.2)),
      ArrowRight: () => (event.shiftKey ? this.#step(1) : this.panBy(0.2)),
      '+': () => this.zoomBy(2),
      '=': () => this.zoomBy(2),
      '-': () => this.zoomBy(0.5),
      Home: () => this.reset(),
      Enter: () => this.#chooseAt(this.#width / 2),
    };
    const action = actions[event.key];
    if (action === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    action();
  }

  #resize(): void {
    const { canvas } = this;
    this.#width = Math.max(1, canvas.clientWidth);
    canvas.width = this.#width * devicePixelRatio;
    canvas.height = HEIGHT * devicePixelRatio;
    const smallest = this.#map.vmas.reduce((least, _, vma) => {
      return Math.min(least, this.#map.pageWidth(vma));
    }, Number.POSITIVE_INFINITY);
    const most = Math.max(1, (20 * APART * this.#map.width) / (smallest * this.#width));
    this.#zoom.scaleExtent([1, most]).translateExtent([
      [0, 0],
      [this.#width, HEIGHT],
    ]);
    this.#zoom.extent([
      [0, 0],
      [this.#width, HEIGHT],
    ]);
    this.draw();
  }

  #paint(): void {
    const context = this.canvas.getContext('2d');
    if (context === null) return;
    const style = getComputedStyle(this.canvas);
    const colour = (name: string): string => style.getPropertyValue(`--${name}`);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.fillStyle = colour('gap');
    context.fillRect(0, 0, this.#width, HEIGHT);
    this.#paintClasses(context, PAGE_KINDS.map(colour));
    this.#paintMappings(context, colour);
    this.#paintPlaces(context, colour('ink'));
    this.#paintChosen(context, colour('accent'));
  }

  #paintClasses(context: CanvasRenderingContext2D, colours: readonly string[]): void {
    const shares = new Float64Array(PAGE_KINDS.length);
    const step = this.#placeOf(1) - this.#placeOf(0);
    for (let x = 0; x < this.#width; x++) {
      const from = this.#placeOf(x);
      this.#map.addShares(from, from + step, shares);
      let bottom = CLASSES.top + CLASSES.height;
      for (let kind = shares.length - 1; kind >= 0; kind--) {
        const height = (shares[kind]! / step) * CLASSES.height;
        if (height < 0.01) continue;
        bottom -= height;
        context.fillStyle = colours[kind]!;
        context.fillRect(x, bottom, 1, height);
      }
    }
  }

  #paintMappings(context: CanvasRenderingContext2D, colour: (name: string) => string): void {
    context.font = '11px system-ui, sans-serif';
    context.textBaseline = 'middle';
    const middle = MAPPINGS.top + MAPPINGS.height / 2;
    for (let x = 0; x < this.#width; ) {
      const place = this.#placeOf(x);
      const vma = this.#map.vmaAt(place);
      const mapping = this.#map.vmas[vma];
      if (mapping === undefined) return;
      const left = Math.max(0, this.#xOf(this.#map.leftOf(vma)));
      const right = Math.min(this.#width, this.#xOf(this.#map.rightOf(vma)));
      if (place < this.#map.rightOf(vma)) {
        context.fillStyle = colour(`kind-${mapping.k}`);
        const width = Math.max(1, right - left);
        context.fillRect(left, MAPPINGS.top, width > 3 ? width - 1 : width, MAPPINGS.height);
        if (width > LABEL) {
          context.fillStyle = colour('label');
          const name = nameOf(this.#data, mapping);
          const text = name.slice(name.lastIndexOf('/') + 1).slice(0, Math.floor(width / 7));
          context.fillText(text, left + 4, middle);
        }
      }
      x = Math.max(x + 1, Math.ceil(right));
    }
  }

  #paintPlaces(context: CanvasRenderingContext2D, ink: string): void {
    context.fillStyle = ink;
    const { bytes } = this.#data.image;
    for (let x = 0; x < this.#width; x++) {
      const page = this.#map.pageAt(this.#placeOf(x + 0.5));
      if (page === undefined || PAGE_KINDS[page.kind] !== 'copy') continue;
      context.fillRect(x, FILE.top + (page.where / bytes) * (FILE.height - 2), 1, 2);
    }
  }

  #paintChosen(context: CanvasRenderingContext2D, accent: string): void {
    if (this.#chosen === undefined) return;
    const { vma, address } = this.#chosen;
    const left = this.#xOf(this.#map.placeOf(vma, address));
    const right = this.#xOf(this.#map.placeOf(vma, address + PAGE_SIZE));
    context.strokeStyle = accent;
    context.lineWidth = 2;
    context.strokeRect(left - 1, 1, Math.max(2, right - left + 2), HEIGHT - 2);
  }
}
