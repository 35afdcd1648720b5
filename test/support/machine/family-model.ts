/**
 * A family of three mms (a process, its child, its grandchild) in which every page has a different
 * history, and what their image must say about it. The model counts users for copy-on-write; it
 * knows nothing of tables or runs.
 */
import { type AddressSpace, createMachine, type Machine, MiB, PAGE_SIZE } from 'mmdump';
import { ZERO_PAGE } from './zero-page.ts';

/** Steps in which one process may act on a page; a fork precedes two of them. */
const STEPS = [
  { who: 0 }, // before the first fork
  { who: 0 },
  { who: 1 },
  { who: 1 }, // the second fork happens before this step
  { who: 2 },
] as const;
const FORK_BEFORE: { readonly [step: number]: number } = { 1: 0, 3: 1 };

const ACTIONS = ['nothing', 'read', 'write'] as const;
/** One page per combination of actions. */
export const FAMILY_PAGES: number = ACTIONS.length ** STEPS.length;

export type Kind = 'private' | 'private file' | 'shared';
const KINDS: readonly Kind[] = ['private', 'private file', 'shared'];

function actionOf(page: number, step: number): (typeof ACTIONS)[number] {
  return ACTIONS[Math.floor(page / ACTIONS.length ** step) % ACTIONS.length]!;
}

function writtenValue(page: number, step: number): number {
  return 1 + step * 40 + (page % 40);
}

/** Content of the file's pages; every fourth page is zero. */
function fileValue(page: number): number {
  return page % 4 === 0 ? 0 : 220 + (page % 30);
}

/** A frame, or a page that shared mappings show. */
interface ModelFrame {
  users: number;
  value: number;
}

/** What one mm shows at one page. */
type Shown = 'nothing' | 'zero page' | "the file's page" | ModelFrame;

/** What the image must say about a page of one mm. */
export interface ExpectedPage {
  readonly kind: 'absent' | 'zero' | 'copy' | 'clone';
  /** Position of the donor in the dump, if the page is a clone. */
  readonly donor: number;
  readonly value: number;
}

export interface Family {
  readonly machine: Machine;
  readonly spaces: readonly AddressSpace[];
  readonly starts: { readonly [kind in Kind]: number };
  /** What a dump of these mms, in this order, must say about a page. */
  expected(order: readonly number[], kind: Kind, page: number): ExpectedPage[];
}

export const FILE_PATH = '/lib/family';

export function familyFile(): Uint8Array {
  const content = new Uint8Array(FAMILY_PAGES * PAGE_SIZE);
  for (let page = 0; page < FAMILY_PAGES; page++) {
    content.fill(fileValue(page), page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
  return content;
}

export function createFamily(): Family {
  const machine = createMachine({
    memory: 16 * MiB,
    maxAddressSpaces: 3,
    checks: true,
    zeroPage: ZERO_PAGE,
  });
  const spaces = [machine.createAddressSpace()];
  const length = FAMILY_PAGES * PAGE_SIZE;
  const { id: file } = machine.createFile({ path: FILE_PATH, content: familyFile() });
  const starts = {
    private: spaces[0]!.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] }),
    'private file': spaces[0]!.mmap({ length, prot: 'rw', flags: ['private'], file }),
    shared: spaces[0]!.mmap({ length, prot: 'rw', flags: ['shared', 'anonymous'] }),
  };
  const model = new Model();
  for (const [step, { who }] of STEPS.entries()) {
    const parent = FORK_BEFORE[step];
    if (parent !== undefined) {
      spaces.push(spaces[parent]!.fork());
      model.fork(parent);
    }
    for (let page = 0; page < FAMILY_PAGES; page++) {
      const action = actionOf(page, step);
      for (const kind of KINDS) {
        const address = starts[kind] + page * PAGE_SIZE;
        if (action === 'read') spaces[who]!.read(address + 9, new Uint8Array(1));
        if (action === 'write') spaces[who]!.fill(address, PAGE_SIZE, writtenValue(page, step));
        model.apply(who, kind, page, action, writtenValue(page, step));
      }
    }
  }
  return { machine, spaces, starts, expected: model.expected.bind(model) };
}

class Model {
  /** Indexed by mm, then kind, then page. */
  readonly #shown: { readonly [kind in Kind]: Shown[] }[] = [nothingShown()];
  /** Pages of the shared memory that some process touched. */
  readonly #shared = new Map<number, number>();

  fork(parent: number): void {
    const child = nothingShown();
    for (const kind of KINDS) {
      for (const [page, shown] of this.#shown[parent]![kind].entries()) {
        child[kind][page] = shown;
        if (typeof shown !== 'string') shown.users++;
      }
    }
    this.#shown.push(child);
  }

  apply(who: number, kind: Kind, page: number, action: string, value: number): void {
    if (action === 'nothing') return;
    if (kind === 'shared') {
      if (action === 'write') this.#shared.set(page, value);
      else if (!this.#shared.has(page)) this.#shared.set(page, 0);
      return;
    }
    const pages = this.#shown[who]![kind];
    const shown = pages[page]!;
    if (action === 'read') {
      if (shown === 'nothing') pages[page] = firstRead(kind);
    } else if (typeof shown !== 'string' && shown.users === 1) {
      shown.value = value;
    } else {
      if (typeof shown !== 'string') shown.users--;
      pages[page] = { users: 1, value };
    }
  }

  expected(order: readonly number[], kind: Kind, page: number): ExpectedPage[] {
    return order.map((mm, place) => {
      if (kind === 'shared') return this.#expectedShared(page, place);
      const shown = this.#shown[mm]![kind][page]!;
      const absent = kind === 'private' ? 0 : fileValue(page);
      if (shown === 'zero page') return { kind: 'zero', donor: -1, value: 0 };
      if (typeof shown === 'string') return { kind: 'absent', donor: -1, value: absent };
      if (shown.value === 0) return { kind: 'zero', donor: -1, value: 0 }; // no step writes zeros
      const donor = order.findIndex((other) => this.#shown[other]![kind][page] === shown);
      const isOwn = donor === place;
      return { kind: isOwn ? 'copy' : 'clone', donor: isOwn ? -1 : donor, value: shown.value };
    });
  }

  /** The first mm of the dump stores a shared page; the others show the same page. */
  #expectedShared(page: number, place: number): ExpectedPage {
    const value = this.#shared.get(page);
    const isStored = value !== undefined && place === 0;
    const kind = !isStored ? 'absent' : value === 0 ? 'zero' : 'copy';
    return { kind, donor: -1, value: value ?? 0 };
  }
}

/** What a page shows if it was read before it was written. */
function firstRead(kind: Kind): Shown {
  if (kind !== 'private') return "the file's page";
  return ZERO_PAGE ? 'zero page' : { users: 1, value: 0 };
}

function nothingShown(): { readonly [kind in Kind]: Shown[] } {
  const none = (): Shown[] => Array.from({ length: FAMILY_PAGES }, () => 'nothing' as const);
  return { private: none(), 'private file': none(), shared: none() };
}
