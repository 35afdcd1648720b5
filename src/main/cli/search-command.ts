/** `mmdump search` finds a text or bytes in an image: exit code 0 also if nothing was found. */
import type { Prot } from '../../mmu/arguments/prot.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { hex } from '../../shared/page.ts';
import { protLetters } from '../../shared/vm-flags.ts';
import { createDumper } from '../dumper.ts';
import { type Image, openImage } from '../image/image.ts';
import { findVma } from '../image/index/image-mm.ts';
import type { SearchResult } from '../search/search.ts';
import { EXIT } from './run-command.ts';
import { type OutputOptions, Progress, print, printJson } from './terminal.ts';
import type { TimeoutFlag } from './timeout-option.ts';
import { withTimeout } from './with-timeout.ts';
import { workersOption } from './workers-option.ts';

export interface SearchFlags extends OutputOptions, TimeoutFlag {
  readonly mm?: number;
  readonly prot?: Prot;
  readonly from?: number;
  readonly to?: number;
  readonly maxMatches?: number;
  readonly workers?: number;
  readonly parents?: readonly string[];
}

/** At most this many matches are printed; the others are counted. */
const LINES_MAX = 100;

export function searchCommand(
  path: string,
  text: string,
  flags: SearchFlags,
  signal: AbortSignal,
): Promise<number> {
  return withTimeout(flags, signal, 'search', async (deadline) => {
    const image = await openImage(path, { signal: deadline.signal, parents: flags.parents });
    try {
      const found = await search(image, wantedBytes(text), flags, deadline.signal);
      if (flags.json === true) printJson(searchJson(found));
      else if (flags.quiet !== true) print(searchText(image, found));
    } finally {
      await image.close();
    }
    return EXIT.DONE;
  });
}

/** A text in UTF-8, or the bytes of a number that begins with 0x, in the order of its digits. */
function wantedBytes(text: string): string | Uint8Array {
  if (!text.startsWith('0x')) return text;
  if (/^0x([0-9a-f]{2})+$/i.test(text)) return Buffer.from(text.slice(2), 'hex');
  const message = `'${text}': expected two hexadecimal digits for each byte behind 0x`;
  throw new MmdumpError('OPTION_INVALID', message);
}

async function search(
  image: Image,
  pattern: string | Uint8Array,
  { mm, prot, from, to, maxMatches, workers, ...flags }: SearchFlags,
  signal: AbortSignal | undefined,
): Promise<SearchResult> {
  const dumper = await createDumper(workersOption(workers, image.bytes));
  const progress = new Progress(flags);
  try {
    return await dumper.search(image, pattern, {
      ...{ mm, prot, start: from, end: to, maxMatches, signal },
      onProgress: ({ bytes, totalBytes }) => progress.show('search', bytes, totalBytes),
    });
  } finally {
    progress.stop();
    await dumper.close();
  }
}

/** The object that `search --json` prints; its keys are a contract. */
function searchJson({ count, bytes, matches }: SearchResult): unknown {
  return {
    count,
    bytes,
    matches: matches.map(({ mm, address }) => ({ mm, address: hex(address) })),
  };
}

function searchText(image: Image, { count, matches }: SearchResult): string {
  const lines = matches.slice(0, LINES_MAX).map(({ mm, address }) => {
    const vma = findVma(image.vmas({ mm }), address)!;
    const name = vma.isVdso ? '[vdso]' : (vma.file?.path ?? 'anonymous');
    const inMm = image.mms().length > 1 ? `mm ${mm}: ` : '';
    return `${inMm}${address.toString(16)} ${protLetters(vma.flags)} ${name}`;
  });
  const more = count - lines.length;
  return [...lines, more > 0 ? `${count} matches, ${more} more` : `${count} matches`].join('\n');
}
