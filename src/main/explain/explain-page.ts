/** Explains what a dump makes of one page, and why: the classifier of dumps decides it. */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { type VmaInfo, vmaInfos } from '../../mmu/vma/vma-info.ts';
import { flag, oneOf, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { PAGE_CLASS, RULE, rowOf, ruleName } from '../../shared/dump/page-class.ts';
import { classOf, donorOf, FILE_PAGES_BIT } from '../../shared/dump/run-table.ts';
import type { PageVerdict } from '../../shared/dump/tasks/explain-task.ts';
import { addressOf, GRANULE_PAGES, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { explainHere } from '../crew/phase.ts';
import { planDump } from '../dump/plan.ts';
import { addressSpaces, assertOneMachine } from '../job/handle-arguments.ts';
import { withHeldMms } from '../job/held-mms.ts';
import { assertSources } from '../job/page-sources.ts';
import { JOB_OPTIONS, type JobOptions, withDeadline, Yielder } from '../job/stop.ts';
import { loadKernels } from '../package/kernels.ts';
import { type ShownPage, shownAt, type TableEntry, walkTo } from './walk-tables.ts';

/** Options of `explainPage`: those of the dump that it speaks of. */
export interface ExplainOptions extends JobOptions {
  /** Ordinal of the address space of the page, if there are several. Default 0. */
  readonly mm?: number | undefined;
  /** As of a dump. Default 'detect'. */
  readonly zeroPages?: 'detect' | 'copy' | undefined;
  /** What a dump does about VM_HUGETLB mappings. Default 'copy'. */
  readonly hugetlb?: 'skip' | 'copy' | undefined;
  /** As of a dump. Default false. */
  readonly dontDump?: boolean | undefined;
}

/** What becomes of a page in a dump, and why. */
export interface PageExplanation extends ShownPage {
  /** Address of the first byte of the page. */
  readonly address: number;
  /** Ordinal of its mm. */
  readonly mm: number;
  /** The mapping of the page; null if there is none. */
  readonly vma: VmaInfo | null;
  /** The entries on the way to it, from the pgd on, as far as they lead. */
  readonly walk: readonly TableEntry[];
  /** The class of the page. */
  readonly class: PageClassName | 'unmapped';
  /** The row of docs/CLASSIFICATION.md that has decided; null without a mapping. */
  readonly row: number | null;
  /** Why, in words. */
  readonly reason: string;
  /** Ordinal of the mm that stores the bytes of a clone; otherwise null. */
  readonly donor: number | null;
  /** Whether the page is stored as a page of the mapped file although the mapping is private. */
  readonly filePages: boolean;
}

/** The classes that the classifier decides on without a parent image. */
type PageClass = Exclude<(typeof PAGE_CLASS)[keyof typeof PAGE_CLASS], typeof PAGE_CLASS.PARENT>;

/** What a dump makes of a page of a mapping. */
export type PageClassName = 'absent' | 'copy' | 'zero' | 'clone' | 'unsupported' | 'guard';

export const CLASS_NAMES: { readonly [value in PageClass]: PageClassName } = {
  [PAGE_CLASS.ABSENT]: 'absent',
  [PAGE_CLASS.COPY]: 'copy',
  [PAGE_CLASS.ZERO]: 'zero',
  [PAGE_CLASS.CLONE]: 'clone',
  [PAGE_CLASS.UNSUPPORTED]: 'unsupported',
  [PAGE_CLASS.GUARD]: 'guard',
};

const EXPLAIN_OPTIONS: Shape<ExplainOptions> = {
  ...JOB_OPTIONS,
  mm: optional(wholeNumber(0)),
  zeroPages: optional(oneOf(['detect', 'copy'])),
  hugetlb: optional(oneOf(['skip', 'copy'])),
  dontDump: optional(flag),
};
const ADDRESS = wholeNumber(0, TASK_SIZE - 1);

/**
 * Explains the page that holds a byte address: the way through the page tables, the frame or the
 * place of the page, its mapping, and the row of docs/CLASSIFICATION.md that decides about it. With
 * several address spaces it speaks of a dump of all of them, in this order. The machine is frozen
 * meanwhile, and nothing faults in.
 *
 * It rejects with MM_GONE, BANK_UNREACHABLE, TOO_MANY_THREADS, PROCESS_GONE and INPUT_FAILED (the
 * page lies in a backing that cannot be read), and as every job with OPTION_INVALID, AbortError,
 * TIMEOUT, MACHINE_CLOSED and MACHINE_POISONED.
 */
export async function explainPage(
  spaces: AddressSpace | readonly AddressSpace[],
  address: number,
  options: ExplainOptions = {},
): Promise<PageExplanation> {
  const references = addressSpaces('spaces', spaces).map(({ reference }) => reference);
  const vpn = vpnOf(ADDRESS('address', address));
  const checked = optionsOf('explainPage', options, EXPLAIN_OPTIONS);
  const { mm = 0 } = checked;
  assertOneMachine(references, mm);
  const first = references[0]!;
  first.machine.memory.assertReachesAll();
  return await withDeadline(checked, 'explain', ({ signal }) =>
    withHeldMms(references, true, signal, async (mms) => {
      const explained = await explainHeld(mms, mm, vpn, { ...checked, signal });
      await assertSources(first.machine.id);
      return explained;
    }),
  );
}

async function explainHeld(
  mms: readonly Mm[],
  ordinal: number,
  vpn: number,
  options: ExplainOptions,
): Promise<PageExplanation> {
  const mm = mms[ordinal]!;
  const address = addressOf(vpn);
  const vma = vmaInfos(mm).find(({ start, end }) => start <= address && address < end) ?? null;
  const tables = walkTo(mm, vpn);
  const place = { address, mm: ordinal, vma, walk: tables, ...shownAt(mm, vpn, tables.at(-1)!) };
  if (vma === null) {
    const rest = { row: null, reason: 'there is no mapping', donor: null, filePages: false };
    return { ...place, class: 'unmapped', ...rest };
  }
  const verdict = await verdictOn(mms, ordinal, vpn, options);
  return { ...place, ...describe(verdict) };
}

/** Asks the classifier, with the plan that a dump of these mms would have. */
async function verdictOn(
  mms: readonly Mm[],
  mm: number,
  vpn: number,
  { signal, zeroPages = 'detect', hugetlb = 'copy', dontDump = false }: ExplainOptions,
): Promise<PageVerdict> {
  const policy = { hugetlb, dontDump } as const;
  const plan = { ...policy, unitPages: GRANULE_PAGES, freeze: true };
  const { owners } = await planDump(mms, plan, new Yielder(signal));
  return await explainHere({
    machine: mms[0]!.machine.handle,
    mms: mms.map(({ slot }) => slot),
    mm,
    vpn,
    owners,
    ...policy,
    detectZero: zeroPages === 'detect',
    unsupported: 'skip',
    kernels: loadKernels(),
  });
}

function describe({
  rule,
  word,
}: PageVerdict): Pick<PageExplanation, 'class' | 'row' | 'reason' | 'donor' | 'filePages'> {
  const found = classOf(word) as keyof typeof CLASS_NAMES;
  const isClone = found === PAGE_CLASS.CLONE;
  const isElsewhere = rule === RULE.UNREACHABLE_FILE_OWNER && found === PAGE_CLASS.ABSENT;
  return {
    class: CLASS_NAMES[found],
    row: rowOf(rule),
    reason: isElsewhere ? STORED_ELSEWHERE : ruleName(rule),
    donor: isClone ? donorOf(word) : null,
    filePages: !isClone && (word & FILE_PAGES_BIT) !== 0,
  };
}

const STORED_ELSEWHERE = 'page of a file that nothing else can supply, stored by another mapping';
