/** `mmdump inspect --page` shows one page: its mapping, its kind and class, and its bytes. */
import { hex, PAGE_SIZE } from '../../shared/page.ts';
import { printable } from '../../shared/printable.ts';
import { protLetters } from '../../shared/vm-flags.ts';
import { explainImagePage, type ImagePageExplanation } from '../explain/explain-image.ts';
import type { Image } from '../image/image.ts';
import { hexDump } from './hex-dump.ts';
import { nameOf } from './inspect-filters.ts';

/** A page and what is known of it. */
export interface InspectedPage extends ImagePageExplanation {
  /** Null if the image does not know them. */
  readonly bytes: Uint8Array | null;
}

export async function inspectedPage(
  image: Image,
  address: number,
  mm: number,
): Promise<InspectedPage> {
  const found = await explainImagePage(image, address, { mm });
  if (found.reads === 'nothing') return { ...found, bytes: null };
  const bytes = new Uint8Array(PAGE_SIZE);
  await image.read(found.address, bytes, { mm });
  return { ...found, bytes };
}

/** The value of the key `page`; its keys are a contract. */
export function pageJson({ address, mm, kind, reads, reason, bytes }: InspectedPage): unknown {
  const content = bytes && Buffer.from(bytes).toString('hex');
  return { mm, address: hex(address), kind, class: classOf(kind), reads, reason, bytes: content };
}

export function pageText(page: InspectedPage): string {
  const { address, mm, kind, vma, reason, bytes } = page;
  const lines = [
    `page ${hex(address)} of mm ${mm}: ${kind}, class ${classOf(kind)}: ${printable(reason)}`,
  ];
  if (vma !== null) {
    const range = `${vma.start.toString(16)}-${vma.end.toString(16)}`;
    lines.push(`mapping: ${range} ${protLetters(vma.flags)} ${printable(nameOf(vma))}`);
  }
  lines.push(...(bytes === null ? ['its bytes are not known'] : hexDump(address, bytes)));
  return lines.join('\n');
}

/** The class of a page, for which it does not matter which image of a chain stores it. */
function classOf(kind: InspectedPage['kind']): string {
  return kind === 'parent' ? 'copy' : kind;
}
