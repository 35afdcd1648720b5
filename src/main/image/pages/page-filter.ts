/** Which mappings and pages of an image are wanted: by mm, address, protection and kind. */
import { PROT, type Prot, protFlags } from '../../../mmu/arguments/prot.ts';
import type { AddressRange } from '../../../mmu/machine/prefetch.ts';
import {
  type Check,
  isArray,
  list,
  oneOf,
  optional,
  wholeNumber,
} from '../../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../../shared/arguments/options.ts';
import { refusal } from '../../../shared/arguments/refuse.ts';
import { TASK_SIZE } from '../../../shared/page.ts';
import type { ImageVma } from '../index/image-mm.ts';
import { MM_CHOICE, type MmChoice, type PageKind, type PageState } from './page-info.ts';

/** Chooses mappings of an mm. */
export interface MappingFilter extends MmChoice {
  /** Only what lies in these bytes, or partly. The range need not begin or end at a page. */
  readonly range?: AddressRange | undefined;
  /** Only mappings that permit at least this access, such as 'rw'. Default '': all. */
  readonly prot?: Prot | undefined;
}

/** Chooses pages of an mm. Without `kind` and `class` all pages are chosen that have a record. */
export interface PageFilter extends MappingFilter {
  /** Only pages of this kind, or of one of these: see `PageInfo`. */
  readonly kind?: PageKind | readonly PageKind[] | undefined;
  /** Only pages of this class, or of one of these. A page in the parent is a 'copy'. */
  readonly class?: PageState | readonly PageState[] | undefined;
}

const RANGE_SHAPE: Shape<AddressRange> = {
  address: wholeNumber(0, TASK_SIZE),
  length: wholeNumber(0, TASK_SIZE),
};

/** Checks a range of bytes in user space. OPTION_INVALID. */
export const BYTE_RANGE: Check<AddressRange> = (what, value) => {
  const range = optionsOf(what, value, RANGE_SHAPE);
  if (range.address + range.length <= TASK_SIZE) return range;
  throw refusal(`${what}.length`, range.length, 'a range that ends in user space');
};

/** Makes a check for one value, or a list of some. */
function oneOrMore<T>(check: Check<T>): Check<T | T[]> {
  const several = list(check);
  return (what, value) => (isArray(value) ? several(what, value) : check(what, value));
}

const KIND = oneOf(['copy', 'zero', 'clone', 'guard', 'parent', 'absent']);
const CLASS = oneOf(['copy', 'zero', 'clone', 'guard', 'absent']);

export const MAPPING_FILTER: Shape<MappingFilter> = {
  ...MM_CHOICE,
  range: optional(BYTE_RANGE),
  prot: optional(PROT),
};

/** The keys of a PageFilter that choose pages of a mapping. */
export const KIND_FILTER: Shape<Pick<PageFilter, 'kind' | 'class'>> = {
  kind: optional(oneOrMore<PageKind>(KIND)),
  class: optional(oneOrMore<PageState>(CLASS)),
};

export const PAGE_FILTER: Shape<PageFilter> = { ...MAPPING_FILTER, ...KIND_FILTER };

/** The kinds of pages that a filter chooses; undefined if it has neither `kind` nor `class`. */
export function kindsOf(filter: Pick<PageFilter, 'kind' | 'class'>): Set<PageKind> | undefined {
  const kinds = asSet(filter.kind);
  const classes = asSet(filter.class);
  if (classes === undefined) return kinds;
  const ofClass = new Set<PageKind>(classes);
  if (classes.has('copy')) ofClass.add('parent');
  return kinds === undefined ? ofClass : new Set([...kinds].filter((kind) => ofClass.has(kind)));
}

/** The kinds that are chosen without `kind` and `class`: those that have a record. */
export const RECORDED: ReadonlySet<PageKind> = new Set<PageKind>([
  ...['copy', 'zero', 'clone', 'guard', 'parent'],
] as PageKind[]);

function asSet<T>(value: T | readonly T[] | undefined): Set<T> | undefined {
  if (value === undefined) return undefined;
  return new Set(isArray(value) ? (value as T[]) : [value as T]);
}

/** The mappings that a filter chooses. */
export function chosenVmas(vmas: readonly ImageVma[], filter: MappingFilter): readonly ImageVma[] {
  const { range, prot = '' } = filter;
  const flags = protFlags(prot);
  const start = range?.address ?? 0;
  const end = range === undefined ? TASK_SIZE : start + range.length;
  if (flags === 0 && range === undefined) return vmas;
  return vmas.filter((vma) => {
    return (vma.flags & flags) === flags && vma.start < end && vma.end > start && start < end;
  });
}
