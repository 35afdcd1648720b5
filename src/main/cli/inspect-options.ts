/** The options of `mmdump inspect` that choose, and what it shows of what they choose. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { PageKind, PageState } from '../image/pages/page-info.ts';
import { parseAddress } from './explain-options.ts';
import type { InspectFilters } from './inspect-filters.ts';
import { parseProt } from './search-options.ts';
import { wholeNumber } from './sizes.ts';
import { suggestion } from './suggest-choices.ts';

const MOST_MMS = 2 ** 32;
const KINDS: readonly PageKind[] = ['copy', 'zero', 'clone', 'guard', 'parent', 'absent'];
const CLASSES: readonly PageState[] = ['copy', 'zero', 'clone', 'guard', 'absent'];

/** What the options give. */
export interface InspectChoice extends InspectFilters {
  /** What to find, as it was written. */
  readonly find?: string;
}

/** Adds the options. */
export function addInspectOptions(command: Command): Command {
  return command
    .option('--page <address>', 'show this page: its mapping, kind, class and bytes', parseAddress)
    .option(
      '--find <what>',
      'find a text, 0xBYTES or /expression/flags, as mmdump search does; search has more options',
    )
    .option('--mm <n>', 'only this address space, from 0 on', wholeNumber(0, MOST_MMS))
    .option(
      '--vma <address or name>',
      'only mappings around this address in hexadecimal, or with this in their name',
    )
    .addOption(new Option('--prot <rwx>', 'only mappings that permit this').argParser(parseProt))
    .option(
      '--kind <kinds>',
      `only mappings with such pages; --find: only such pages (${KINDS.join(', ')})`,
      namesOf(KINDS),
    )
    .option(
      '--class <classes>',
      `the same by class: a page in the parent is a copy (${CLASSES.join(', ')})`,
      namesOf(CLASSES),
    );
}

/** Parses names that are separated by commas. */
function namesOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) => {
    const names = text.split(',');
    const wrong = names.find((name) => !(known as readonly string[]).includes(name));
    if (wrong === undefined) return names as T[];
    throw new InvalidArgumentError(
      `'${wrong}': expected some of ${known.join(', ')}.${suggestion(wrong, known)}`,
    );
  };
}
