/**
 * The reference of `diffImages`: compares two images page by page, through the reading functions of
 * the package alone. It knows neither digests nor places, and is slow and simple.
 */
import { type Image, type ImageVma, MmdumpError, PAGE_SIZE } from 'mmdump';

/** A page that a mapping covers. */
interface MappedPage {
  readonly address: number;
  readonly vma: ImageVma;
  /** What it shows: the file or kind of memory, and the page of it. */
  readonly what: string;
  readonly state: string;
  /** Null if the image does not know the bytes. */
  readonly bytes: Buffer | null;
}

/** What the reference says of one mm, as lines that can be compared. */
export interface ReferenceDiff {
  readonly mappings: string[];
  readonly changed: string[];
  readonly reclassified: string[];
}

async function pagesOf(image: Image, mm: number): Promise<Map<number, MappedPage>> {
  const pages = new Map<number, MappedPage>();
  for (const vma of image.vmas({ mm })) {
    for (let address = vma.start; address < vma.end; address += PAGE_SIZE) {
      const { kind } = image.page(address, { mm });
      const index = vma.pgoff + (address - vma.start) / PAGE_SIZE;
      const name = vma.file?.path.replace(/ \(deleted\)$/, '') ?? `no file, ${vma.isVdso}`;
      pages.set(address, {
        address,
        vma,
        what: `${name} ${index}`,
        state: kind === 'parent' ? 'copy' : kind,
        bytes: await bytesOf(image, address, mm),
      });
    }
  }
  return pages;
}

async function bytesOf(image: Image, address: number, mm: number): Promise<Buffer | null> {
  const bytes = Buffer.alloc(PAGE_SIZE);
  try {
    await image.read(address, bytes, { mm });
    return bytes;
  } catch (error) {
    if (error instanceof MmdumpError && error.code === 'PAGE_ABSENT') return null;
    throw error;
  }
}

/** Lists of neighbours that show neighbouring pages of one thing. */
function stretches(pages: readonly MappedPage[]): MappedPage[][] {
  const lists: MappedPage[][] = [];
  for (const page of [...pages].sort((a, b) => a.address - b.address)) {
    const last = lists.at(-1)?.at(-1);
    const isNext = last !== undefined && last.address + PAGE_SIZE === page.address;
    if (isNext && after(last.what) === page.what) lists.at(-1)!.push(page);
    else lists.push([page]);
  }
  return lists;
}

function after(what: string): string {
  const space = what.lastIndexOf(' ');
  return `${what.slice(0, space)} ${Number(what.slice(space + 1)) + 1}`;
}

/** Compares the mms of this ordinal. */
export async function referenceDiff(left: Image, right: Image, mm: number): Promise<ReferenceDiff> {
  const a = await pagesOf(left, mm);
  const b = await pagesOf(right, mm);
  const pairs: [MappedPage, MappedPage][] = [];
  const mappings: string[] = [];
  const gone = [...a.values()].filter(({ address, what }) => b.get(address)?.what !== what);
  const come = [...b.values()].filter(({ address, what }) => a.get(address)?.what !== what);
  for (const page of a.values()) {
    const other = b.get(page.address);
    if (other?.what !== page.what) continue;
    pairs.push([page, other]);
    const kind = changeOf(page, other);
    if (kind !== null) mappings.push(`${kind} ${page.address} ${other.address}`);
  }
  const left_ = stretches(gone);
  for (const stretch of stretches(come)) {
    const at = left_.findIndex(([first]) => first!.what === stretch[0]!.what);
    const from = at < 0 ? [] : left_.splice(at, 1)[0]!;
    for (let page = 0; page < Math.max(stretch.length, from.length); page++) {
      const before = from[page];
      const now = stretch[page];
      if (before === undefined) mappings.push(`added ${now!.address}`);
      else if (now === undefined) mappings.push(`removed ${before.address}`);
      else {
        mappings.push(`moved ${before.address} ${now.address}`);
        pairs.push([before, now]);
      }
    }
  }
  for (const { address } of left_.flat()) mappings.push(`removed ${address}`);
  return { mappings: mappings.sort(), ...comparePages(pairs) };
}

function changeOf({ vma: a }: MappedPage, { vma: b }: MappedPage): string | null {
  if ((a.flags & 7) !== (b.flags & 7)) return 'protection';
  const isSame = a.flags === b.flags && a.file?.path === b.file?.path;
  return isSame && a.file?.size === b.file?.size ? null : 'changed';
}

function comparePages(
  pairs: readonly [MappedPage, MappedPage][],
): Pick<ReferenceDiff, 'changed' | 'reclassified'> {
  const changed: string[] = [];
  const reclassified: string[] = [];
  for (const [a, b] of pairs) {
    const place = `${a.address} ${b.address}`;
    const isKnown = a.bytes !== null && b.bytes !== null;
    if (a.state !== b.state || (a.bytes === null) !== (b.bytes === null)) {
      reclassified.push(`${place} ${a.state} ${b.state} ${isKnown}`);
    }
    if (a.bytes === null || b.bytes === null) continue;
    const different = [...a.bytes.keys()].filter((at) => a.bytes![at] !== b.bytes![at]);
    if (different.length > 0) changed.push(`${place} ${different[0]} ${different.length}`);
  }
  return { changed: changed.sort(), reclassified: reclassified.sort() };
}
