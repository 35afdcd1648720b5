/**
 * The model of an address space: a map from page to protection and content, and the effect of the
 * system calls on it. It knows nothing of frames, tables, VMAs or swap. A page holds one byte
 * value.
 */

export type ModelProt = '' | 'r' | 'rw' | 'rx';

/** Values of the pages of a file or of shared memory; absent ones have the value `initial`. */
export interface ModelObject {
  readonly initial: (index: number) => number;
  readonly pages: Map<number, number>;
}

export interface ModelPage {
  prot: ModelProt;
  readonly isShared: boolean;
  /** The object behind the page, and the page's place in it. */
  readonly object: ModelObject | null;
  readonly index: number;
  /** A private page's own value; null while it shows the page of the object, or zeros. */
  own: number | null;
  isGuard: boolean;
}

export type ModelMm = Map<number, ModelPage>;

export function objectValue(object: ModelObject, index: number): number {
  return object.pages.get(index) ?? object.initial(index);
}

/** The value that a program reads there. */
export function contentOf(page: ModelPage): number {
  if (page.own !== null) return page.own;
  return page.object === null ? 0 : objectValue(page.object, page.index);
}

/** Returns 'SIGSEGV' or 'nothing'. */
export function accessOutcome(page: ModelPage | undefined, write: boolean): string {
  const isAllowed = page !== undefined && (write ? page.prot === 'rw' : page.prot !== '');
  return isAllowed && !page.isGuard ? 'nothing' : 'SIGSEGV';
}

export function store(page: ModelPage, value: number): void {
  if (page.isShared) page.object!.pages.set(page.index, value);
  else page.own = value;
}

export interface Mapping {
  readonly prot: ModelProt;
  readonly isShared: boolean;
  readonly object: ModelObject | null;
  /** Page of the object that the first page shows. */
  readonly offset: number;
}

export function map(mm: ModelMm, from: number, to: number, mapping: Mapping): void {
  for (let page = from; page < to; page++) {
    const { prot, isShared, object, offset } = mapping;
    const index = offset + (page - from);
    mm.set(page, { prot, isShared, object, index, own: null, isGuard: false });
  }
}

export function unmap(mm: ModelMm, from: number, to: number): void {
  for (let page = from; page < to; page++) mm.delete(page);
}

/** Changes the pages before the first hole; returns the outcome. */
export function protect(mm: ModelMm, from: number, to: number, prot: ModelProt): string {
  for (let page = from; page < to; page++) {
    const found = mm.get(page);
    if (found === undefined) return 'ENOMEM';
    found.prot = prot;
  }
  return 'nothing';
}

/** Applies a change to every mapped page; returns 'ENOMEM' if there was a hole. */
export function advise(
  mm: ModelMm,
  from: number,
  to: number,
  change: (page: ModelPage) => void,
): string {
  let outcome = 'nothing';
  for (let page = from; page < to; page++) {
    const found = mm.get(page);
    if (found === undefined) outcome = 'ENOMEM';
    else change(found);
  }
  return outcome;
}

/** Drops private changes; guards stay. */
export function dontNeed(page: ModelPage): void {
  page.own = null;
}

export function guard(page: ModelPage): void {
  page.own = null;
  page.isGuard = true;
}

/** mremap to a fixed place with the same length: holes between mappings stay holes. */
export function move(mm: ModelMm, from: number, pages: number, to: number): string {
  if (!mm.has(from)) return 'EFAULT';
  for (let page = 0; page < pages; page++) {
    const found = mm.get(from + page);
    if (found === undefined) continue;
    mm.delete(from + page);
    mm.set(to + page, found);
  }
  return 'nothing';
}

export function fork(mm: ModelMm): ModelMm {
  return new Map([...mm].map(([page, content]) => [page, { ...content }]));
}
