/** Which mappings `mmdump inspect` shows, and where `--find` looks. */
import type { Prot } from '../../mmu/arguments/prot.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { Image } from '../image/image.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import { chosenVmas, kindsOf } from '../image/pages/page-filter.ts';
import type { PageKind, PageState } from '../image/pages/page-info.ts';

/** The options of `inspect` that choose. */
export interface InspectFilters {
  /** Ordinal of an mm. */
  readonly mm?: number;
  /** An address in a mapping, or a part of its name. */
  readonly vma?: string;
  readonly prot?: Prot;
  /** Mappings that have pages of one of these kinds. */
  readonly kind?: readonly PageKind[];
  readonly class?: readonly PageState[];
  /** An address: the mapping around it, and its page. */
  readonly page?: number;
}

/** An mm, with those of its mappings that are chosen. */
export interface ChosenMm {
  readonly mm: ImageMm;
  readonly vmas: readonly ImageVma[];
}

/** The mms and mappings that the options choose. OPTION_INVALID if there is no such mm. */
export function chosenMms(image: Image, filters: InspectFilters): ChosenMm[] {
  const { page } = filters;
  const ordinal = page === undefined ? filters.mm : (filters.mm ?? 0);
  const mms = ordinal === undefined ? image.mms() : [image.mm(ordinal)];
  const range = page === undefined ? undefined : { address: page, length: 1 };
  const kinds = kindsOf(filters);
  return mms.map((mm) => ({
    mm,
    vmas: chosenVmas(mm.vmas, { range, prot: filters.prot }).filter((vma) => {
      return isNamed(vma, filters.vma) && (kinds === undefined || hasPages(vma, kinds));
    }),
  }));
}

/** The name of a mapping, as the commands show it. */
export function nameOf({ isVdso, file }: ImageVma): string {
  return isVdso ? '[vdso]' : (file?.path ?? 'anonymous');
}

/** Whether `text`, an address in hexadecimal or a part of a name, means this mapping. */
function isNamed(vma: ImageVma, text: string | undefined): boolean {
  if (text === undefined) return true;
  if (!/^(0x)?[0-9a-f]+$/i.test(text)) return nameOf(vma).includes(text);
  const address = Number.parseInt(text, 16);
  return vma.start <= address && address < vma.end;
}

function hasPages({ start, end, pages }: ImageVma, kinds: ReadonlySet<PageKind>): boolean {
  const recorded = pages.copy + pages.zero + pages.clone + pages.guard + pages.parent;
  const counts = { ...pages, absent: (end - start) / PAGE_SIZE - recorded };
  return [...kinds].some((kind) => counts[kind] > 0);
}
