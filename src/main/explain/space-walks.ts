/**
 * Walks through an address space in runs and pages: what a dump would make of them. It classifies
 * some granules at a time and holds the machine meanwhile, never while the caller looks at them. So
 * memory is bounded, and the machine goes on between two steps.
 */
import { PROT, type Prot, protFlags } from '../../mmu/arguments/prot.ts';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { MmReference } from '../../mmu/machine/enter.ts';
import type { AddressRange } from '../../mmu/machine/prefetch.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { type VmaInfo, vmaInfo } from '../../mmu/vma/vma-info.ts';
import { isArray, list, oneOf, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { classOf, unsupportedWord } from '../../shared/dump/run-table.ts';
import {
  addressOf,
  GRANULE_PAGES,
  PAGE_SIZE,
  pageAlignUp,
  TASK_PAGES,
  vpnOf,
} from '../../shared/page.ts';
import { listRunsHere } from '../crew/phase.ts';
import { planDump } from '../dump/plan.ts';
import { BYTE_RANGE } from '../image/pages/page-filter.ts';
import { addressSpaces, assertOneMachine } from '../job/handle-arguments.ts';
import { withHeldMms } from '../job/held-mms.ts';
import { assertSources } from '../job/page-sources.ts';
import { Yielder } from '../job/stop.ts';
import { loadKernels } from '../package/kernels.ts';
import { CLASS_NAMES, type PageClassName } from './explain-page.ts';

/** Chooses pages of an address space. */
export interface SpaceFilter {
  /** Ordinal of the address space, if there are several. Default 0. */
  readonly mm?: number | undefined;
  /** Only what lies in these bytes, or partly. The range need not begin or end at a page. */
  readonly range?: AddressRange | undefined;
  /** Only mappings that permit at least this access, such as 'rw'. Default '': all. */
  readonly prot?: Prot | undefined;
  /** Only pages of this class, or of one of these. Default: all but 'absent'. */
  readonly class?: PageClassName | readonly PageClassName[] | undefined;
}

/** Neighbouring pages of one mapping and one class, as many as there are. */
export interface SpaceRun {
  /** Ordinal of the address space. */
  readonly mm: number;
  /** Address of the first page. */
  readonly address: number;
  /** Number of pages. */
  readonly pages: number;
  /** What a dump would make of the pages, as `explainPage` says it. */
  readonly class: PageClassName;
  /** The mapping. */
  readonly vma: VmaInfo;
}

/** A page, as `spacePages` gives it. */
export type SpacePage = Omit<SpaceRun, 'pages'>;

/** Granules that are looked at while the machine stands still. */
const GRANULES_AT_ONCE = 16;
const POLICY = { hugetlb: 'copy', dontDump: false } as const;
const PLAN = { ...POLICY, unitPages: GRANULE_PAGES, freeze: true } as const;

const CLASS = oneOf(['absent', 'copy', 'zero', 'clone', 'unsupported', 'guard']);
const CLASSES = list(CLASS);
const FILTER: Shape<SpaceFilter> = {
  mm: optional(wholeNumber(0)),
  range: optional(BYTE_RANGE),
  prot: optional(PROT),
  class: optional((what, value) => (isArray(value) ? CLASSES : CLASS)(what, value)),
};

/** What a walk looks for. */
interface Wanted {
  readonly mm: number;
  /** Pages [from, to) and VM_* bits of mappings. */
  readonly from: number;
  readonly to: number;
  readonly flags: number;
  readonly classes: ReadonlySet<string>;
}

/**
 * The runs of an address space by ascending address: what a dump would make of its pages. With
 * several address spaces it speaks of a dump of all of them, in this order. Up to 16 granules of
 * 2 MiB are seen at one instant, while the machine is frozen; in the loop it runs. Freeze it around
 * the loop to see all at one instant.
 *
 * OPTION_INVALID is thrown at once. The walk throws MM_GONE, BANK_UNREACHABLE, TOO_MANY_THREADS,
 * PROCESS_GONE, INPUT_FAILED, MACHINE_CLOSED and MACHINE_POISONED.
 */
export function spaceRuns(
  spaces: AddressSpace | readonly AddressSpace[],
  filter: SpaceFilter = {},
): AsyncGenerator<SpaceRun, void, undefined> {
  const references = addressSpaces('spaces', spaces).map(({ reference }) => reference);
  const { mm = 0, range, prot = '', class: given } = optionsOf('filter', filter, FILTER);
  assertOneMachine(references, mm);
  const classes = new Set<string>(given === undefined ? RECORDED : [given].flat());
  const from = range === undefined ? 0 : vpnOf(range.address);
  const to =
    range === undefined ? TASK_PAGES : pageAlignUp(range.address + range.length) / PAGE_SIZE;
  return walk(references, { mm, from, to, flags: protFlags(prot), classes });
}

/** The pages of an address space, one by one, as `spaceRuns` gives them. */
export function spacePages(
  spaces: AddressSpace | readonly AddressSpace[],
  filter: SpaceFilter = {},
): AsyncGenerator<SpacePage, void, undefined> {
  return pagesOf(spaceRuns(spaces, filter));
}

const RECORDED = ['copy', 'zero', 'clone', 'unsupported', 'guard'] as const;

async function* pagesOf(
  runs: AsyncGenerator<SpaceRun, void, undefined>,
): AsyncGenerator<SpacePage, void, undefined> {
  const yielder = new Yielder(undefined);
  for await (const { pages, ...run } of runs) {
    for (let page = 0; page < pages; page++) {
      if (yielder.isDue()) await yielder.yield();
      yield { ...run, address: run.address + page * PAGE_SIZE };
    }
  }
}

async function* walk(
  references: readonly MmReference[],
  wanted: Wanted,
): AsyncGenerator<SpaceRun, void, undefined> {
  const { machine } = references[0]!;
  machine.memory.assertReachesAll();
  let last: SpaceRun | undefined;
  for (let from = wanted.from; from < wanted.to; ) {
    const step = await withHeldMms(references, true, undefined, async (mms) => {
      const found = await stepOf(mms, { ...wanted, from });
      await assertSources(machine.id);
      return found;
    });
    for (const run of step.runs) {
      if (last !== undefined && continues(last, run)) {
        last = { ...last, pages: last.pages + run.pages };
        continue;
      }
      if (last !== undefined) yield last;
      last = run;
    }
    from = step.next;
  }
  if (last !== undefined) yield last;
}

function continues(last: SpaceRun, run: SpaceRun): boolean {
  return (
    last.address + addressOf(last.pages) === run.address &&
    last.class === run.class &&
    last.vma.start === run.vma.start
  );
}

/** The runs from `wanted.from` on in the next granules, and where to go on. The mms are held. */
async function stepOf(
  mms: readonly Mm[],
  wanted: Wanted,
): Promise<{ readonly runs: SpaceRun[]; readonly next: number }> {
  const mm = mms[wanted.mm]!;
  const { units, owners, leftOut } = await planDump(mms, PLAN, new Yielder(undefined));
  const isAhead = (start: number, end: number): boolean => end > wanted.from && start < wanted.to;
  const granules = units
    .filter((unit) => unit.mm === wanted.mm && isAhead(unit.start, unit.start + unit.pages))
    .map(({ start }) => start);
  const chosen = granules.slice(0, GRANULES_AT_ONCE);
  const isEnd = chosen.length === granules.length;
  const next = isEnd ? wanted.to : Math.min(wanted.to, chosen.at(-1)! + GRANULE_PAGES);
  const listed = await listRunsHere({
    machine: mm.machine.handle,
    mms: mms.map(({ slot }) => slot),
    mm: wanted.mm,
    owners,
    ...POLICY,
    detectZero: true,
    unsupported: 'skip',
    kernels: loadKernels(),
    granules: chosen,
  });
  const parts: Part[] = [];
  for (let at = 0; at < listed.length; at += 3) {
    parts.push({ start: listed[at]!, end: listed[at]! + listed[at + 1]!, word: listed[at + 2]! });
  }
  for (const { mm: of, start, end, rule } of leftOut) {
    const isBad = of === wanted.mm && rule === RULE.TABLE_BAD;
    if (isBad) parts.push({ start, end, word: unsupportedWord(rule) });
  }
  parts.sort((a, b) => a.start - b.start);
  return { runs: runsOf(mm, parts, { ...wanted, to: next }), next };
}

/** Pages with a class. */
interface Part {
  readonly start: number;
  readonly end: number;
  readonly word: number;
}

/** The runs in [from, to), from parts that ascend and do not overlap. What lies between is absent. */
function runsOf(mm: Mm, parts: readonly Part[], wanted: Wanted): SpaceRun[] {
  const { vmas } = mm;
  const runs: SpaceRun[] = [];
  let part = 0;
  for (let ordinal = vmas.find(wanted.from); ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const end = Math.min(vmas.end(slot), wanted.to);
    let at = Math.max(vmas.start(slot), wanted.from);
    if (at >= wanted.to) break;
    if ((vmas.flags(slot) & wanted.flags) !== wanted.flags) continue;
    const vma = vmaInfo(mm, slot);
    const add = (to: number, name: PageClassName): void => {
      const isWanted = to > at && wanted.classes.has(name);
      const run = { mm: wanted.mm, address: addressOf(at), pages: to - at, class: name, vma };
      if (isWanted) runs.push(run);
      at = Math.max(at, to);
    };
    while (part < parts.length && parts[part]!.end <= at) part++;
    for (let index = part; index < parts.length && parts[index]!.start < end; index++) {
      const { start, end: partEnd, word } = parts[index]!;
      add(start, 'absent');
      add(Math.min(end, partEnd), CLASS_NAMES[classOf(word) as keyof typeof CLASS_NAMES]);
    }
    add(end, 'absent');
  }
  return runs;
}
