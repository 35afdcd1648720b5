/** `mmdump search` finds a text, bytes or an expression in an image: exit code 0 also if nothing was found. */
import type { Prot } from '../../mmu/arguments/prot.ts';
import { createDumper } from '../dumper.ts';
import { type Image, openImage } from '../image/image.ts';
import type { SearchResult } from '../search/search.ts';
import { EXIT } from './run-command.ts';
import { searchJson, searchText } from './search-output.ts';
import { patternOf } from './search-pattern.ts';
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

export function searchCommand(
  path: string,
  text: string,
  flags: SearchFlags,
  signal: AbortSignal,
): Promise<number> {
  return withTimeout(flags, signal, 'search', async (deadline) => {
    const image = await openImage(path, { signal: deadline.signal, parents: flags.parents });
    try {
      const found = await search(image, patternOf(text), flags, deadline.signal);
      if (flags.json === true) printJson(searchJson(found));
      else if (flags.quiet !== true) print(searchText(image, found));
    } finally {
      await image.close();
    }
    return EXIT.DONE;
  });
}

async function search(
  image: Image,
  pattern: string | Uint8Array | RegExp,
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
