/** A slow search, byte by byte, in pages that were read one by one. */
import { explainImagePage, type Image, type Match, PAGE_SIZE } from 'mmdump';

/** A page of a mapping. */
export interface SearchedPage {
  readonly address: number;
  /** Null if the image does not know them. */
  readonly bytes: Buffer | null;
  readonly isStored: boolean;
  readonly kind: string;
  readonly flags: number;
}

/** The pages of an mm. */
export async function searchedPages(image: Image, mm = 0): Promise<SearchedPage[]> {
  const pages: SearchedPage[] = [];
  for (const { start, end, flags } of image.mm(mm).vmas) {
    for (let address = start; address < end; address += PAGE_SIZE) {
      const { reads, kind } = await explainImagePage(image, address, { mm });
      const bytes = reads === 'nothing' ? null : Buffer.alloc(PAGE_SIZE);
      if (bytes !== null) await image.read(address, bytes, { mm });
      pages.push({ address, bytes, isStored: reads === 'stored', kind, flags });
    }
  }
  return pages;
}

/** Neighbouring known pages: their bytes as text, and which bytes are stored. */
function stretchesOf(
  pages: readonly SearchedPage[],
): { readonly start: number; readonly text: string; readonly isStored: boolean[] }[] {
  const stretches: { start: number; end: number; text: string; isStored: boolean[] }[] = [];
  for (const { address, bytes, isStored } of pages) {
    if (bytes === null) continue;
    let last = stretches.at(-1);
    if (last?.end !== address) {
      last = { start: address, end: address, text: '', isStored: [] };
      stretches.push(last);
    }
    last.text += bytes.toString('latin1');
    last.end += PAGE_SIZE;
    last.isStored.push(isStored);
  }
  return stretches;
}

/**
 * The matches of an expression one behind the other: each begins at a stored byte, and sees `most`
 * bytes.
 */
export function expressionSlowly(
  pages: readonly SearchedPage[],
  expression: RegExp,
  most: number,
  mm = 0,
): Match[] {
  const here = new RegExp(expression.source, `${expression.flags.replaceAll(/[gd]/g, '')}y`);
  const matches: Match[] = [];
  for (const { start, text, isStored } of stretchesOf(pages)) {
    for (let at = 0; at < text.length; ) {
      if (isStored[Math.floor(at / PAGE_SIZE)] !== true) {
        at = (Math.floor(at / PAGE_SIZE) + 1) * PAGE_SIZE;
        continue;
      }
      here.lastIndex = 0;
      const bytes = here.exec(text.slice(at, at + most))?.[0].length ?? 0;
      if (bytes > 0) matches.push({ mm, address: start + at, bytes });
      at += Math.max(1, bytes);
    }
  }
  return matches;
}

/** Every place of these bytes, of which at least one byte is stored. */
export function bytesSlowly(pages: readonly SearchedPage[], wanted: Uint8Array, mm = 0): Match[] {
  const pattern = Buffer.from(wanted).toString('latin1');
  const matches: Match[] = [];
  for (const { start, text, isStored } of stretchesOf(pages)) {
    for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + 1)) {
      const first = Math.floor(at / PAGE_SIZE);
      const last = Math.floor((at + pattern.length - 1) / PAGE_SIZE);
      if (!isStored.slice(first, last + 1).includes(true)) continue;
      matches.push({ mm, address: start + at, bytes: pattern.length });
    }
  }
  return matches;
}
